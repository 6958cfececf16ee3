"""Plant wrong labels among views of the sample photos, and count how many of them each ranking puts first.

    python benchmarks/suspects.py --n 3000 --networks efficientnet-lite0 efficientnet-lite1
    python benchmarks/suspects.py --keep /tmp/views  # embed once, plant many times

A class is a region of a photo, four of each that overlap, so that classes are alike; a view is a crop of it,
turned, mirrored, recolored and blurred. Wrong labels are planted at several rates: any other class, or another
region of the same photo. "At n" is the share of wrong labels among the first n, as many as were planted; "at 2n"
is the share of all of them that are among the first 2 n. Beside it: cleanlab (confident learning on probabilities
of a logistic regression in five folds, on the same vectors), the same probabilities alone, and chance.

A second set has things on shared backgrounds: a round piece of one of 20 regions, pasted somewhere on a view of
one of four other photos. A third has labels that are classes of the network, named after what it sees in the whole
photo, where its predictions count too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from convscope import Embeddings, EmbeddingStore, Model, Provenance, embed, load_model, suspects
from convscope.samples import sample_photos

Ranking = Callable[["Planted", np.ndarray], np.ndarray]  # the order of images, the most suspect first


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Planted(Embeddings):
    """Vectors with labels of our own, and what the network predicts."""

    predicted: tuple[str | None, ...] = ()
    probability: tuple[float | None, ...] = ()

    def column(self, name: Any) -> tuple[Any, ...]:
        return getattr(self, name) if name in ("predicted", "probability") else super().column(name)


def write_views(folder: Path, n: int, whole: bool) -> None:
    """About n views, a folder for each class; ``whole`` makes a class of each photo."""
    chance = np.random.default_rng(0)
    regions = [(name, box) for name in sample_photos() for box in (range(1) if whole else range(4))]
    photos = {name: Image.fromarray(pixels) for name, pixels in sample_photos().items()}
    for name, quarter in regions:
        place = folder / (name if whole else f"{name}-{quarter}")
        place.mkdir(parents=True)
        region = photos[name] if whole else quarter_of(photos[name], quarter)
        for i in range(n // len(regions)):
            view(region, chance).save(place / f"{i:03}.jpg", quality=int(chance.integers(60, 95)))


def quarter_of(photo: Image.Image, quarter: int) -> Image.Image:
    """One of four corners, 0.65 of each side, so that it shares a part with the others."""
    width, height = round(0.65 * photo.width), round(0.65 * photo.height)
    left, top = (quarter % 2) * (photo.width - width), (quarter // 2) * (photo.height - height)
    return photo.crop((left, top, left + width, top + height))


def view(region: Image.Image, chance: np.random.Generator) -> Image.Image:
    side = round(min(region.size) * chance.uniform(0.5, 0.95))
    left, top = (int(chance.integers(0, whole - side + 1)) for whole in region.size)
    made = region.crop((left, top, left + side, top + side)).resize((256, 256))
    made = made.rotate(chance.uniform(-20, 20), Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    if chance.random() < 0.5:
        made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        made = change(made).enhance(chance.uniform(0.5, 1.5))
    return made.filter(ImageFilter.GaussianBlur(chance.uniform(0, 2)))


BACKGROUNDS = ("coins", "galaxies", "temple", "tissue")


def write_things(folder: Path, n: int) -> None:
    """About n images of 20 things on backgrounds that they share, a folder for each thing."""
    chance = np.random.default_rng(1)
    photos = {name: Image.fromarray(pixels).convert("RGB") for name, pixels in sample_photos().items()}
    things = [(name, quarter) for name in photos if name not in BACKGROUNDS for quarter in range(4)][:20]
    for name, quarter in things:
        place = folder / f"{name}-{quarter}"
        place.mkdir(parents=True)
        for i in range(n // len(things)):
            ground = view(photos[BACKGROUNDS[chance.integers(len(BACKGROUNDS))]], chance)
            thing, shape = view(quarter_of(photos[name], quarter), chance), Image.new("L", (256, 256))
            width, height = chance.integers(90, 125, 2)
            ImageDraw.Draw(shape).ellipse((128 - width, 128 - height, 128 + width, 128 + height), fill=255)
            side = int(chance.integers(90, 170))
            left, top = (int(at) for at in chance.integers(0, 256 - side, 2))
            ground.paste(thing.resize((side, side)), (left, top), shape.resize((side, side)))
            ground.save(place / f"{i:03}.jpg", quality=int(chance.integers(60, 95)))


def embedded(model: Model, folder: Path, place: Path) -> Planted:
    """All views with their true labels."""
    store = embed(model, folder, store=place) if not place.exists() else EmbeddingStore.open(place)
    vectors = np.concatenate([block.vectors for block in store.blocks()])
    return Planted(
        vectors=vectors,
        names=store.names,
        labels=store.labels,
        thumbnails=np.zeros((len(vectors), 0, 0, 3), np.uint8),
        layer=store.origin.layer,
        predicted=store.column("predicted"),
        probability=store.column("probability"),
        provenance=Provenance("embed", {}, dict(store.origin.model), "cpu", {}, 0.0),
    )


def named_as_seen(views: Planted, model: Model) -> Planted:
    """The views of photos that the network takes for different things, labeled with those."""
    seen: dict[str, str] = {}
    for name, photo in sample_photos().items():
        best = model.predict(photo).top(1)[0][0].label
        if best not in seen.values():
            seen[name] = best
    kept = [i for i, label in enumerate(views.labels) if label in seen]
    return take(views, kept, tuple(seen[str(views.labels[i])] for i in kept))


def take(views: Planted, kept: list[int], labels: tuple[str, ...]) -> Planted:
    return Planted(
        vectors=views.vectors[kept],
        names=tuple(views.names[i] for i in kept),
        labels=labels,
        thumbnails=views.thumbnails[kept],
        layer=views.layer,
        predicted=tuple(views.predicted[i] for i in kept),
        probability=tuple(views.probability[i] for i in kept),
        provenance=views.provenance,
    )


def plant(views: Planted, rate: float, seed: int, beside: bool) -> tuple[Planted, np.ndarray]:
    """The views with wrong labels, and which (n,) are wrong; ``beside`` takes another region of the same photo."""
    chance = np.random.default_rng(seed)
    labels = list(views.labels)
    every = sorted(set(labels))
    wrong = chance.choice(len(labels), round(rate * len(labels)), replace=False)
    for i in wrong:
        photo = str(labels[i]).rpartition("-")[0]
        others = [one for one in every if one != labels[i] and (not beside or one.startswith(f"{photo}-"))]
        labels[i] = others[chance.integers(len(others))]
    return take(views, list(range(len(labels))), tuple(labels)), wrong


def by_convscope(**options: Any) -> Ranking:
    def order(views: Planted, _: np.ndarray) -> np.ndarray:
        place = {name: i for i, name in enumerate(views.names)}
        return np.array([place[name] for name in suspects(views, **options).names])

    return order


def probabilities(views: Planted) -> np.ndarray:
    """Of a logistic regression on the vectors, each image by a fold that has not seen it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    codes = np.unique(views.labels, return_inverse=True)[1]
    scaled = (views.vectors - views.vectors.mean(axis=0)) / (views.vectors.std(axis=0) + 1e-6)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return np.asarray(
        cross_val_predict(LogisticRegression(max_iter=200), scaled, codes, cv=folds, method="predict_proba")
    )


def by_cleanlab(views: Planted, found: np.ndarray) -> np.ndarray:
    """What cleanlab calls wrong, then the rest, each by cleanlab's quality of its label."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    codes = np.unique(views.labels, return_inverse=True)[1]
    quality = get_label_quality_scores(codes, found)
    is_issue = find_label_issues(codes, found, n_jobs=1)
    return np.lexsort((quality, ~is_issue))


def by_probability(views: Planted, found: np.ndarray) -> np.ndarray:
    codes = np.unique(views.labels, return_inverse=True)[1]
    return np.argsort(found[np.arange(len(codes)), codes], kind="stable")


def table(views: Planted, rankings: dict[str, Ranking], beside: bool, given: Any) -> Iterator[str]:
    """A line for each rate and ranking: of the first n and 2 n, how many are wrong; means over seeds."""
    for rate in given.rates:
        hits: dict[str, list[tuple[float, float, float]]] = {name: [] for name in rankings}
        n = round(rate * len(views))
        for seed in range(given.seeds):
            planted, wrong = plant(views, rate, seed, beside)
            found = probabilities(planted)
            for name, ranking in rankings.items():
                started = time.perf_counter()
                is_wrong = np.isin(ranking(planted, found), wrong)
                seconds = time.perf_counter() - started
                hits[name].append((is_wrong[:n].sum() / n, is_wrong[: 2 * n].sum() / n, seconds))
        for name, values in hits.items():
            at_n, at_2n, seconds = np.mean(values, axis=0)
            yield f"{rate:6.1%} {n:5}  {name:34} {at_n:6.1%} {at_2n:6.1%} {seconds:8.2f}"
        yield f"{rate:6.1%} {n:5}  {'chance':34} {rate:6.1%} {2 * rate:6.1%}"


def show(title: str, views: Planted, rankings: dict[str, Ranking], given: Any, beside: bool = False) -> None:
    print(f"\n{title}: {len(views)} views in {len(set(views.labels))} classes, {given.seeds} seeds")
    print(f"{'rate':>6} {'n':>5}  {'ranking':34} {'at n':>6} {'at 2n':>6} {'seconds':>8}")
    for line in table(views, rankings, beside, given):
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3000)
    parser.add_argument("--networks", nargs="+", default=["efficientnet-lite0", "efficientnet-lite1"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0133, 0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="Folder for views and stores, used again by the next run.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        for whole in (False, True):
            if not (folder / f"views-{whole}").exists():
                write_views(folder / f"views-{whole}", given.n, whole)
        if not (folder / "things").exists():
            write_things(folder / "things", given.n)
        rankings = {
            "all": by_convscope(),
            "neighbors": by_convscope(by="neighbors"),
            "linear": by_convscope(by="linear"),
            "cleanlab": by_cleanlab,
            "class probability": by_probability,
        }
        for name in given.networks:
            model = load_model(name)
            parts = embedded(model, folder / "views-False", folder / f"{name}-parts.lance")
            show(f"{name}, wrong label: any other", parts, rankings, given)
            show(f"{name}, wrong label: another region of the photo", parts, rankings, given, beside=True)
            things = embedded(model, folder / "things", folder / f"{name}-things.lance")
            show(f"{name}, things on shared backgrounds, wrong label: any other", things, rankings, given)
            seen = named_as_seen(embedded(model, folder / "views-True", folder / f"{name}-whole.lance"), model)
            more = {"network": by_convscope(by="network")}
            show(f"{name}, labels are its classes", seen, rankings | more, given)


if __name__ == "__main__":
    main()
