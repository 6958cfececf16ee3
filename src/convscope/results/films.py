"""Films: frames as a GIF, a WebP or an MP4 file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import ParameterError
from .base import Array

# What imageio is told for each kind of file. The sides of an MP4 are even.
FILMS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        ".gif": {"loop": 0},
        ".webp": {"loop": 0, "quality": 90},
        ".mp4": {"plugin": "FFMPEG", "macro_block_size": 2, "ffmpeg_log_level": "error"},
    }
)


def check_film(path: str | Path) -> str:
    """The kind of film that a name ends in; `ParameterError` for others, and where MP4 cannot be written."""
    kind = Path(path).suffix.lower()
    if kind not in FILMS:
        raise ParameterError(f"{path}: a film is a file that ends in {', '.join(FILMS)}")
    if kind == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise ParameterError(f"{path}: MP4 needs `pip install 'convscope[video]'`; GIF and WebP need nothing more")
    return kind


def film(frames: Array, kind: str, fps: float) -> bytes:
    """Frames (F, H, W, 3) uint8 as the content of a file."""
    import imageio.v3 as imageio

    if kind == ".mp4":
        _, height, width, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    speed = {"fps": fps} if kind == ".mp4" else {"duration": 1000 / fps}
    options: dict[str, Any] = {**FILMS[kind], **speed}
    written: bytes = imageio.imwrite("<bytes>", frames, extension=kind, **options)
    return written
