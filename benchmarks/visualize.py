"""A step of feature visualization against Lucent's, ResNet18, as a user asks for a 128-px picture in each.

    python benchmarks/visualize.py

Lucent upsamples the 128-px picture to 224 before the network sees it, and always runs the whole network;
convscope runs the network on the picture as it is, up to the layer it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from copy import deepcopy

import torch
from lucent.optvis import render
from torchvision.models import resnet18

from convscope import visualize
from interleaved import HEADER, interleaved, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    module = resnet18().eval()
    for_lucent = deepcopy(module)  # which leaves hooks behind, and a network with hooks runs unfused
    print(f"{options.rounds} rounds of {options.steps} steps, {torch.get_num_threads()} threads; ms a step")
    print(HEADER)
    cases = (
        ("class step, ResNet18, 128 px (Lucent)", "fc:7", {"target": 7}, 0.4),
        ("layer2 channel step, ResNet18, 128 px (Lucent)", "layer2:7", {"target": 7, "layer": "layer2"}, 0.25),
    )
    for what, objective, ours, target in cases:

        def lucent(objective: str = objective) -> object:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return render.render_vis(
                    for_lucent, objective, thresholds=(options.steps,), show_image=False, progress=False
                )

        def convscope(ours: dict = ours) -> object:
            return visualize(module, n_steps=options.steps, size_px=128, **ours)

        times = interleaved({"ours": convscope, "lucent": lucent}, options.rounds)
        a_step = {name: [t / options.steps for t in values] for name, values in times.items()}
        print(row(what, a_step, "ours", "lucent", target))


if __name__ == "__main__":
    main()
