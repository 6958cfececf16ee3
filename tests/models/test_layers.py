"""The layers of a network: all of them, in the order in which they run, and the two that matter most."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from convscope import LayerError, Model, ModelError
from convscope.execution import run_to


def build(name: str) -> nn.Module:
    """A published architecture with weights that are fast to make; what is tested does not depend on them."""
    source, _, architecture = name.partition(":")
    extra = {"init_weights": False} if architecture in ("googlenet", "inception_v3") else {}

    def make() -> nn.Module:
        if source == "timm":
            return timm.create_model(architecture)
        return torchvision.models.get_model(architecture, weights=None, **extra)

    try:
        with torch.device("meta"):
            module = make()
    except (NotImplementedError, RuntimeError):  # it computes its widths with tensors
        return make().eval()
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.fill_(0.01) if tensor.is_floating_point() else tensor.zero_()
    return module.eval()


def layers_of(name: str, size: int) -> Model:
    return Model(build(name), input_size=(size, size), mean=[0.5] * 3, std=[0.5] * 3)


def hooked(module: nn.Module, x: torch.Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """The slow way: name and shape of every map and vector, by plain hooks."""
    seen: list[tuple[str, tuple[int, ...]]] = []
    counts: dict[str, int] = {}

    def note(name: str) -> object:
        def hook(_: nn.Module, __: object, output: object) -> None:
            call = counts[name] = counts.get(name, -1) + 1
            if isinstance(output, torch.Tensor) and output.ndim in (2, 4):
                seen.append((f"{name}:{call}" if call else name, tuple(output.shape[1:])))

        return hook

    handles = [child.register_forward_hook(note(name)) for name, child in module.named_modules() if name]
    with torch.no_grad():
        module(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:mobilenet_v2", "timm:test_resnet"]
)
def test_names_order_and_shapes_are_those_of_plain_hooks(name: str) -> None:
    model = layers_of(name, 64)
    found = [(layer.name, layer.shape) for layer in model.layers()]
    assert found == hooked(model.module, torch.zeros(1, 3, 64, 64))
    kinds = dict(model.module.named_modules())
    for layer in model.layers():
        assert layer.kind == type(kinds[layer.name.partition(":")[0]]).__name__


def test_every_module_that_torchvision_traces_is_there() -> None:
    from torchvision.models.feature_extraction import get_graph_node_names

    model = layers_of("torchvision:resnet18", 64)
    _, traced = get_graph_node_names(model.module)
    modules = dict(model.module.named_modules())
    # A module's second call is "relu_1" there and "relu:1" here.
    renamed = [n if n in modules else ":".join(n.rsplit("_", 1)) for n in traced]
    expected = [n for n in renamed if n.partition(":")[0] in modules]
    containers = [
        layer.name for layer in model.layers() if next(modules[layer.name.split(":")[0]].children(), None)
    ]
    assert [layer.name for layer in model.layers() if layer.name not in containers] == expected
    assert "layer1.0.relu:1" in expected


# --- the last map and the feature vector -------------------------------------------------------------------

# name: input size, (last spatial layer, its channels and side), (features, their number)
SPECIAL = {
    "torchvision:vgg16": (224, ("features.29", 512, 14), ("classifier.6:input", 4096)),
    "torchvision:alexnet": (224, ("features.11", 256, 13), ("classifier.6:input", 4096)),
    "torchvision:resnet18": (224, ("layer4", 512, 7), ("fc:input", 512)),
    "torchvision:resnet50": (224, ("layer4", 2048, 7), ("fc:input", 2048)),
    "torchvision:densenet121": (224, ("features", 1024, 7), ("classifier:input", 1024)),
    "torchvision:googlenet": (224, ("inception5b", 1024, 7), ("fc:input", 1024)),
    "torchvision:inception_v3": (299, ("Mixed_7c", 2048, 8), ("fc:input", 2048)),
    "torchvision:mobilenet_v2": (224, ("features", 1280, 7), ("classifier.1:input", 1280)),
    "torchvision:mobilenet_v3_large": (224, ("features", 960, 7), ("classifier.3:input", 1280)),
    "torchvision:shufflenet_v2_x1_0": (224, ("conv5", 1024, 7), ("fc:input", 1024)),
    "torchvision:efficientnet_b0": (224, ("features", 1280, 7), ("classifier.1:input", 1280)),
    "torchvision:regnet_y_400mf": (224, ("trunk_output", 440, 7), ("fc:input", 440)),
    "torchvision:convnext_tiny": (224, ("features", 768, 7), ("classifier.2:input", 768)),
    "torchvision:mnasnet1_0": (224, ("layers", 1280, 7), ("classifier.1:input", 1280)),
    "timm:tf_efficientnet_lite0": (224, ("bn2", 1280, 7), ("classifier:input", 1280)),
    "timm:resnet18": (224, ("layer4", 512, 7), ("fc:input", 512)),
    "timm:convnext_tiny": (224, ("stages", 768, 7), ("head.fc:input", 768)),
}
FAST = ("torchvision:resnet18", "torchvision:googlenet", "timm:tf_efficientnet_lite0")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SPECIAL]
)
def test_the_last_map_and_the_features_are_found_without_naming_them(name: str) -> None:
    size, (last, channels, side), (features, length) = SPECIAL[name]
    structure = layers_of(name, size).structure()
    assert (structure.last_spatial.name, structure.last_spatial.shape) == (last, (channels, side, side))
    assert (structure.features.name, structure.features.shape) == (features, (length,))


def test_where_the_classifier_is_a_convolution_the_features_are_a_map() -> None:
    structure = layers_of("torchvision:squeezenet1_1", 224).structure()
    assert (structure.last_spatial.name, structure.last_spatial.shape) == ("features", (512, 13, 13))
    assert (structure.features.name, structure.features.shape) == ("classifier.1:input", (512, 13, 13))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["torchvision:vit_b_16", "torchvision:swin_t", "torchvision:swin_v2_t", "timm:vit_tiny_patch16_224"]
)
def test_transformers_are_not_what_this_is_for_but_they_run(name: str) -> None:
    structure = layers_of(name, 224).structure()
    assert structure.last_spatial is not None
    assert structure.features.shape[0] in (768, 192)


def test_maps_that_a_network_holds_channels_last_have_their_channels_first() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 1), Permute(0, 2, 3, 1), nn.LayerNorm(5), Permute(0, 3, 1, 2), nn.ReLU())
    layers = {layer.name: layer for layer in Model(net).layers((6, 8))}
    assert {layer.shape for layer in layers.values()} == {(5, 6, 8)}
    assert [name for name, layer in layers.items() if layer.held == "maps, channels last"] == ["1", "2"]


class Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self.order)


# --- networks of other kinds -------------------------------------------------------------------------------


class Twice(nn.Module):
    """One activation module, in place, used twice, as in torchvision's ResNets."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 5, 3)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv1(x))
        return self.head(self.relu(self.conv2(x)).mean(dim=(2, 3)))


def test_a_module_that_runs_twice_is_two_layers() -> None:
    layers = Model(Twice(inplace=True)).layers((8, 8))
    assert [(layer.name, layer.shape) for layer in layers] == [
        ("conv1", (4, 6, 6)), ("relu", (4, 6, 6)), ("conv2", (5, 4, 4)), ("relu:1", (5, 4, 4)), ("head", (2,)),
    ]  # fmt: skip


def test_captured_values_are_those_before_an_in_place_operation() -> None:
    inplace, plain = Twice(inplace=True), Twice(inplace=False)
    plain.load_state_dict(inplace.state_dict())
    x = torch.randn(2, 3, 8, 8)
    names = ["conv1", "relu", "conv2", "relu:1", "head:input"]
    for wanted in (names, *([name] for name in names)):
        found = run_to(inplace, x, wanted)
        with torch.no_grad():
            expected = {
                "conv1": plain.conv1(x),
                "relu": plain.conv1(x).relu(),
                "conv2": plain.conv2(plain.conv1(x).relu()),
                "relu:1": plain.conv2(plain.conv1(x).relu()).relu(),
                "head:input": plain.conv2(plain.conv1(x).relu()).relu().mean(dim=(2, 3)),
            }
        assert list(found) == list(wanted)
        for name, value in found.items():
            assert_close(value, expected[name], atol=1e-6, rtol=1e-6)


def test_a_network_that_refuses_channels_last_is_run_as_it_is() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.fc = nn.Linear(144, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).view(len(x), -1))

    model = Model(Views())
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        expected = model.module(x)
    assert model.structure((3, 8, 8)).memory_format == torch.contiguous_format
    assert_close(torch.from_numpy(model.predict(x).scores), expected, atol=1e-6, rtol=1e-5)


def test_a_network_without_a_convolution_has_no_map() -> None:
    structure = Model(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))).structure(
        (3, 2, 2)
    )
    assert structure.last_spatial is None
    assert (structure.features.name, structure.features.shape) == ("3:input", (5,))


def test_a_network_that_is_one_convolution_has_no_layers_inside() -> None:
    structure = Model(nn.Conv2d(3, 4, 3)).structure((3, 8, 8))
    assert structure.layers == ()
    assert structure.last_spatial is None
    assert (structure.features.name, structure.features.shape) == (":output", (4, 6, 6))


def test_a_backbone_of_one_convolution_has_a_last_map_all_the_same() -> None:
    structure = Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())).structure((3, 8, 8))
    assert structure.last_spatial.name == "1"


def test_frozen_and_double_networks_have_layers_too() -> None:
    module = Twice(inplace=True).double().requires_grad_(False)
    with torch.inference_mode():
        assert len(Model(module).layers((8, 8))) == 5
    assert not any(p.requires_grad for p in module.parameters())


def test_a_new_head_is_seen_though_the_network_was_known() -> None:
    module = Twice(inplace=True)
    model = Model(module)
    assert model.layers((8, 8))[-1].shape == (2,)
    module.head = nn.Sequential(nn.Linear(5, 7), nn.ReLU())
    assert [(layer.name, layer.shape) for layer in model.layers((8, 8))][-2:] == [("head.1", (7,)), ("head", (7,))]


def test_calls_are_counted_also_where_a_module_once_gives_no_tensor() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor, pair: bool = False) -> object:
            return (x, x) if pair else x + 1

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd = Odd()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.odd(self.odd(x, pair=True)[0])

    model = Model(Net())
    assert [layer.name for layer in model.layers((4, 4))] == ["odd[0]", "odd[1]", "odd:1"]
    x = torch.zeros(1, 3, 4, 4)
    found = run_to(model.module, x, ["odd[1]", "odd:1"])
    assert_close(found["odd[1]"], x)
    assert_close(found["odd:1"], x + 1)


def test_an_unknown_layer_gets_a_hint(tiny: Model) -> None:
    with pytest.raises(LayerError, match=r"no layer '9'; there are, among others: 0, 1, 2"):
        tiny.structure().find("9")


def test_a_network_that_cannot_run_is_an_error_saying_why() -> None:
    with pytest.raises(
        ModelError, match=r"Conv2d cannot be run on an input of shape \(1, 3, 2, 2\): .*[Kk]ernel size"
    ):
        Model(nn.Conv2d(3, 4, 5)).structure((3, 2, 2))


def test_the_input_size_has_to_come_from_somewhere() -> None:
    from convscope import ParameterError

    with pytest.raises(ParameterError, match="input size"):
        Model(nn.Conv2d(3, 4, 3)).layers()


def test_a_mistyped_layer_is_answered_with_the_nearest_names() -> None:
    net = nn.Sequential()
    net.add_module("conv_stem", nn.Conv2d(3, 4, 3))
    net.add_module("head", nn.Conv2d(4, 2, 3))
    with pytest.raises(LayerError, match=r"no layer 'conv_stm'; did you mean 'conv_stem'\?"):
        Model(net).structure((3, 8, 8)).find("conv_stm")
