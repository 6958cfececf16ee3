"""Make the pictures of the documentation: ``python docs/pictures/make.py [NAME ...]``.

They use only the default network, photos that scikit-image ships, and a small transformer that `shapes.py` trains
on drawn shapes, so nothing is downloaded.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from shapes import SHAPES, images, trained
from skimage import data
from torch import nn

import convscope
from convscope import (
    Contrast,
    Embeddings,
    Model,
    Several,
    SimilarTo,
    Watch,
    attention_gradient,
    attention_rollout,
    compare,
    concepts,
    detections,
    embed,
    evaluate,
    feature_maps,
    filters,
    grad_cam,
    invert,
    load_model,
    lrp,
    mask_study,
    neighbors,
    occlusion,
    project,
    rise,
    saliency,
    sanity_check,
    visualize,
    write_samples,
)
from convscope.attribution import ATTRIBUTIONS
from convscope.evaluation import CURVES
from convscope.render import attribution_overlay, channel_tiles, figure, plot
from convscope.render.attribution_panels import attribution_map, is_grainy
from convscope.results import Array

HERE = Path(__file__).parent
INK, SOFT = "#1d1d1f", "#66666b"


def draw_filters(model: Model) -> Figure:
    return figure(filters(model))


def draw_feature_maps(model: Model) -> Figure:
    result = feature_maps(model, data.coffee(), layer=["blocks.1.1.bn1", "bn2"])
    return figure(result, by="max")


def draw_concepts(model: Model) -> Figure:
    """Views of one cat: what its face is made of to the last layer."""
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder) / "samples", n_variants=16)
        views = Path(folder) / "samples" / "crops" / "cat"
        return figure(concepts(model, views, target="tabby", n_concepts=5))


def draw_saliency(model: Model) -> Figure:
    return figure(saliency(model, [data.coffee(), data.chelsea()]))


def draw_occlusion(model: Model) -> Figure:
    """One photo with three choices of window and baseline, and one whose parts can replace each other."""
    coffee, cat = data.coffee(), data.chelsea()
    results = [
        occlusion(model, coffee, window=32),
        occlusion(model, coffee, window=64),
        occlusion(model, coffee, window=64, baseline="noise"),
        occlusion(model, cat, window=64),
    ]
    drawing = Figure(figsize=(13.5, 3.3), layout="constrained", facecolor="white")
    for ax, result in zip(drawing.subplots(1, 4), results, strict=True):
        options = result.provenance.parameters
        plot(result, ax)
        _title(ax, f"{result.targets[0]} · window {options['window'][0]}, baseline {options['baseline']}")
    return drawing


def draw_method(model: Model, name: str) -> Figure:
    """A method with its defaults: the class of a photo, an absent class, and a second photo."""
    method = getattr(convscope, name)
    coffee = method(model, data.coffee(), target=Several("espresso", "rapeseed"))
    cat = method(model, data.chelsea())
    drawing = Figure(figsize=(10.2, 2.8), layout="constrained", facecolor="white")
    panels = [(coffee, 0, ""), (coffee, 1, ", which is not there"), (cat, 0, "")]
    for ax, (result, n, note) in zip(drawing.subplots(1, 3), panels, strict=True):
        plot(result, ax, n=n)
        if any(is_grainy(values) for values in coffee.values):  # illegible over the photo
            ax.images[0].set_data(attribution_map(result, n))
        _title(ax, result.targets[n].split(",")[0] + note)
    return drawing


def draw_targets(model: Model) -> Figure:
    """Grad-CAM of a class, of one class rather than another, and of the similarity of two photos."""
    cat = data.chelsea()
    mirrored = cat[:, ::-1].copy()
    results = [
        ("tabby", grad_cam(model, cat, target="tabby", kind="signed")),
        ("tabby rather than lynx", grad_cam(model, cat, target=Contrast("tabby", "lynx"), kind="signed")),
        (
            "similarity to its mirror image",
            grad_cam(model, cat, target=SimilarTo(mirrored), kind="signed"),
        ),
    ]
    drawing = Figure(figsize=(10.2, 2.8), layout="constrained", facecolor="white")
    for ax, (title, result) in zip(drawing.subplots(1, 3), results, strict=True):
        plot(result, ax)
        _title(ax, title)
    return drawing


def draw_transformers(_: Model) -> Figure:
    """One image with two shapes: a row for each of them as the target, a column for each method."""
    model, (pixels, labels) = trained(), images(12, seed=9)
    chosen = next(i for i in range(12) if labels[i, 0] and labels[i, 3])
    photo, targets = (pixels[chosen].permute(1, 2, 0).numpy() * 255).astype(np.uint8), ("disc", "cross")
    assert set(targets) <= set(SHAPES)
    methods = [attention_rollout, attention_gradient, grad_cam, lrp, partial(occlusion, window=8, stride=4)]
    names = ["attention_rollout", "attention_gradient", "grad_cam", "lrp", "occlusion"]
    drawing = Figure(figsize=(13.2, 5.2), layout="constrained", facecolor="white")
    axes = drawing.subplots(2, len(methods))
    for column, (method, name) in enumerate(zip(methods, names, strict=True)):
        found = method(model, photo, target=Several(*targets))
        for row, target in enumerate(targets):
            plot(found, axes[row, column], n=row)
            _title(axes[row, column], f"{name}: {target}")
    return drawing


def draw_detectors(_: Model) -> Figure:
    """Two drawn shapes that a detector has learned to find, each with its map, and a face that MTCNN found."""
    sys.path.insert(0, str(HERE.parent.parent))
    from facenet_pytorch.models.mtcnn import PNet
    from tests.models.test_detecting import Faces
    from tests.oracles.drawn_shapes import LABELS, drawn, trained

    shapes = Model(trained(), labels=LABELS)
    x = drawn(1, 9)[0]
    found = rise(shapes, x, target=Several(*detections(shapes, x)), n_masks=2000, cells=8)
    faces = Model(Faces(PNet().eval(), scale=0.2), (256, 256), [0.5] * 3, [0.5] * 3, labels=["face"])
    (face,) = detections(faces, data.astronaut(), read=faces.module.read, min_score=0.99)
    hidden = occlusion(faces, data.astronaut(), target=face, window=16, stride=4)
    drawing = Figure(figsize=(13.5, 3.1), layout="constrained", facecolor="white")
    axes = drawing.subplots(1, 4)
    axes[0].imshow(found.images[0], interpolation="antialiased")
    axes[0].set_axis_off()
    _title(axes[0], "two shapes, as the detector saw them")
    for ax, result, n in ((axes[1], found, 0), (axes[2], found, 1), (axes[3], hidden, 0)):
        plot(result, ax, n=n)
        method = "RISE" if result is found else "occlusion"
        _title(ax, f"{result.targets[n].partition(' at ')[0]} · {method}")
    return drawing


def draw_evaluate(model: Model) -> Figure:
    photos = [data.coffee(), data.chelsea(), data.astronaut(), data.rocket()]
    maps = [method(model, photos) for method in (grad_cam, occlusion, saliency)]
    return figure(evaluate(model, photos, maps, n_steps=20, measures=[*CURVES, "road", "sparseness"]))


def draw_sanity_check(model: Model) -> Figure:
    return figure(sanity_check(model, data.coffee(), "guided_backprop"))


def draw_compare(model: Model) -> Figure:
    photos = [data.coffee(), data.chelsea(), data.astronaut(), data.rocket()]
    methods = ["grad_cam", "layer_cam", "occlusion", "lrp", "integrated_gradients", "smoothgrad", "saliency"]
    return figure(compare(model, photos, methods, n_steps=15))


def draw_compare_layers(model: Model) -> Figure:
    photos = [data.coffee(), data.chelsea(), data.astronaut(), data.rocket()]
    layers = ["blocks.2", "blocks.4", "blocks.6", "bn2"]
    return figure(compare(model, photos, ["grad_cam", "layer_cam"], layers=layers, n_steps=15))


def draw_mask_study(model: Model) -> Figure:
    return figure(mask_study(model, data.coffee()))


def draw_visualize(model: Model) -> Figure:
    """Three targets with the defaults, and one of them by plain ascent."""
    results = [(target, visualize(model, target)) for target in ("flamingo", "zebra", "volcano")]
    results.append(("volcano · preset plain", visualize(model, "volcano", preset="plain")))
    drawing = Figure(figsize=(12.4, 3.6), layout="constrained", facecolor="white")
    for ax, (title, result) in zip(drawing.subplots(1, 4), results, strict=True):
        plot(result, ax)
        _title(ax, title)
    return drawing


def draw_presets(model: Model) -> Figure:
    """Five classes by three presets: minutes."""
    presets = ("natural", "crisp", "maco")
    targets = ("ibex", "crash helmet", "coho", "sea cucumber", "sulphur butterfly")
    drawing = Figure(figsize=(11, 7), layout="constrained", facecolor="white")
    for row, preset in zip(drawing.subplots(len(presets), len(targets)), presets, strict=True):
        for ax, target in zip(row, targets, strict=True):
            ax.imshow(visualize(model, target, preset=preset).image)
            ax.set_axis_off()
            ax.set_title(f"{target} · {preset}", loc="left", fontsize=9, color=INK)
    return drawing


def draw_invert(model: Model) -> Figure:
    """What five layers keep of a photo, in 200 steps each: minutes."""
    with tempfile.TemporaryDirectory() as folder:
        return figure(invert(model, write_samples(Path(folder) / "samples") / "photos" / "coffee.png"))


def embed_crops(model: Model) -> Embeddings:
    """16 views each of 12 photos."""
    with tempfile.TemporaryDirectory() as folder:
        return embed(model, write_samples(Path(folder) / "samples") / "crops")


def draw_embedding(model: Model) -> Figure:
    """The cosine of every pair of views, by their vectors and by their pixels."""
    crops = embed_crops(model)
    n = len(crops.names)
    drawing = Figure(figsize=(8.6, 4.0), layout="constrained", facecolor="white")
    spaces = [("Vectors", crops.vectors), ("Pixels", crops.thumbnails.reshape(n, -1).astype(np.float64))]
    labels = list(dict.fromkeys(crops.labels))
    for ax, (title, vectors) in zip(drawing.subplots(1, 2), spaces, strict=True):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        shown = ax.imshow(unit @ unit.T, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([crops.labels.index(label) + 7.5 for label in labels], labels, fontsize=7, color=SOFT)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(title, loc="left", fontsize=9, color=INK)
    bar = drawing.colorbar(shown, ax=drawing.axes, shrink=0.8, aspect=30)
    bar.set_label("cosine", fontsize=8, color=SOFT)
    bar.ax.tick_params(labelsize=7, labelcolor=SOFT)
    bar.outline.set_visible(False)
    return drawing


def draw_neighbors(model: Model) -> Figure:
    """Three views with their nearest, by their vectors and by their pixels."""
    crops = embed_crops(model)
    rows = [crops.labels.index(label) + 2 for label in ("cat", "coffee", "rocket")]
    drawing = Figure(figsize=(12.4, 4.0), layout="constrained", facecolor="white")
    for ax, space in zip(drawing.subplots(1, 2), ("feature", "pixel"), strict=True):
        plot(neighbors(crops, rows, k=5, space=space), ax)
        ax.set_title(f"In {space} space", loc="left", fontsize=9, color=INK)
    return drawing


def draw_projection(model: Model) -> Figure:
    crops = embed_crops(model)
    drawing = Figure(figsize=(12.4, 4.6), layout="constrained", facecolor="white")
    left, right = drawing.subplots(1, 2)
    plot(project(crops), left)
    left.get_legend().remove()
    left.set_title("PCA", loc="left", fontsize=9, color=INK)
    plot(project(crops, method="tsne"), right)
    right.set_title("t-SNE", loc="left", fontsize=9, color=INK)
    return drawing


def draw_shapes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, 64, 64) in [0, 1] of a circle (class 0) or a cross (class 1), anywhere, in any color."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64]
    images, classes = np.zeros((n, 3, 64, 64)), rng.integers(2, size=n)
    for image, is_cross in zip(images, classes, strict=True):
        down, across = (np.abs(axis - rng.integers(16, 48)) for axis in (rows, columns))
        ring = np.abs(np.hypot(down, across) - 10) < 2.5
        cross = (np.minimum(down, across) < 2.5) & (np.maximum(down, across) < 12)
        image += np.where(
            cross if is_cross else ring, rng.uniform(0.5, 1, (3, 1, 1)), rng.uniform(0, 0.4, (3, 1, 1))
        )
    images += rng.normal(0, 0.06, images.shape)
    return torch.tensor(images.clip(0, 1), dtype=torch.float32), torch.tensor(classes)


def draw_while_training(_: Model) -> Figure:
    """A small network that learns to tell circles from crosses, watched on four images."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 7, padding=3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    shapes = Model(net, input_size=(64, 64), mean=[0.5] * 3, std=[0.25] * 3, labels=["circle", "cross"])
    seen, _ = draw_shapes(3, 1)
    photos = [(255 * image.permute(1, 2, 0).numpy()).astype(np.uint8) for image in seen]
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(shapes, photos, Path(folder) / "w", every=20, target="cross", options={"kind": "signed"},
                      classes=["circle", "cross"], n_moments=8)  # fmt: skip
        for step in range(141):
            watch.step(step)
            x, y = draw_shapes(32, 100 + step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net((x - 0.5) / 0.25), y).backward()
            optimizer.step()
        return figure(watch.strip())


def draw_hero(model: Model) -> Figure:
    """One row for the README: the photo, and what four methods see in it."""
    photo = data.coffee()
    hidden = occlusion(model, photo, window=48, stride=8)
    gradient = saliency(model, photo)
    layer = "blocks.1.1.bn1"
    _, tiles, _ = channel_tiles(feature_maps(model, photo, layer=layer), layer, by="max", channels=25)
    liked = visualize(model, target="espresso")
    panels = [
        (hidden.images[0], "Photo", "as the network sees it"),
        (attribution_overlay(hidden, 0), "Occlusion", "red: hiding it lowers the score"),
        (attribution_map(gradient, 0), "Saliency", "bright: a small change counts"),
        (_grid(tiles, 5), "Feature maps", "25 channels of an early layer"),
        (liked.image, "Visualization", "made to score high as “espresso”"),
    ]
    width, height, side, gap = 1600, 392, 296, 18  # pixels
    left = (width - len(panels) * side - (len(panels) - 1) * gap) / 2
    drawing = Figure(figsize=(width / 100, height / 100), facecolor="white")
    for i, (pixels, title, note) in enumerate(panels):
        x = left + i * (side + gap)
        ax = drawing.add_axes((x / width, 1 - (side + 24) / height, side / width, side / height))
        ax.imshow(pixels, interpolation="antialiased")
        ax.set_axis_off()
        drawing.text(x / width, 44 / height, title, fontsize=11.5, color=INK, fontweight="bold")
        drawing.text(x / width, 21 / height, note, fontsize=10, color=SOFT)
    return drawing


def _title(ax: Axes, title: str) -> None:
    """Replace the panel's title, above its second line."""
    ax.set_title(title, loc="left", pad=17, fontsize=9, color=INK)


def _grid(tiles: Array, columns: int, gap: int = 2) -> Array:
    """Put tiles (K, h, w, 3) into a grid with white gaps; K has to fill whole rows."""
    framed = np.pad(tiles, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    height, width = framed.shape[1:3]
    rows = framed.reshape(-1, columns, height, width, 3).swapaxes(1, 2)
    return np.asarray(rows.reshape(-1, columns * width, 3)[:-gap, :-gap])


# name -> (drawing, dots per inch, file type)
PICTURES: dict[str, tuple[Callable[[Model], Figure], int, str]] = {
    "filters": (draw_filters, 110, "png"),
    "feature-maps": (draw_feature_maps, 90, "jpg"),
    "concepts": (draw_concepts, 90, "jpg"),
    "saliency": (draw_saliency, 90, "jpg"),
    "occlusion": (draw_occlusion, 100, "jpg"),
    "visualize": (draw_visualize, 100, "jpg"),
    "presets": (draw_presets, 90, "jpg"),
    "invert": (draw_invert, 128, "jpg"),
    "targets": (draw_targets, 90, "jpg"),
    "transformers": (draw_transformers, 80, "jpg"),
    "detectors": (draw_detectors, 90, "jpg"),
    "evaluate": (draw_evaluate, 75, "jpg"),
    "sanity-check": (draw_sanity_check, 80, "jpg"),
    "compare": (draw_compare, 75, "jpg"),
    "compare-layers": (draw_compare_layers, 75, "jpg"),
    "mask-study": (draw_mask_study, 75, "jpg"),
    "embedding": (draw_embedding, 110, "jpg"),
    "neighbors": (draw_neighbors, 90, "jpg"),
    "projection": (draw_projection, 90, "jpg"),
    "while-training": (draw_while_training, 80, "jpg"),
    "hero": (draw_hero, 100, "jpg"),
}
# All other methods have the same kind of picture. Those by attention share one of a small transformer; occlusion
# by several windows shares a page with occlusion.
PICTURES |= {
    name.replace("_", "-"): (partial(draw_method, name=name), 90, "jpg")
    for name in sorted(ATTRIBUTIONS)
    if name not in PICTURES and name not in ("attention_gradient", "attention_rollout", "occlusion_multiscale")
}


def write(drawing: Figure, path: Path, dpi: int) -> None:
    """PNG of 256 colors for flat pictures, JPEG for photos."""
    buffer = io.BytesIO()
    tight = {} if path.stem == "hero" else {"bbox_inches": "tight", "pad_inches": 0.1}
    drawing.savefig(buffer, format="png", dpi=dpi, facecolor="white", **tight)
    image = Image.open(buffer).convert("RGB")
    if path.suffix == ".png":
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    else:
        image.save(path, quality=75, optimize=True, progressive=True)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    model = load_model(device="cpu")
    for name in sys.argv[1:] or PICTURES:
        draw, dpi, suffix = PICTURES[name]
        write(draw(model), HERE / f"{name}.{suffix}", dpi)


if __name__ == "__main__":
    main()
