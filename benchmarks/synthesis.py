"""A step of feature visualization against Lucent's: one view of a 128-px picture, seen by the network at 224 px.

    python benchmarks/synthesis.py

Lucent always runs the whole network; convscope runs it up to the layer it needs. Then 32 channels of a layer in
one batch against 32 runs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from copy import deepcopy
from dataclasses import replace

import torch
from lucent.optvis import render
from torchvision.models import resnet18, resnet50

from convscope import Model, visualize, visualize_each
from convscope.synthesis import PRESETS
from interleaved import HEADER, interleaved, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    recipe = replace(PRESETS["crisp"], n_steps=options.steps)
    print(f"{options.rounds} rounds of {options.steps} steps, {torch.get_num_threads()} threads; ms a step")
    print(HEADER)
    for what, network, objective, ours, target in (
        ("class, ResNet18", resnet18, "fc:7", {"target": 7}, 0.5),
        ("class, ResNet50", resnet50, "fc:7", {"target": 7}, 0.45),
        ("layer2 channel, ResNet18", resnet18, "layer2:7", {"target": 7, "layer": "layer2"}, 0.3),
        ("layer1 channel, ResNet18", resnet18, "layer1:7", {"target": 7, "layer": "layer1"}, 0.3),
    ):
        module = network().eval()
        model = Model(module, (224, 224), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        for_lucent = deepcopy(module)  # which leaves hooks behind, and a network with hooks runs unfused

        def lucent(objective: str = objective, network: torch.nn.Module = for_lucent) -> object:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return render.render_vis(
                    network, objective, thresholds=(options.steps,), show_image=False, progress=False
                )

        def convscope(ours: dict = ours, model: Model = model) -> object:
            return visualize(model, size_px=128, preset=recipe, **ours)

        times = interleaved({"ours": convscope, "lucent": lucent}, options.rounds)
        a_step = {name: [t / options.steps for t in values] for name, values in times.items()}
        print(row(what, a_step, "ours", "lucent", target), flush=True)
    channels, few = list(range(32)), {"layer": "layer2", "preset": replace(recipe, n_steps=8), "size_px": 128}
    runs = {
        "batch": lambda: visualize_each(model, channels, **few),
        "single": lambda: [visualize(model, c, **few) for c in channels],
    }
    print(row("32 channels in one batch / 32 runs", interleaved(runs, 1), "batch", "single", 0.35))


if __name__ == "__main__":
    main()
