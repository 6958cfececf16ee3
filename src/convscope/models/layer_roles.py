"""Which of the layers that were seen in a run are those that methods look for: maps, and the feature vector."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..execution.capture import OUTPUT, main_output
from .layers import Held, Layer, of_last_kind
from .recording import Graph, Recorder, Seen


def candidates_of(every: Sequence[Seen], graph: Graph | None) -> list[Layer]:
    """Maps and tokens of the image, but for what a classifier puts out."""
    after = graph.classified if graph else frozenset()
    return [
        seen.layer for seen in every if seen.is_map and not (graph and graph.nodes.get(seen.layer.name) in after)
    ]


def maps_of(candidates: Sequence[Layer], graph: Graph | None) -> tuple[Layer, ...]:
    """Those on which the output depends."""
    return of_last_kind(
        [layer for layer in candidates if not graph or graph.nodes.get(layer.name) in graph.reached]
    )


def detached(every: Sequence[Seen], graph: Graph | None) -> str:
    """The first layer whose output is made of the image, and has no gradient with respect to it."""
    nodes = graph.nodes if graph else {}
    layers = (seen.layer.name for seen in every if seen.is_of_image and nodes.get(seen.layer.name, 0) is None)
    return next(layers, "")


def features_of(recorder: Recorder, graph: Graph | None) -> tuple[Layer | None, str]:
    """What the classifier takes in, or the output of a network without one; and why there is neither."""
    main, every = main_output(recorder.output), recorder.seen
    if main is None:
        return None, f"it puts out a {type(recorder.output).__name__}"
    if graph is None:
        last = every[-1] if every else None
        if last is not None and _is_dense(last.module) and last.layer.held == "vector":
            return last.takes_in, ""
        return None, "its layers cannot be seen, or no gradient goes through it"
    if graph.head.is_linear:
        ends = [seen for seen in every if seen.takes_in and graph.nodes.get(seen.layer.name) in graph.head.nodes]
        dense = [seen for seen in ends if _is_dense(seen.module)]
        if ends:  # of containers the innermost, which is the first to finish
            return dense[-1].takes_in if dense else ends[0].takes_in, ""
        return None, "it ends in a linear function that belongs to no module"
    if graph.head.unknown:
        return None, f"it ends in {', '.join(graph.head.unknown)}, which a classifier may or may not do"
    if (output := output_of(recorder)) is not None:
        return output, ""
    return None, f"it puts out {tuple(main.shape)} for one image, and no vector"


def output_of(recorder: Recorder) -> Layer | None:
    """What the whole network puts out, as a layer, where that is a vector or a map."""
    main = main_output(recorder.output)
    if main is None or main.ndim not in (2, 4) or len(main) != 1:
        return None
    held: Held = "vector" if main.ndim == 2 else "maps"
    return Layer(OUTPUT, "output", tuple(main.shape[1:]), None, held)


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d) or "Linear" in type(module).__name__
