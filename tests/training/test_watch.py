"""Watching a training: it changes nothing, the strip is what the methods find, it is bounded, and it goes on."""

from __future__ import annotations

import copy
import io
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

import convscope
from convscope import (
    Attribution,
    ModelError,
    OutputError,
    ParameterError,
    Several,
    TrainingStrip,
    Watch,
    filters,
    grad_cam,
    occlusion,
    visualize,
)
from convscope.errors import NotPicturesError
from convscope.models import Model
from convscope.outputs import GENERATOR
from convscope.training import kept_moments as moments


class Training:
    """A network with dropout and batch norms that is trained on noise, reproducibly."""

    def __init__(self, seed: int = 3) -> None:
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.3),
            nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
        )  # fmt: skip
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-2)
        self.model = Model(self.net, input_size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3, labels=["a", "b", "c"])
        self.n_done = 0

    def step(self, look: Any = None) -> None:
        """One step; ``look`` is called where gradients are there and not used yet."""
        x, y = torch.randn(4, 3, 16, 16), torch.randint(3, (4,))
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.net(x), y).backward()
        if look:
            look()
        self.optimizer.step()
        self.n_done += 1

    def state(self) -> dict[str, torch.Tensor]:
        state = {name: value.clone() for name, value in self.net.state_dict().items()}
        for i, of_parameter in self.optimizer.state_dict()["state"].items():
            state |= {f"{i} {name}": torch.as_tensor(value).clone() for name, value in of_parameter.items()}
        return state | {"random": torch.get_rng_state()}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class pictures of few steps."""
    monkeypatch.setattr("convscope.training.watch.ASCENT", 2)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of each picture, which takes most of a look's time, one pixel."""
    buffer, about = io.BytesIO(), PngInfo()
    about.add_text("Software", GENERATOR)
    Image.new("RGB", (1, 1)).save(buffer, "png", pnginfo=about)
    monkeypatch.setattr("convscope.render.pictures.figure", lambda *_, **__: None)
    monkeypatch.setattr("convscope.render.pictures._png", lambda *_, **__: buffer.getvalue())


# The training


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("amid", [False, True], ids=["between steps", "before the optimizer's step"])
def test_a_training_that_is_watched_ends_with_the_same_weights(
    amid: bool, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    plain = Training()
    for _ in range(6):
        plain.step()
    watched = Training()
    watch = Watch(watched.model, x, tmp_path / "w", every=2, classes=["b"])
    modes = [module.training for module in watched.net.modules()]
    flags = [p.requires_grad for p in watched.net.parameters()]
    for n in range(6):
        if amid:
            watched.step(lambda n=n: watch.look(n))  # type: ignore[misc]
        else:
            watch.step(n)
            watched.step()
        assert [module.training for module in watched.net.modules()] == modes
        assert [p.requires_grad for p in watched.net.parameters()] == flags
    one, other = plain.state(), watched.state()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# What is kept


@pytest.mark.slow
def test_the_strip_holds_what_the_methods_find_at_each_moment(
    x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    training = Training()
    watch = Watch(training.model, x, tmp_path / "w", every=3, classes=["b", 2], target=["a", "c"])
    copies = {}
    for n in range(8):
        if watch.step(n):
            copies[n] = copy.deepcopy(training.net)
        training.step()
    watch.finish(8)
    copies[8] = copy.deepcopy(training.net)
    assert list(copies) == [0, 3, 6, 8]
    strip = watch.strip()
    assert strip.steps.tolist() == [0, 3, 6, 8]
    assert strip.classes == ("b", "c")
    assert strip.layer == "0"
    assert strip.targets == ("a", "c") * 4
    for m, net in enumerate(copies.values()):
        model = Model(net, labels=["a", "b", "c"])
        maps = grad_cam(model, x, target=["a", "c"])
        np.testing.assert_array_equal(strip.maps[m], maps.values)
        np.testing.assert_array_equal(strip.scores[m], maps.scores)
        np.testing.assert_array_equal(strip.filters[m], filters(net).values[:16])
        as_before = Model(net, preprocessing=training.model.preprocessing, labels=["a", "b", "c"])
        for c, name in enumerate(["b", "c"]):
            liked = visualize(as_before, target=name, n_steps=2, size_px=16)
            np.testing.assert_array_equal(strip.pictures[m, c], liked.image)
    assert not np.array_equal(strip.maps[0], strip.maps[-1])
    assert sorted(entry.name for entry in (tmp_path / "w").iterdir()) == [
        *(f"step-{n:08}" for n in copies),
        "strip.png",
    ]
    one = Attribution.load(tmp_path / "w" / "step-00000003" / "maps")
    np.testing.assert_array_equal(one.values, strip.maps[1])
    assert not [*(tmp_path / "w").glob("step-*/*/picture.png")]  # drawing them took most of a look's time
    assert strip.provenance.parameters["method"] == "grad_cam"
    back = TrainingStrip.load(strip.save(tmp_path / "saved"))
    np.testing.assert_array_equal(back.maps, strip.maps)


def test_a_row_has_one_color_scale(tiny: Model) -> None:
    from tests.render.results import training_strip

    from convscope.render.overlays import overlay
    from convscope.render.strip_figures import strip_scale

    strip = training_strip()
    strip.maps[1] *= 10
    scale = strip_scale(strip, 0)
    assert scale.high >= np.percentile(np.abs(strip.maps[:, 0]), 99)
    pale, strong = (overlay(strip.images[0], strip.maps[m, 0], scale) for m in (0, 1))
    light = strip.images[0] @ [0.299, 0.587, 0.114] / 255 * 0.55 + 0.4
    away = [np.abs(shown / 255 - light[..., None]).mean() for shown in (pale, strong)]
    assert away[0] < away[1] / 3  # a tenth of the value is nearly the bare photo


@pytest.mark.usefixtures("undrawn")
def test_names_options_and_a_method_without_convolutions(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    for i in range(2):
        Image.fromarray(np.full((8, 8, 3), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    model = Model(net, input_size=(8, 8), mean=[0.5] * 3, std=[0.25] * 3)
    watch = Watch(
        model, [tmp_path / "0.png", tmp_path / "1.png"], tmp_path / "w", method="occlusion", options={"window": 4}
    )
    (tmp_path / "0.png").unlink()  # the images are in memory
    assert watch.step(1)
    strip = watch.strip()
    assert [Path(name).name for name in strip.names] == ["0.png", "1.png"]
    pixels = np.stack([np.full((8, 8, 3), 60 * i, np.uint8) for i in range(2)])
    np.testing.assert_array_equal(strip.maps[0], occlusion(model, list(pixels), window=4).values)
    assert strip.filters.shape[:2] == (1, 0)


# How much is kept


def test_the_interval_doubles_so_that_the_moments_stay_few_and_evenly_spread() -> None:
    taken: list[int] = []
    n_looks = 0
    for step in range(10_000):
        if moments.is_due(step, taken, 10, 8):
            n_looks += 1
            taken = sorted({*taken, step} - set(moments.superfluous(step, taken, 10, 8)))
        assert len(taken) <= 8
    gaps = np.diff(taken)
    assert set(gaps) == {1280}  # the smallest 10 * 2^k with at most 8 multiples up to 9,999
    assert taken[0] == 0
    assert n_looks <= 8 + 4 * 7  # half as many for each of 7 doublings


@pytest.mark.parametrize("stride", [1, 7, 64, 1000])
def test_steps_that_are_counted_in_leaps_are_looked_at_too(stride: int) -> None:
    taken: list[int] = []
    for step in range(stride, 50 * stride, stride):
        if moments.is_due(step, taken, 10, 6):
            taken = sorted({*taken, step} - set(moments.superfluous(step, taken, 10, 6)))
        assert 1 <= len(taken) <= 6
    assert len(taken) >= 3


@pytest.mark.usefixtures("undrawn")
def test_the_folder_holds_no_more_than_the_strip(x: torch.Tensor, tmp_path: Path) -> None:
    training = Training()
    watch = Watch(training.model, x, tmp_path / "w", every=1, n_moments=3)
    for n in range(9):
        watch.step(n)
    assert watch.strip().steps.tolist() == [0, 4, 8]
    assert len([*(tmp_path / "w").iterdir()]) == 4


# Going on


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_killed_goes_on_with_its_strip(x: torch.Tensor, tmp_path: Path) -> None:
    whole = Training()
    watch = Watch(whole.model, x, tmp_path / "whole", every=2)
    for n in range(8):
        watch.step(n)
        whole.step()
    cut = Training()
    watch = Watch(cut.model, x, tmp_path / "cut", every=2)
    saved: dict[str, Any] = {}
    for n in range(5):
        watch.step(n)
        if n == 3:  # a checkpoint, after which a moment is taken and lost
            saved = copy.deepcopy({"net": cut.net.state_dict(), "optimizer": cut.optimizer.state_dict()})
            random = torch.get_rng_state()
        cut.step()
    torch.manual_seed(99)
    resumed = Training()
    resumed.net.load_state_dict(saved["net"])
    resumed.optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(random)
    watch = Watch(resumed.model, x, tmp_path / "cut", every=2)
    for n in range(3, 8):
        if n > 3:
            watch.step(n)
        resumed.step()
    one, other = (Watch(whole.model, x, tmp_path / name, every=2).strip() for name in ("whole", "cut"))
    assert one.steps.tolist() == other.steps.tolist() == [0, 2, 4, 6]
    np.testing.assert_array_equal(one.maps, other.maps)


@pytest.mark.usefixtures("undrawn")
def test_moments_after_the_checkpoint_are_those_of_the_run_that_goes_on(x: torch.Tensor, tmp_path: Path) -> None:
    lost, found = Training(1), Training(2)
    watch = Watch(lost.model, x, tmp_path / "w", every=2)
    for n in range(7):
        watch.step(n)
    assert watch.strip().steps.tolist() == [0, 2, 4, 6]
    watch = Watch(found.model, x, tmp_path / "w", every=2)
    assert not watch.step(3)
    assert watch.step(4)
    strip = watch.strip()
    assert strip.steps.tolist() == [0, 2, 4]
    for m, training in enumerate([lost, lost, found]):
        np.testing.assert_array_equal(strip.maps[m], grad_cam(training.model, x).values)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_look_leaves_the_moments_before_it(x: torch.Tensor, tmp_path: Path) -> None:
    torch.save(x, tmp_path / "x.pt")
    script = f"""
        import os, signal, torch
        from convscope import Watch, Filters
        from convscope.results import files
        from tests.conftest import tiny_network
        watch = Watch(tiny_network(), torch.load({str(tmp_path / "x.pt")!r}), {str(tmp_path / "w")!r}, every=1)
        watch.step(0); watch.step(1)
        write = files.write
        def killed(one, folder):
            os.kill(os.getpid(), signal.SIGKILL) if isinstance(one, Filters) else write(one, folder)
        files.write = killed
        watch.step(2)
    """
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, *sys.path])
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == -signal.SIGKILL
    left = {entry.name for entry in (tmp_path / "w").iterdir()}
    assert len(left) == 4  # two moments, the strip, and a hidden half
    from tests.conftest import tiny_network

    watch = Watch(tiny_network(), x, tmp_path / "w", every=1)
    assert watch.strip().steps.tolist() == [0, 1]
    assert watch.step(2)
    assert watch.strip().steps.tolist() == [0, 1, 2]
    assert {entry.name for entry in (tmp_path / "w").iterdir()} == {
        "step-00000000", "step-00000001", "step-00000002", "strip.png",
    }  # fmt: skip


@pytest.mark.usefixtures("undrawn")
def test_another_training_does_not_replace_one_that_is_there(tiny: Model, x: torch.Tensor, tmp_path: Path) -> None:
    first = Watch(tiny, x, tmp_path / "w", every=5)
    for n in (3, 5, 10):
        first.step(n)
    again = Watch(tiny, x, tmp_path / "w", every=5)
    with pytest.raises(OutputError, match="holds a training from step 3 to 10"):
        again.step(1)
    assert first.strip().steps.tolist() == [3, 5, 10]
    for given, options in ((x[:1], {}), (x + 1, {}), (x, {"method": "saliency"}), (x, {"classes": [0]})):
        with pytest.raises(ParameterError, match="a watch of other images"):
            Watch(tiny, given, tmp_path / "w", **options)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("what", ["file", "step-00000005", "foreign"])
def test_what_others_have_put_there_is_left_alone(what: str, tiny: Model, x: torch.Tensor, tmp_path: Path) -> None:
    place = tmp_path / "w"
    if what == "file":
        place.write_text("mine")
        with pytest.raises(OutputError, match="is a file"):
            Watch(tiny, x, place)
        return
    if what == "step-00000005":
        place.mkdir()
        (place / "notes.txt").write_text("mine")
        with pytest.raises(OutputError, match=r"holds notes\.txt, which is no part of a watch"):
            Watch(tiny, x, place)
        return
    watch = Watch(tiny, x, place, every=1, n_moments=2)
    watch.step(0)
    watch.step(1)
    (place / "step-00000001" / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match=r"no look at step 2: .*notes\.txt"):
        assert not watch.step(2)
    assert (place / "step-00000001" / "notes.txt").read_text() == "mine"


# Problems


@pytest.mark.usefixtures("undrawn")
def test_a_problem_at_the_first_look_is_raised_and_a_later_one_warns_once(x: torch.Tensor, tmp_path: Path) -> None:
    training = Training()
    watch = Watch(training.model, x, tmp_path / "w", every=2)
    watch.step(0)
    before = [p.detach().clone() for p in training.net.parameters()]
    with torch.no_grad():
        training.net[9].bias.fill_(float("nan"))
    with pytest.warns(UserWarning, match="watch: no look at step 2"):
        assert not watch.step(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not watch.step(3)  # not again at every step
    with torch.no_grad():
        for p, value in zip(training.net.parameters(), before, strict=True):
            p.copy_(value)
    assert watch.step(4)
    assert watch.strip().steps.tolist() == [0, 4]
    with torch.no_grad():
        training.net[9].bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="score is nan"):
        Watch(training.model, x, tmp_path / "other")


@pytest.mark.usefixtures("undrawn")
def test_an_interrupt_goes_through(
    tiny: Model, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(tiny, x, tmp_path / "w")
    watch.step(0)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convscope.training.watch.filters", stop)
    with pytest.raises(KeyboardInterrupt):
        watch.step(100)
    assert watch.strip().steps.tolist() == [0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"every": 0}, "every=0"),
        ({"n_moments": 1}, "n_moments=1"),
        ({"n_moments": 99}, "n_moments=99"),
        ({"method": "magic"}, "'magic' is no method"),
        ({"target": Several(0, 1)}, "expected one for each image"),
        ({"classes": list(range(9))}, "classes: 9; at most 8"),
        ({"classes": [5]}, "classes 0 to 2"),
        ({"writer": object()}, r"has no add_image\(\)"),
    ],
)
def test_bad_arguments_are_refused(
    options: dict[str, Any], says: str, tiny: Model, x: torch.Tensor, tmp_path: Path
) -> None:
    with pytest.raises(convscope.ConvscopeError, match=says):
        Watch(tiny, x, tmp_path / "w", **options)
    assert not (tmp_path / "w").exists()


def test_too_many_images_and_no_moment_are_said(tiny: Model, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="images: 17; at most 16"):
        Watch(tiny, torch.randn(17, 3, 16, 16), tmp_path / "w")
    watch = Watch(tiny, torch.randn(1, 3, 16, 16), tmp_path / "w")
    assert repr(watch) == f"Watch(1 image by grad_cam, 0 moments in {tmp_path / 'w'})"
    with pytest.raises(OutputError, match="holds no moment yet"):
        watch.strip()


@pytest.mark.parametrize("sides", [(40,), (6, 8, 8)], ids=["signals", "volumes"])
def test_signals_and_volumes_are_refused_at_once(sides: tuple[int, ...], tmp_path: Path) -> None:
    conv, pool = {1: (nn.Conv1d, nn.AdaptiveAvgPool1d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}[len(sides)]
    net = nn.Sequential(conv(2, 4, 3), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(NotPicturesError, match=r"of images \(H, W\), .*: for signals and volumes, call grad_cam"):
        Watch(net, torch.randn(1, 2, *sides), tmp_path / "w")
    assert not (tmp_path / "w").exists()


class WithMeta(nn.Module):
    """A network of an image and three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = nn.Linear(4 + 3, 2)

    def forward(self, image: torch.Tensor, meta: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.features(image).mean(dim=(2, 3)), meta], dim=1))


@pytest.mark.usefixtures("undrawn")
def test_of_several_inputs_the_image_is_watched_with_its_own_row_of_others(
    x: torch.Tensor, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    meta = torch.randn(2, 3)
    model = Model(WithMeta(), inputs={"image": x[:1], "meta": meta[:1]})
    watch = Watch(model, {"image": x, "meta": meta}, tmp_path / "w", every=1, target=1)
    given = meta.clone()
    meta.zero_()  # the watch has its own
    assert watch.step(0)
    strip = watch.strip()
    with torch.no_grad():
        np.testing.assert_allclose(strip.scores[0], model.network(x, given)[:, 1].numpy(), rtol=1e-5)
    for n in range(2):
        alone = grad_cam(model, {"image": x[n : n + 1], "meta": given[n : n + 1]}, target=1)
        np.testing.assert_array_equal(strip.maps[0, n], alone.values[0])
    inputs = {"image": x[:1], "meta": given[:1]}
    with pytest.raises(NotPicturesError, match=r"saliency explains image, meta together.*'grad_cam'"):
        Watch(model, inputs, tmp_path / "other", method="saliency")
    many = {"image": x[:1].expand(17, -1, -1, -1), "meta": given[:1].expand(17, -1)}
    with pytest.raises(ParameterError, match="images: 17; at most 16"):
        Watch(model, many, tmp_path / "other")


# TensorBoard


class Writer:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, tuple[int, ...]]] = []

    def add_image(self, tag: str, image: np.ndarray, step: int, dataformats: str) -> None:
        assert image.dtype == np.uint8
        assert dataformats == "HWC"
        assert image.std() > 0
        self.seen.append((tag, step, image.shape))


@pytest.mark.slow
def test_every_look_is_handed_to_a_writer(
    tiny: Model, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(monkeypatch)
    writer = Writer()
    watch = Watch(tiny, x, tmp_path / "w", every=10, classes=[0], writer=writer)
    watch.step(0)
    watch.step(5)
    watch.step(10)
    kinds = ("maps", "classes", "strip", "filters")
    assert sorted(writer.seen)[0][0] == "convscope/classes"
    assert {(tag, step) for tag, step, _ in writer.seen} == {
        (f"convscope/{kind}", step) for kind in kinds for step in (0, 10)
    }


@pytest.mark.slow
def test_tensorboard_reads_the_images_back(tiny: Model, x: torch.Tensor, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from torch.utils.tensorboard import SummaryWriter
    with SummaryWriter(str(tmp_path / "runs")) as writer:
        watch = Watch(tiny, x, tmp_path / "w", every=10, writer=writer)
        watch.step(0)
        watch.step(10)
    events = EventAccumulator(str(tmp_path / "runs"), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {"convscope/maps", "convscope/filters", "convscope/strip"}
    shown = events.Images("convscope/strip")
    assert [image.step for image in shown] == [0, 10]
    with Image.open(tmp_path / "w" / "strip.png") as strip:
        assert (shown[-1].width, shown[-1].height) == strip.size
