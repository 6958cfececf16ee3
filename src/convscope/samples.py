"""Real photos to try things on, without a download: two packages that convscope needs anyway contain them.

Ten come with scikit-image; the docstrings of ``skimage.data`` name their photographers, and most are free of any
restriction (NASA, Brooklyn Museum, CC0). The motorcycle is from the Middlebury 2014 stereo benchmark (Scharstein
et al.). Two come with scikit-learn under Creative Commons Attribution 2.0, with their sources in its
``sklearn/datasets/images/README.txt``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from .arguments import checks_arguments
from .errors import OutputError
from .images import Pixels, load_images
from .outputs import check_directory, new_directory
from .progress import Progress

# name -> (package, file inside it)
PHOTOS: dict[str, tuple[str, str]] = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
}

LONGEST_PX = 500  # of a crop
_AREA = (0.4, 0.9)  # a crop's share of the photo
_ASPECT = (3 / 4, 4 / 3)  # width / height
_BRIGHTNESS = (0.6, 1.4)
_QUALITY = 92


def sample_photos() -> dict[str, Pixels]:
    """The twelve photos of `PHOTOS`, uint8 (H, W, 3) each, from 303 x 384 to 1411 x 1411 pixels.

    They come with scikit-image and scikit-learn; nothing is downloaded.

    Example:
        >>> sample_photos()["cat"].shape
        (300, 451, 3)
    """
    return {name: _open(name) for name in PHOTOS}


@checks_arguments
def write_samples(
    directory: str | Path, *, n_variants: int = 16, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write a folder of images whose true neighbors are known.

    ``photos/`` holds the twelve photos as they are, ``crops/NAME/`` random views of each: 40 to 90 % of the
    area, width to height from 3:4 to 4:3, at most 500 pixels long, half of them mirrored, brightness times 0.6
    to 1.4, JPEG quality 92. Views of one photo differ in their pixels, yet show the same thing. Give
    ``directory/crops`` to `embed`: the names become the labels. The photos come from the installed
    scikit-image and scikit-learn; nothing is downloaded.

    Args:
        directory: a new or an empty one; it appears once everything is written. One that holds what the same call
            wrote is left as it is, so that a notebook can be run again.
        n_variants: views of each photo; the first n are the same whatever n is.
        seed: for the views; the same seed gives the same pixels.
        progress: called with (images done, images in all).

    Returns:
        The directory.

    Raises:
        OutputError: the directory holds anything else, or cannot be written.

    Cost: about 3 ms a view.
    """
    directory = Path(directory)
    try:
        check_directory(directory)
    except OutputError:
        if _holds(directory, n_variants, seed, progress):
            return directory
        raise
    with new_directory(directory) as partial:
        for name, content in _samples(n_variants, seed, progress):
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
    return directory


def _samples(n_variants: int, seed: int, progress: Progress | None) -> Iterator[tuple[str, bytes]]:
    """Every file: its place in the folder, and its content."""
    n_images, n_done = len(PHOTOS) * (1 + n_variants), 0
    for n, name in enumerate(PHOTOS):
        original = _file(name)
        yield f"photos/{name}{PurePath(original.name).suffix}", original.read_bytes()
        photo = Image.fromarray(_open(name))
        for v in range(n_variants):
            view = io.BytesIO()
            _view(photo, np.random.default_rng([seed, n, v])).save(view, "JPEG", quality=_QUALITY)
            yield f"crops/{name}/{name}-{v:02d}.jpg", view.getvalue()
        n_done += 1 + n_variants
        if progress:
            progress(n_done, n_images)


def _holds(directory: Path, n_variants: int, seed: int, progress: Progress | None) -> bool:
    """Whether photos/ and crops/ hold, byte for byte, what this call would write."""
    try:
        files = [file for part in ("photos", "crops") for file in (directory / part).rglob("*")]
        there = {file.relative_to(directory).as_posix() for file in files if not file.is_dir()}
        there = {name for name in there if "/." not in name}  # what a file browser leaves
        for name, content in _samples(n_variants, seed, progress):
            if name not in there or (directory / name).read_bytes() != content:
                return False
            there.remove(name)
    except (OSError, ValueError):
        return False
    return not there


def _file(name: str) -> Traversable:
    package, file = PHOTOS[name]
    return resources.files(package) / file


def _open(name: str) -> Pixels:
    with resources.as_file(_file(name)) as path:
        return load_images(path)[0]


def _view(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random view: a part of the photo, perhaps mirrored, darker or brighter."""
    while True:  # until it fits into the photo
        area = rng.uniform(*_AREA) * photo.width * photo.height
        aspect = np.exp(rng.uniform(*np.log(_ASPECT)))
        width, height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if width <= photo.width and height <= photo.height:
            break
    left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
    view = photo.crop((left, top, left + width, top + height))
    view.thumbnail((LONGEST_PX, LONGEST_PX))
    if rng.random() < 0.5:
        view = ImageOps.mirror(view)
    return ImageEnhance.Brightness(view).enhance(rng.uniform(*_BRIGHTNESS))
