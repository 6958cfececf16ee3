"""`Model`: what it accepts, what it refuses, and what it says about itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from convscope import ImageError, Model, ModelError, ParameterError, feature_maps
from convscope.execution.digest import weights_digest
from convscope.models.bare_modules import as_model


def linear(n_channels: int = 3, n_classes: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(n_channels, 4, 3), nn.Flatten(), nn.Linear(4 * 36, n_classes))


class Gives(nn.Module):
    """A network whose output is whatever a function makes of its scores."""

    def __init__(self, wrap: object) -> None:
        super().__init__()
        self.net = linear()
        self.wrap = wrap

    def forward(self, x: torch.Tensor) -> object:
        return self.wrap(self.net(x))


def test_a_bare_module_takes_preprocessed_tensors() -> None:
    net, x = linear(), torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        expected = net(x)
    prediction = as_model(net).predict(x)
    assert_close(torch.from_numpy(prediction.scores), expected, atol=1e-6, rtol=1e-5)
    assert prediction.labels == ("class 0", "class 1")
    assert prediction.names == ("image 0", "image 1", "image 2")


def test_a_bare_module_cannot_know_how_it_wants_a_photo(cat: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"give input_size=\(H, W\), mean="):
        Model(linear()).predict(cat)


def test_a_timm_module_brings_its_own_preprocessing() -> None:
    import timm

    model = as_model(timm.create_model("test_resnet"))
    assert model.preprocessing is not None
    assert as_model(model) is model


@pytest.mark.slow
def test_a_timm_module_says_for_which_size_it_was_made() -> None:
    import timm

    model = as_model(timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=2, depth=1))
    assert model.preprocessing is not None
    assert (model.n_channels, model.preprocessing.input_size, model.preprocessing.resize_px[0]) == (
        3,
        (64, 64),
        71,
    )


class _WithMeta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, image: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        return self.fc(image.mean((2, 3)) + meta)


def test_what_a_network_takes_is_said_where_it_was_given_something_else() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(
        ModelError, match=r"several inputs: give Model\(net, inputs=\{'image': ..., 'meta': ...\}\)"
    ):
        Model(_WithMeta()).predict(x)
    with pytest.raises(ImageError, match=r"\['image', 'meta'\] are several .* give Model\(net, inputs="):
        Model(_WithMeta()).predict({"image": x, "meta": x[:, :, 0, 0]})
    with pytest.raises(ModelError, match=r"has 1 channel, as mean and std have values; .* takes 3 channels"):
        Model(nn.Sequential(nn.Conv2d(3, 2, 3)), (8, 8), [0.45], [0.2]).layers()
    signals = Model(nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()))
    with pytest.raises(ImageError, match=r"signals \(N, C, L\), .* tensor: torch.from_numpy\(array\)"):
        signals.predict(np.zeros((1, 1, 8), np.float32))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_networks_of_another_precision_run_and_results_are_float32(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 8, 8)
    net = linear()
    with torch.no_grad():
        expected = net(x)
    scores = Model(net.to(dtype)).predict(x).scores
    assert scores.dtype == np.float32
    assert_close(torch.from_numpy(scores), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("n_channels", [1, 4, 12])
def test_other_channels_than_three(n_channels: int) -> None:
    mean = [0.5] * n_channels
    model = Model(linear(n_channels), (8, 8), mean, mean)
    assert model.predict(np.zeros((9, 7, n_channels), np.float32)).scores.shape == (1, 2)
    assert feature_maps(model, np.zeros((9, 7, n_channels), np.float32), layer="0").images.shape == (1, 8, 8, 3)
    with pytest.raises(ImageError, match=f"2 channels, but the network takes {n_channels}"):
        model.predict(np.zeros((9, 7, 2), np.float32))
    with pytest.raises(ImageError, match=f"2 channels, but the network takes {n_channels}"):
        model.predict(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ModelError, match="cannot be run on an input of shape"):
        Model(linear(n_channels)).predict(torch.zeros(1, 2, 8, 8))


def test_a_gray_network_takes_photos(cat: np.ndarray) -> None:
    assert Model(linear(1), (8, 8), [0.5], [0.5]).predict(cat).scores.shape == (1, 2)


def test_inputs_need_not_be_square(cat: np.ndarray) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = Model(net, (8, 12), [0.5] * 3, [0.5] * 3)
    assert feature_maps(model, cat, layer="0")["0"].shape == (1, 4, 6, 10)


def test_the_number_of_labels_has_to_be_that_of_the_classes() -> None:
    with pytest.raises(ModelError, match="3 labels for a network with 2 classes"):
        Model(linear(), labels=["a", "b", "c"]).predict(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    "options",
    [
        {"input_size": ()},
        {"mean": [0.5]},
        {"input_size": (8, 8), "mean": [0.5]},
        {"mean": [0.5], "std": [0.5]},
        {"input_size": 8.5, "mean": [0.5], "std": [0.5]},
        {"input_size": (8, 8), "mean": 0.5, "std": 0.5},
        {"input_size": (8, 8, 3), "mean": [0.5], "std": [0.5]},
        {"input_size": (0, 8), "mean": [0.5], "std": [0.5]},
        {"input_size": (8, 8), "mean": [0.5, 0.5], "std": [0.5]},
        {"input_size": (8, 8), "mean": [0.5], "std": [0]},
    ],
)
def test_half_a_preprocessing_is_an_error(options: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        Model(linear(1), **options)


def test_a_size_alone_is_enough_for_tensors_and_names_the_sides_that_a_network_has() -> None:
    for conv, pool, size in ((nn.Conv1d, nn.AdaptiveAvgPool1d, (8,)), (nn.Conv3d, nn.AdaptiveAvgPool3d, (8,) * 3)):
        net = nn.Sequential(conv(2, 4, 3), pool(1), nn.Flatten(), nn.Linear(4, 2))
        for given in (8, size):
            assert Model(net, input_size=given).input_shape() == Model(net).input_shape(given) == (2, *size)
        assert Model(net, input_size=size).predict(torch.zeros(1, 2, *size)).scores.shape == (1, 2)
        with pytest.raises(
            ParameterError, match=r"\(length,\)" if len(size) == 1 else r"\(depth, height, width\)"
        ):
            Model(net).layers()


@pytest.mark.parametrize("odd", [None, "resnet18", 3, lambda x: x, nn.Linear])
def test_what_is_no_network_is_an_error(odd: object) -> None:
    with pytest.raises(ModelError, match="is not a network"):
        Model(odd)


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda s: {"a": s, "b": s}, r"returns a dict .* a: float32 \(1, 2\); b: float32 \(1, 2\)\. Name them"),
        (lambda s: (s, s), r"returns a tuple .* 0: float32 \(1, 2\); 1: float32 \(1, 2\)\. Name them"),
        (lambda s: s[:, :, None, None].expand(-1, -1, 8, 8), r"shape \(1, 2, 8, 8\)"),
        (lambda s: s.sum(), r"shape \(\)"),
    ],
)
def test_what_are_no_class_scores_is_an_error(wrap: object, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        Model(Gives(wrap)).predict(torch.zeros(1, 3, 8, 8))


def test_an_input_that_the_network_cannot_take_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"cannot be run on an input of shape \(1, 3, 9, 9\)"):
        Model(linear()).predict(torch.zeros(1, 3, 9, 9))


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(0, 3, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.full((1, 3, 8, 8), float("nan")),
        torch.full((1, 3, 8, 8), float("inf")),
    ],
)
def test_tensors_that_are_no_batch_are_errors(x: torch.Tensor) -> None:
    with pytest.raises(ImageError):
        Model(linear()).predict(x)


def test_a_list_of_tensors_is_an_error_that_says_so() -> None:
    with pytest.raises(ImageError, match="Tensor"):
        Model(linear(), (8, 8), [0.5] * 3, [0.5] * 3).predict([torch.zeros(3, 8, 8)])


def test_progress_counts_images_up_to_all_of_them(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    tiny.predict(torch.zeros(19, 3, 16, 16), progress=lambda done, n: seen.append((done, n)))
    assert seen[-1] == (19, 19)
    assert seen == sorted(set(seen))


def test_it_says_what_it_is(tiny: Model) -> None:
    assert repr(tiny) == "Model(Sequential, 16x16, 3 labels, cpu)"
    assert repr(Model(linear(), name="mine")) == "Model(mine, tensors only, cpu)"


# --- provenance --------------------------------------------------------------------------------------------


def test_provenance_says_enough_to_make_it_again(tiny: Model) -> None:
    provenance = tiny.predict(torch.zeros(1, 3, 16, 16)).provenance
    assert provenance.method == "predict"
    assert provenance.device == "cpu"
    assert provenance.model["name"] == "Sequential"
    assert provenance.model["preprocessing"]["mean"] == (0.5, 0.5, 0.5)
    assert provenance.versions["torch"] == torch.__version__.split("+")[0] or provenance.versions["torch"]
    assert provenance.seconds > 0


def test_the_digest_is_that_of_the_weights() -> None:
    torch.manual_seed(0)
    first = linear()
    torch.manual_seed(0)
    second = linear()
    assert weights_digest(first) == weights_digest(second)
    assert weights_digest(first) == weights_digest(first.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("way", ["no_grad", "data", "replaced", "buffer"])
def test_the_digest_follows_every_change_of_the_weights(way: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = weights_digest(net)
    if way == "no_grad":
        with torch.no_grad():
            net[0].weight.add_(1)
    elif way == "data":
        net[0].weight.data.add_(1)
    elif way == "replaced":
        net[0].weight = nn.Parameter(torch.zeros_like(net[0].weight))
    else:
        net[1].running_mean += 1
    assert weights_digest(net) != before


# --- what the network saw ----------------------------------------------------------------------------------


def test_without_mean_and_std_each_image_is_shown_in_its_own_range() -> None:
    x = torch.stack([torch.linspace(-3, 5, 48).reshape(3, 4, 4), torch.zeros(3, 4, 4)])
    pixels = Model(linear()).to_pixels(x)
    assert pixels.dtype == np.uint8
    assert (pixels[0].min(), pixels[0].max()) == (0, 255)
    assert (pixels[1] == 0).all()


def test_with_mean_and_std_the_picture_is_that_of_the_file_and_is_clipped(tiny: Model) -> None:
    x = torch.tensor([-9.0, 0.0, 9.0])[None, :, None, None].expand(1, 3, 4, 4)
    np.testing.assert_array_equal(tiny.to_pixels(x)[0, 0, 0], [0, 128, 255])


@pytest.mark.parametrize("labels", [{0: "no", 1: "yes"}, "no", ["no", 1], 7])
def test_labels_are_a_list_of_names(labels: object) -> None:
    with pytest.raises(ParameterError, match="labels"):
        Model(linear(), labels=labels)


def test_a_compiled_network_is_looked_at_as_it_was() -> None:
    net = linear()
    assert [layer.name for layer in Model(torch.compile(net)).layers((8, 8))] == ["0", "1", "2"]


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="device='xpu:7'"):
        Model(linear(), device="xpu:7")


def test_a_network_that_puts_out_one_row_for_a_batch_is_run_one_image_at_a_time() -> None:
    found = Model(Gives(lambda scores: scores.mean(dim=0, keepdim=True))).predict(torch.zeros(3, 3, 8, 8))
    assert len(found.scores) == 3
    assert any("does not show which output belongs to which image" in note for note in found.provenance.notes)
