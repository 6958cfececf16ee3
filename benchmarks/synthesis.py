"""Feature visualization against Lucent and Horama: what a step costs, and what networks take the pictures for.

    python benchmarks/synthesis.py                            # all rows
    python benchmarks/synthesis.py --only steps --rounds 3    # steps, maco, batch, seconds or classes alone
    python benchmarks/synthesis.py --only classes --classes 50 --minutes 60

A step is compared at the same size of the picture and of the network's input, with the same number of views: the
difference of a long and a short run, so that what a call costs once does not count. Lucent runs the whole network;
convscope runs it up to the layer it needs.

For "classes", each class drawn by --seed gets a picture by the default preset, and one by Lucent's and by Horama's
default in as many seconds of the processors, which other work on the machine does not change. Rounded to 8 bits,
they are shown to the network itself, efficientnet-lite0, and to lite1 and lite2, which no preset was tuned on.
--minutes ends the row after the class that is running then; the rates are of the classes so far.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from PIL import Image
from torchvision.models import resnet18, resnet50

from convscope import Model, load_model, visualize, visualize_each
from convscope.samples import sample_photos
from convscope.synthesis import PRESETS, Recipe
from interleaved import HEADER, interleaved, row
from synthesis_peers import has_horama, horama, lite2, lucent, pictures_of_horama, pictures_of_lucent

SHORT = 8  # steps
# As Lucent's default: one view of the whole picture, a little moved, turned and scaled.
ONE_VIEW = Recipe(contrast=None, n_views=1, crop=(0.85, 1.05), jitter=0.06, rotate=8.0, noise=0.0)
Making = Callable[[int, float], np.ndarray]  # from a class and seconds to a picture (H, W, 3) uint8


def network(kind: Callable[[], torch.nn.Module]) -> Model:
    """Random weights, with the means and variances of its batch norms measured on photos.

    Without them, the activations of ResNet50 grow from block to block, and the ascent fails and starts again.
    """
    torch.manual_seed(0)
    module = kind()
    model = Model(module.eval(), (224, 224), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = torch.cat([batch.x for batch in model.batches(model.inputs(list(sample_photos().values())))])
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.momentum = None  # the mean over all batches
        module.train()(x)
    module.eval()
    return model


def a_step(runs: dict[str, Callable[[int], object]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a step in each round."""
    both = {f"{name} {n}": partial(run, n) for name, run in runs.items() for n in (SHORT, SHORT + options.steps)}
    times = interleaved(both, options.rounds)
    return {
        name: [
            (long - short) / options.steps
            for short, long in zip(times[f"{name} {SHORT}"], times[f"{name} {SHORT + options.steps}"], strict=True)
        ]
        for name in runs
    }


def steps(options: argparse.Namespace) -> None:
    """A step against Lucent's: one view of a 128-px picture, seen by the network at 224 px."""
    for what, kind, objective, ours, target in (
        ("class, ResNet18", resnet18, "fc:7", {"target": 7}, 0.5),
        ("class, ResNet50", resnet50, "fc:7", {"target": 7}, 0.45),
        ("layer2 channel, ResNet18", resnet18, "layer2:7", {"target": 7, "layer": "layer2"}, 0.3),
        ("layer1 channel, ResNet18", resnet18, "layer1:7", {"target": 7, "layer": "layer1"}, 0.3),
    ):
        model = network(kind)
        peer = lucent(model.module, objective)

        def own(n: int, model: Model = model, ours: dict = ours) -> object:
            return visualize(model, size_px=128, preset=replace(ONE_VIEW, n_steps=n), **ours)

        print(row(what, a_step({"ours": own, "lucent": peer}, options), "ours", "lucent", target), flush=True)


def maco(options: argparse.Namespace) -> None:
    """A step of MACO against Horama's: 6 crops of 20 to 25 % of a 512-px picture, seen at 224 px."""
    if not has_horama():
        print("MACO: pip install --no-deps horama")
        return
    model = network(resnet18)
    recipe = replace(PRESETS["maco"], n_views=6, crop=(0.2, 0.25), crop_end=None)

    def own(n: int) -> object:
        return visualize(model, 7, size_px=512, preset=replace(recipe, n_steps=n))

    times = a_step({"ours": own, "horama": horama(model.module, 7, size=512, crops=6, box=(0.2, 0.25))}, options)
    print(row("MACO, class, ResNet18", times, "ours", "horama", 0.6), flush=True)


def batch(options: argparse.Namespace) -> None:
    """32 channels of a layer in one batch against 32 runs, whose pictures have the size of its field."""
    model, channels = network(resnet18), list(range(32))
    for layer, preset in (("conv1", "natural"), ("conv1", ONE_VIEW), ("layer1", "natural"), ("layer1", ONE_VIEW)):
        few = {"layer": layer, "preset": preset, "n_steps": SHORT}
        runs = {
            "batch": partial(visualize_each, model, channels, **few),
            "single": lambda few=few: [visualize(model, c, **few) for c in channels],
        }
        side = visualize(model, 0, **{**few, "n_steps": 1}).image.shape[0]
        views = PRESETS["natural"].n_views if preset == "natural" else 1
        what = f"32 of {layer}, {side} px, {views} views, {SHORT} steps"
        print(
            row(what, interleaved(runs, min(options.rounds, 2), warm_up=False), "batch", "single", 0.35),
            flush=True,
        )


def seconds(options: argparse.Namespace) -> None:
    """One class picture of the default network."""
    model = load_model()
    visualize(model, 130, n_steps=1)
    wall, processor = [], []
    for i in range(options.rounds):
        started, worked = time.perf_counter(), time.process_time()
        visualize(model, 130, seed=i)
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - worked)
    print(
        f"one class picture: {median(wall):.1f} s, at most 10 ({median(processor):.1f} s of processors)",
        flush=True,
    )


def save_picture(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def classes(options: argparse.Namespace) -> None:
    """Top-1 rates of pictures of classes drawn by seed, by three networks."""
    own = load_model()
    judges = {"lite0": own, "lite1": load_model("efficientnet-lite1"), "lite2": lite2(own)}
    makings: dict[str, Making] = {"convscope": lambda c, _: visualize(own, c).image}
    if not options.alone:
        makings["Lucent"] = pictures_of_lucent(own)
    if has_horama() and not options.alone:
        makings["Horama"] = pictures_of_horama(own)
    drawn = np.random.default_rng(options.seed).permutation(1000)[: options.classes].tolist()
    right = {name: {judge: list[bool]() for judge in judges} for name in makings}
    values = {name: list[tuple[float, float]]() for name in makings}
    spent = {name: list[float]() for name in makings}
    started = time.perf_counter()
    for done, index in enumerate(drawn):
        for name, make in makings.items():
            began = time.process_time()
            image = make(index, spent["convscope"][-1] if spent["convscope"] else 0.0)
            spent[name].append(time.process_time() - began)
            if options.pictures:
                save_picture(image, options.pictures / f"{done:02} {name}.png")
            values[name].append((float(image.mean()), float(image.std())))
            for judge, model in judges.items():
                right[name][judge].append(int(model.predict(image).scores[0].argmax()) == index)
        if time.perf_counter() - started > 60 * options.minutes:
            print(f"stopped after {done + 1} of {len(drawn)} classes", flush=True)
            break
    n = len(values["convscope"])
    print(f"{n} classes{'':13} {'lite0':>7} {'lite1':>7} {'lite2':>7} {'proc. s':>8} {'mean':>6} {'spread':>7}")
    for name, each in right.items():
        rates = " ".join(f"{100 * mean(found):6.0f}%" for found in each.values())
        level, spread = (mean(part) for part in zip(*values[name], strict=True))
        print(f"{name:20} {rates} {median(spent[name]):8.1f} {level:6.0f} {spread:7.0f}")
    photos = [photo for photo in sample_photos().values() if photo.ndim == 3]
    level, spread = mean(float(p.mean()) for p in photos), mean(float(p.std()) for p in photos)
    print(f"{'the sample photos':53} {level:6.0f} {spread:7.0f}")
    print("at least for ours          99%     90%     80%", flush=True)


ROWS = {"steps": steps, "maco": maco, "batch": batch, "seconds": seconds, "classes": classes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(ROWS), action="append", help="some rows alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=32, help="by which the long run of a step exceeds the short one"
    )
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="draws the classes")
    parser.add_argument("--minutes", type=float, default=45, help="after which no further class begins")
    parser.add_argument("--alone", action="store_true", help="pictures of classes without the peers'")
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures of the classes")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads")
    print(HEADER)
    for name in options.only or ROWS:
        ROWS[name](options)


if __name__ == "__main__":
    main()
