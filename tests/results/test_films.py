"""Films: what is written can be played, and what cannot be written says why."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from tests.render.results import visualization

from convscope import OutputError, ParameterError
from convscope.results import films


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_film_has_the_frames_at_their_speed(kind: str, tmp_path: Path) -> None:
    result = visualization(5)
    with Image.open(result.save_film(tmp_path / f"film.{kind}", fps=10)) as film:
        assert (film.n_frames, film.size) == (5, (12, 12))
        film.seek(1)
        film.load()
        assert film.info["duration"] == 100
        assert film.info["loop"] == 0


def test_a_video_of_odd_sides_has_the_frames_and_an_edge(tmp_path: Path) -> None:
    frames = np.zeros((6, 65, 63, 3), np.uint8)
    frames[3:] = 200
    result = dataclasses.replace(visualization(), frames=frames)
    film = result.save_film(tmp_path / "film.mp4", fps=8)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(film), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    played = subprocess.run(command, capture_output=True, check=True)
    assert b"8 fps" in played.stderr
    seen = np.frombuffer(played.stdout, np.uint8).reshape(6, 66, 64, 3)
    assert [round(float(one.mean()) / 200) for one in seen] == [0, 0, 0, 1, 1, 1]
    assert abs(float(seen[4][-1].mean()) - 200) < 10, "the added edge is black"


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match="no frames: make it with n_frames=24"):
        visualization().save_film(tmp_path / "film.gif")
    with pytest.raises(ParameterError, match=r"ends in .gif, .webp, .mp4"):
        visualization(3).save_film(tmp_path / "film.avi")
    (tmp_path / "mine.gif").write_bytes(b"mine")
    with pytest.raises(OutputError, match="convscope did not write it"):
        visualization(3).save_film(tmp_path / "mine.gif")
    assert (tmp_path / "mine.gif").read_bytes() == b"mine"
    monkeypatch.setattr(films.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"pip install 'convscope\[video\]'"):
        visualization(3).save_film(tmp_path / "film.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.gif"]
