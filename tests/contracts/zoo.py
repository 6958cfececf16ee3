"""Every method over a small network of every kind, and the page on which methods fit which networks.

A new kind is a `Kind` in `tests.contracts.kinds`. After that, or where a method changes, write the page again:

    PYTHONPATH=src python -m tests.contracts.zoo
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from tests.contracts.kinds import EVERY, KINDS, Kind, inputs, wrapped
from tests.contracts.test_attributions import OPTIONS

from convscope import ATTRIBUTIONS, Attribution, ConvscopeError

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
_SHOWN = 12  # names of methods in the heading of a column
_ACROSS = 3  # columns of methods; more become rows


def run(name: str, kind: Kind, model: Any, /, **options: Any) -> Attribution:
    """A method by its name on two inputs of this kind, with options that make it quick."""
    half = tuple(side // 2 for side in kind.shape[1:])
    of_size = {
        "occlusion": {"window": half, "stride": half},
        "occlusion_multiscale": {"windows": [min(half) // 2, min(half)]},
    }
    chosen = {**OPTIONS.get(name, {}), **of_size.get(name, {}), **options}
    return ATTRIBUTIONS[name](model, kind.given(inputs(kind)), target=kind.target, **chosen)


def outcomes(kind: Kind) -> dict[str, str]:
    """Of each method "", or the reason why it does not fit. Any other error than convscope's own is raised."""
    model = wrapped(kind)
    found: dict[str, str] = {}
    for name in ATTRIBUTIONS:
        try:
            result = run(name, kind, model)
        except ConvscopeError as error:
            found[name] = str(error)
            continue
        found[name] = ""
        assert result.values.shape == (2, *kind.shape[1:]), (kind.name, name)
        assert np.isfinite(result.values).all(), (kind.name, name)
    return found


def _plainly(reason: str, method: str) -> str:
    """A reason without the names of method and network, its numbers, and what differs between machines."""
    reason = re.sub(r" \(TorchScript\?[^)]*\)", "", re.sub(rf"^{method} (has|needs)", r"the method \1", reason))
    reason = re.sub(r"^the network: |(?<=cannot be turned into torch modules): [^)]*", "", reason)
    return re.sub(r"( for|, and was given) inputs of (shape )?\([\d, ]+\)", "", reason)


def page(found: dict[str, dict[str, str]]) -> str:
    """The page in Markdown from the outcomes by kind: a table for each family of kinds."""
    reasons: dict[str, int] = {}
    tables = [_table(family, {kind.name: found[kind.name] for kind in kinds}, reasons)
              for family, kinds in KINDS.items()]  # fmt: skip
    listed = "\n".join(f"{n}. {reason.replace('|', ' ')}" for reason, n in reasons.items())
    return _PAGE.format(tables="\n\n".join(tables), reasons=listed)


def _table(family: str, found: dict[str, dict[str, str]], reasons: dict[str, int]) -> str:
    """The kinds of a family; methods that fit the same of them, for the same reasons, share a column or a row."""

    def cell(reason: str, method: str) -> str:
        if not reason:
            return "yes"
        return f"no ({reasons.setdefault(_plainly(reason, method), len(reasons) + 1)})"

    columns = {name: tuple(cell(of[name], name) for of in found.values()) for name in ATTRIBUTIONS}
    groups = {column: [name for name in columns if columns[name] == column] for column in columns.values()}
    order = sorted(groups, key=lambda column: -len(groups[column]))
    grid = [["network", *(_names(groups[column], n) for n, column in enumerate(order))]]
    grid += [[kind, *(column[row] for column in order)] for row, kind in enumerate(found)]
    if len(order) > _ACROSS:  # their names are long
        grid[0][0] = "methods"
        grid = [list(row) for row in zip(*grid, strict=True)]
    head, *rows = (f"| {' | '.join(row)} |" for row in grid)
    return "\n".join([f"## {family}", "", head, "|---" * len(grid[0]) + "|", *rows])


def _names(names: list[str], column: int) -> str:
    """The names of methods; the first column, the longest, has those that no other has."""
    if column == 0 and len(names) > _SHOWN:
        return "all other methods"
    return ", ".join(f"`{name}`" for name in names)


_PAGE = """# Which methods fit which networks

The tests run every method over a small network of each kind, and make these tables from what came of it. A
method either gives a finite map of the right shape, or an error that says why it does not fit; the numbers stand
for the reasons [at the end](#why-not). For each kind, the tests also compare `saliency` with the gradient that
autograd gives of a score written by hand, `occlusion` with a loop over the windows, and `grad_cam` with its
formula.

Where a map is less than its method promises, a note in the result says so: guided backprop of a network without
ReLU is the plain gradient. For your own network, `model.summary()` and
[`convscope inspect`](command-line.md#inspect-it) say all this. [Inputs and outputs](inputs-and-outputs.md),
[targets](targets.md), [detectors](detectors.md), [signals and volumes](signals-and-volumes.md),
[transformers](transformers.md) and [other frameworks](other-frameworks.md) show how to use networks of these
kinds.

{tables}

## Why not

In the words of the errors:

{reasons}
"""

if __name__ == "__main__":
    PAGE.write_text(page({kind.name: outcomes(kind) for kind in EVERY}), encoding="utf-8")
