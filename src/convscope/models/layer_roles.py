"""The roles of layers: which hold maps for class activation, and which holds the feature vector."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..execution.capture import OUTPUT, main_output
from .layers import CONVOLUTIONS, Held, Layer, of_last_kind
from .recording import Graph, RecordedLayer, Recorder


def candidates_of(every: Sequence[RecordedLayer], graph: Graph | None) -> list[Layer]:
    """Maps and tokens of the image, except those computed by the classifier or after it."""
    after = graph.classified if graph else frozenset()
    return [
        seen.layer for seen in every if seen.is_map and not (graph and graph.nodes.get(seen.layer.name) in after)
    ]


def maps_of(candidates: Sequence[Layer], graph: Graph | None) -> tuple[Layer, ...]:
    """The candidates on which the output depends."""
    return of_last_kind(
        [layer for layer in candidates if not graph or graph.nodes.get(layer.name) in graph.reached]
    )


def detached(every: Sequence[RecordedLayer], graph: Graph | None) -> str:
    """The first layer whose output depends on the image but has no gradient with respect to it."""
    nodes = graph.nodes if graph else {}
    layers = (seen.layer.name for seen in every if seen.is_of_image and nodes.get(seen.layer.name, 0) is None)
    return next(layers, "")


def features_of(recorder: Recorder, graph: Graph | None) -> tuple[Layer | None, str]:
    """The layer that holds the classifier's input, or the output without a classifier; else the reason why not."""
    main, every = main_output(recorder.output), recorder.seen
    if main is None:
        return None, f"its output is a {type(recorder.output).__name__}"
    if graph is None:
        last = every[-1] if every else None
        if last is not None and _is_dense(last.module) and last.layer.held == "vector":
            return last.takes_in, ""
        return None, "its layers are not visible, or no gradient passes through it"
    if graph.head.is_linear:
        ends = [seen for seen in every if seen.takes_in and graph.nodes.get(seen.layer.name) in graph.head.nodes]
        dense = [seen for seen in ends if _is_dense(seen.module)]
        if ends:  # the innermost of nested containers finishes first
            return dense[-1].takes_in if dense else ends[0].takes_in, ""
        return None, "it ends in a linear function that belongs to no module"
    if graph.head.unknown:
        return None, f"it ends in {', '.join(graph.head.unknown)}, which does not show whether it is a classifier"
    if (output := output_of(recorder)) is not None:
        return output, ""
    return None, f"its output for one image has shape {tuple(main.shape)} and is not a vector"


def output_of(recorder: Recorder) -> Layer | None:
    """The output of the whole network as a layer, if it is a vector or a map."""
    main = main_output(recorder.output)
    if main is None or main.ndim not in (2, recorder.n_sides + 2) or len(main) != 1:
        return None
    held: Held = "vector" if main.ndim == 2 else "maps"
    return Layer(OUTPUT, "output", tuple(main.shape[1:]), None, held)


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, *CONVOLUTIONS)) or "Linear" in type(module).__name__
