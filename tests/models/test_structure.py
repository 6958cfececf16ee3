"""Which layers a network is seen to have: maps and tokens that its output depends on, and its feature vector."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

import convscope as cs
from convscope import LayerError, ModelError
from convscope.execution import run_to
from convscope.models import as_maps


class Trunk(nn.Module):
    """Two convolutions; ``forward`` of those that follow says what becomes of their maps ``a`` and ``b``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 3)
        self.aux, self.aux_fc = nn.Conv2d(8, 4, 1), nn.Linear(4, 3)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu()).relu()

    def extra(self, maps: torch.Tensor) -> torch.Tensor:
        return self.aux_fc(self.aux(maps).mean((2, 3)))

    def scores(self, maps: torch.Tensor) -> torch.Tensor:
        return self.fc(maps.mean((2, 3)))


class TwoHeads(Trunk):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.maps(x)
        return {"out": self.scores(maps), "aux": self.extra(maps)}


class Tuple(Trunk):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.maps(x)
        return self.scores(maps), self.extra(maps)


class Unread(Trunk):
    """A map that is made after the last one which anything reads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.maps(x)
        self.aux(maps)
        return self.scores(maps)


class Constant(Trunk):
    """A map that is added at the end and hangs on no image, as position biases do."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Conv2d(2, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.maps(x)
        return self.scores(maps + self.bias(torch.ones(1, 2, *maps.shape[2:])))


class Attends(Trunk):
    """Softmax over places as a module, which is no map of the image's content."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.maps(x)
        return self.fc((maps * self.softmax(maps)).sum((2, 3)))


@pytest.mark.parametrize("network", [TwoHeads, Tuple, Unread, Constant, Attends])
def test_the_last_map_is_the_last_that_the_output_reads(network: type[Trunk]) -> None:
    structure = cs.Model(network()).structure((3, 16, 16))
    assert structure.last_spatial.name == "b"
    assert (structure.features.name, structure.features.shape) == ("fc:input", (8,))


def test_an_auxiliary_head_has_its_own_last_map() -> None:
    net, x = TwoHeads(), torch.randn(2, 3, 16, 16)
    main = cs.grad_cam(net, x, target=lambda o: o["out"][:, 1], kind="signed")
    aux = cs.grad_cam(net, x, target=lambda o: o["aux"][:, 1], kind="signed")
    assert main.provenance.parameters["layer"] == "b"
    assert aux.provenance.parameters["layer"] == "aux"
    assert main.values.any()
    assert aux.values.any()
    assert_close(torch.from_numpy(cs.embed(net, x).vectors), net.maps(x).detach().mean((2, 3)), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "fcn_resnet50"])
def test_segmentation_networks_with_an_auxiliary_loss(name: str) -> None:
    net = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, aux_loss=True, num_classes=5
    ).eval()
    found = cs.grad_cam(
        net, torch.randn(1, 3, 64, 64), target=lambda o: o["out"][:, 1].mean((1, 2)), kind="signed"
    )
    assert found.provenance.parameters["layer"].startswith("classifier")
    assert found.values.any()


class Several(nn.Module):
    """Its encoder puts out several maps, in one of four ways."""

    class Encoder(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            self.c, self.d, self.kind = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), kind

        def forward(self, x: torch.Tensor) -> object:
            a = self.c(x)
            b = self.d(a.relu())
            return {"list": [a, b], "tuple": (a, b), "dict": {"low": a, "high": b}}[self.kind]

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.encoder, self.fc = Several.Encoder(kind), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.encoder(x)
        return self.fc((found["high"] if isinstance(found, dict) else found[-1]).mean((2, 3)))


@pytest.mark.parametrize(("kind", "low", "high"), [("list", 0, 1), ("tuple", 0, 1), ("dict", "low", "high")])
def test_layers_that_put_out_several_tensors_have_a_name_for_each(kind: str, low: object, high: object) -> None:
    net, x = Several(kind), torch.randn(2, 3, 12, 12)
    names = [layer.name for layer in cs.Model(net).layers((12, 12))]
    assert [f"encoder[{low}]", f"encoder[{high}]"] == [name for name in names if name.startswith("encoder[")]
    for name in ("encoder", f"encoder[{high}]"):
        found = cs.grad_cam(net, x, target=1, layer=name, kind="signed")
        assert found.provenance.parameters["layer"] == f"encoder[{high}]"
        assert_close(found.values, cs.grad_cam(net, x, target=1, layer="encoder.d", kind="signed").values)
    maps = cs.feature_maps(net, x, layer=f"encoder[{low}]")[f"encoder[{low}]"]
    assert_close(torch.from_numpy(maps), net.encoder.c(x).detach(), rtol=0, atol=1e-6)
    with pytest.raises(LayerError, match="no layer 'encoder\\[7\\]'"):
        cs.grad_cam(net, x, target=1, layer="encoder[7]")


# Tokens


class HandWritten(nn.Module):
    """A transformer as people write them: patches by unfolding, a linear embedding, PyTorch's own encoder."""

    def __init__(self, *, batch_first: bool, cls: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 8 * 8, 16)
        self.cls = nn.Parameter(torch.randn(1, 1, 16)) if cls else None
        self.batch_first = batch_first
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(functional.unfold(x, 8, stride=8).transpose(1, 2))
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.encoder(tokens if self.batch_first else tokens.transpose(0, 1))
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        return self.head(tokens[:, 0] if self.cls is not None else tokens.mean(1))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cls", [True, False])
def test_a_hand_written_transformer_has_maps(batch_first: bool, cls: bool) -> None:
    net, x = HandWritten(batch_first=batch_first, cls=cls).eval(), torch.randn(2, 3, 32, 48)
    model = cs.Model(net)
    assert model.structure((3, 32, 48)).last_spatial.shape == (16, 4, 6)
    found = cs.grad_cam(model, x, target=1, kind="signed")
    layer = found.provenance.parameters["layer"]
    assert layer.startswith("encoder.layers.0" if cls else "encoder")  # the last attention reads the class token
    assert found.values.any()
    # Against the same by hand: the layer's tokens, weighed by their mean gradient.
    kept = model.structure((3, 32, 48)).find(layer)
    tokens: list[torch.Tensor] = []
    handle = net.get_submodule(layer.partition(":")[0]).register_forward_hook(lambda *a: tokens.append(a[2]))
    net(x)[:, 1].sum().backward(inputs=tokens)
    handle.remove()
    patches, gradients = as_maps(tokens[0], kept).detach(), as_maps(tokens[0].grad, kept)
    small = (patches * gradients.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    large = functional.interpolate(small, (32, 48), mode="bilinear")[:, 0]
    assert_close(torch.from_numpy(found.values), large, rtol=1e-4, atol=1e-6)


def test_tokens_lie_where_their_patches_are() -> None:
    """A transformer that looks at one patch only, which its map has to show."""

    class Looks(nn.Module):
        def __init__(self, where: int) -> None:
            super().__init__()
            self.embed, self.norm, self.head = nn.Linear(3 * 64, 16), nn.LayerNorm(16), nn.Linear(16, 3)
            self.where = where

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.norm(self.embed(functional.unfold(x, 8, stride=8).transpose(1, 2)))
            return self.head(tokens[:, self.where])

    for where, (row, column) in {5: (0, 5), 13: (2, 1)}.items():
        found = cs.layer_cam(Looks(where), torch.randn(1, 3, 32, 48), target=1, kind="signed").values[0]
        top, left = divmod(int(abs(found).argmax()), 48)
        assert (top // 8, left // 8) == (row, column)


@pytest.mark.parametrize(
    ("first", "size", "patch"),
    [
        (nn.Conv2d(3, 6, 4, 4), (16, 24), (4, 4)),
        (nn.Conv2d(3, 6, (2, 8), (2, 8)), (16, 24), (2, 8)),
        (nn.Conv2d(3, 6, 5, 5), (16, 24), (5, 5)),  # the rest of the image is not seen
        (nn.Conv2d(3, 6, 4, 2), (16, 24), (1, 1)),  # they overlap
        (nn.Conv2d(3, 6, 3, 1, 1), (16, 24), (1, 1)),
    ],
)
def test_patches_are_found(first: nn.Module, size: tuple[int, int], patch: tuple[int, int]) -> None:
    net = nn.Sequential(
        first, nn.ReLU(), nn.Conv2d(6, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    assert cs.Model(net).structure((3, *size)).patch == patch


def test_patches_cut_out_by_reshaping_are_found() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(3 * 64, 12), nn.Linear(12, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(functional.unfold(x, 8, stride=8).transpose(1, 2)).mean(1))

    assert cs.Model(Mixed()).structure((3, 32, 40)).patch == (8, 8)


def test_what_is_pooled_to_single_numbers_is_no_map() -> None:
    """As many channels as patches: (1, D, 1) is not D tokens."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)
            self.pool, self.head = nn.AdaptiveAvgPool1d(1), nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.norm(self.patches(x).flatten(2).mT)
            return self.head(self.pool(tokens.mT).flatten(1))

    last = cs.Model(Pooled()).structure((3, 16, 16)).last_spatial
    assert last is not None
    assert last.name == "norm"


def test_a_module_that_returns_maps_and_what_it_made_of_them_is_read_where_it_ends() -> None:
    """Its maps are part of its output, but the score has no gradient there."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            maps = self.conv(x).relu()
            return {"maps": maps, "pooled": maps.mean((2, 3))}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = Both(), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x)["pooled"])

    found = cs.grad_cam(Net(), torch.randn(1, 3, 8, 8), target=0, kind="signed")
    assert found.provenance.parameters["layer"] == "body.conv"


def test_tokens_in_another_order_are_noted() -> None:
    class Shuffled(HandWritten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.embed(functional.unfold(x, 8, stride=8).transpose(1, 2))
            order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(3))
            return self.head(self.encoder(tokens[:, order]).mean(1))

    x = torch.randn(1, 3, 64, 64)
    for network, is_noted in ((HandWritten, False), (Shuffled, True)):
        net = network(batch_first=True, cls=False).eval()
        for layer in (None, "encoder"):
            notes = cs.grad_cam(net, x, target=1, layer=layer, kind="signed").provenance.notes
            assert any("may be in another order" in note for note in notes) == is_noted


def test_a_sequence_over_columns_is_no_map() -> None:
    """26 steps are 25 patches and a class token by their number, but not by what they depend on."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm, self.fc = nn.Linear(3 * 26, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            columns = self.embed(x.permute(0, 3, 1, 2).flatten(2))
            return self.fc(self.lstm(columns)[0][:, -1])

    with pytest.raises(LayerError, match="no feature map of more than one value"):
        cs.grad_cam(Reads(), torch.randn(1, 3, 26, 26), target=1)


VISION = {
    "timm:vit_tiny_patch16_224": (224, "blocks.11.norm1", (192, 14, 14)),
    "timm:convit_tiny": (224, "blocks.11.norm1", (192, 14, 14)),
    "timm:cait_xxs24_224": (224, "blocks_token_only.1.norm1", (192, 14, 14)),
    "timm:levit_128s": (224, "stages", (384, 4, 4)),
    "timm:swin_tiny_patch4_window7_224": (224, "norm", (768, 7, 7)),
    "timm:mixer_s16_224": (224, "norm", (512, 14, 14)),
    "timm:pvt_v2_b0": (224, "stages", (256, 7, 7)),
    "timm:twins_svt_small": (224, "norm", (512, 7, 7)),
    "timm:coat_lite_tiny": (224, "serial_blocks4.1.norm1", (320, 7, 7)),
    "timm:hiera_tiny_224": (224, "blocks.11", (768, 7, 7)),
    "timm:mobilevit_xxs": (256, "final_conv", (320, 8, 8)),
    "timm:test_vit": (160, "blocks.5.norm1", (64, 10, 10)),
    "torchvision:swin_t": (224, "permute", (768, 7, 7)),
    "torchvision:vit_b_32": (224, "encoder.layers.encoder_layer_11.ln_1", (768, 7, 7)),
}
QUICK = ("timm:test_vit", "timm:convit_tiny")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VISION]
)
def test_networks_with_attention(name: str) -> None:
    size, layer, shape = VISION[name]
    source, _, architecture = name.partition(":")
    net = (timm.create_model if source == "timm" else torchvision.models.get_model)(architecture).eval()
    for parameter in net.parameters():  # heads of zeros read nothing
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    x = torch.randn(2, 3, size, size)
    found = cs.eigen_cam(net, x)
    assert found.provenance.parameters["layer"] == layer
    assert cs.Model(net).structure((3, size, size)).find(layer).shape == shape
    assert abs(found.values[0] - found.values[1]).max() > 1e-5 * abs(found.values).max()  # rounding: 1e-7


@pytest.mark.parametrize("width", [8, 16, 32])
def test_a_transformer_may_be_as_wide_as_it_has_patches(width: int) -> None:
    """256, 64 and 16 patches; and a table of 7 x 7 relative positions for 8 heads, which is no map of 7 x 8."""
    widths = (width, 2 * width, 4 * width)
    net = SwinTransformerV2(32, 2, embed_dim=width, depths=(1, 1, 1), num_heads=(8, 8, 8), window_size=4).eval()
    structure = cs.Model(net).structure((3, 32, 32))
    for n, (places, channels) in enumerate(zip((16, 8, 4), widths, strict=True)):
        maps = (channels, places, places)
        for layer in (f"layers.{n}.blocks.0.mlp.fc2", f"layers.{n}.blocks.0", f"layers.{n}"):
            assert structure.find(layer).shape == maps
            assert layer in [candidate.name for candidate in structure.candidates]
    assert structure.candidates[-1].name == "norm"


# The feature vector


HEADLESS = (
    "timm:test_vit",
    "timm:test_resnet",
    "timm:test_convnext",
    "timm:test_efficientnet",
    "timm:test_byobnet",
)


@pytest.mark.parametrize("name", HEADLESS)
def test_a_backbone_without_a_head_is_embedded_by_its_output(name: str) -> None:
    net = timm.create_model(name.partition(":")[2], num_classes=0).eval()
    x = torch.randn(3, 3, 96, 96) if "vit" not in name else torch.randn(3, 3, 160, 160)
    found = cs.embed(net, x)
    assert found.layer == ":output"
    with torch.no_grad():
        assert_close(torch.from_numpy(found.vectors), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("passing", [nn.Identity(), nn.Dropout2d(), nn.AlphaDropout()])
def test_a_layer_that_passes_its_input_on_is_no_map_of_its_own(passing: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), passing, nn.Flatten(), nn.Linear(144, 2)).eval()
    assert [layer.name for layer in cs.Model(net).structure((3, 8, 8)).maps] == ["0"]


@pytest.mark.parametrize("wrapped", [nn.Identity(), nn.Sequential(nn.Identity())])
def test_a_classifier_that_was_taken_off_leaves_the_output(wrapped: nn.Module) -> None:
    net = torchvision.models.resnet18(weights=None).eval()
    net.fc = wrapped
    x = torch.randn(2, 3, 64, 64)
    found = cs.embed(net, x)
    assert (found.layer, found.vectors.shape) == (":output", (2, 512))


class Ends(nn.Module):
    def __init__(self, end: object) -> None:
        super().__init__()
        self.conv, self.fc, self.end = nn.Conv2d(3, 8, 3), nn.Linear(8, 5), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.fc(self.conv(x).relu().mean((2, 3))))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("end", "layer"),
    [
        (lambda v: v, "fc:input"),
        (lambda v: v.softmax(1), "fc:input"),
        (lambda v: v / 0.1, "fc:input"),
        (lambda v: functional.normalize(v, dim=1), ":output"),
        (nn.BatchNorm1d(5), ":output"),
        (nn.LayerNorm(5), ":output"),
    ],
)
def test_a_classifier_is_told_from_an_embedding(end: object, layer: str) -> None:
    net, x = Ends(end).eval(), torch.randn(2, 3, 12, 12)
    found = cs.embed(net, x)
    assert found.layer == layer
    expected = net(x) if layer == ":output" else net.conv(x).relu().mean((2, 3))
    assert_close(torch.from_numpy(found.vectors), expected.detach(), rtol=0, atol=1e-5)
    note = any("taken for a classifier" in note for note in found.provenance.notes)
    assert note == (layer == "fc:input")
    named = cs.embed(net, x, layer=":output")
    assert_close(torch.from_numpy(named.vectors), net(x).detach(), rtol=0, atol=1e-5)


def test_labels_say_that_it_is_a_classifier() -> None:
    model = cs.Model(Ends(lambda v: v), labels=list("abcde"))
    assert not cs.embed(model, torch.randn(2, 3, 12, 12)).provenance.notes
    model = cs.Model(Ends(nn.LayerNorm(5)), labels=list("abcde"))
    with pytest.raises(LayerError, match="it returns scores of 5 classes"):
        cs.embed(model, torch.randn(2, 3, 12, 12))


def test_where_it_cannot_be_told_the_layers_are_listed() -> None:
    for end in (lambda v: v.sort(1).values, lambda v: v.cumsum(1)):
        with pytest.raises(
            LayerError,
            match=r"no layer is known to hold .* because it ends in .*name a layer\. The last ones: conv, fc",
        ):
            cs.embed(Ends(end), torch.randn(2, 3, 12, 12))

    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).flatten(2).transpose(1, 2)

    with pytest.raises(LayerError, match=r"its output for one image has shape \(1, 100, 8\) and is not a vector"):
        cs.embed(Sequence(), torch.randn(2, 3, 12, 12))


def test_similarity_in_an_embedding_network_is_that_of_its_output() -> None:
    net, x = Ends(lambda v: functional.normalize(v, dim=1)), torch.randn(2, 3, 12, 12)
    found = cs.saliency(net, x, target=cs.SimilarTo(x[:1]))
    expected = functional.cosine_similarity(net(x), net(x[:1]))
    assert_close(torch.from_numpy(found.scores), expected.detach(), rtol=0, atol=1e-5)


def test_a_network_that_runs_only_without_gradients_has_layers_all_the_same() -> None:
    class Frozen(Trunk):
        @torch.no_grad()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scores(self.maps(x))

    net, x = Frozen(), torch.randn(2, 3, 16, 16)
    assert cs.Model(net).structure((3, 16, 16)).last_spatial.name == "b"
    assert cs.embed(net, x).layer == "fc:input"
    assert cs.score_cam(net, x, target=1, kind="signed").values.any()
    with pytest.raises(ModelError, match="has no gradient"):
        cs.grad_cam(net, x, target=1)


def test_names_are_taken_apart() -> None:
    net, x = Several("list"), torch.randn(1, 3, 12, 12)
    found = run_to(net, x, ["encoder[0]", "encoder[1]", "fc:input"])
    assert {name: tuple(t.shape) for name, t in found.items()} == {
        "encoder[0]": (1, 8, 10, 10), "encoder[1]": (1, 6, 8, 8), "fc:input": (1, 6),
    }  # fmt: skip
    with pytest.raises(LayerError, match="not the name of a layer"):
        run_to(net, x, ["encoder[[0]"])
