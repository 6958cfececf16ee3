"""A network as a list of operations: exported, with constants computed once and batch norm folded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_unflatten  # which torch.export takes outputs apart with

from ..errors import ConvscopeError
from ..execution.silence import silence
from .rewriting import (
    compute_constants,
    fold_batch_norm,
    fuse_activations,
    mutates_a_view,
    plain_batch_norm,
    reuse_memory,
    simplify,
    without_mutation,
)


class GraphError(ConvscopeError):
    """The network cannot be split into operations; the message says why."""


@dataclass(frozen=True)
class Graph:
    """``nodes`` are in running order, the network's input first, its output last.

    ``constants`` holds what does not depend on the input, by node. ``results`` are the nodes and constants that
    the network returns; from their values ``packed`` puts its output together: a tensor, a dict, a list of tuples.
    """

    nodes: tuple[fx.Node, ...]
    constants: dict[fx.Node, Any]
    results: tuple[Any, ...]
    packed: Callable[[Sequence[Any]], Any]

    @property
    def input(self) -> fx.Node:
        return self.nodes[0]


def graph_of(module: nn.Module, image: torch.Tensor) -> Graph:
    """The operations that a module runs on a batch of images of this size (C, H, W).

    Raises:
        GraphError: torch.export cannot follow it, or its output depends on more than its one input.
    """
    program = _exported(module, image)
    layout = program.call_spec.out_spec
    if layout is None:
        raise GraphError("it returns nothing")
    graph = program.graph
    inputs, constants = _placeholders(program)
    if len(inputs) != 1:
        raise GraphError(f"it takes {len(inputs)} inputs")
    if odd := next((n for n in graph.nodes if n.op not in ("placeholder", "call_function", "output")), None):
        raise GraphError(f"it contains a submodule, {odd.name} ({odd.op})")
    without_mutation(graph)
    simplify(graph, inputs[0])
    graph.eliminate_dead_code()
    with torch.no_grad():
        compute_constants(graph, inputs[0], constants)
        fold_batch_norm(graph, constants)
        plain_batch_norm(graph, constants)
    fuse_activations(graph, constants)
    reuse_memory(graph)
    graph.eliminate_dead_code()
    live = [node for node in graph.nodes if node not in constants and (node.op != "placeholder" or node in inputs)]
    results = tuple(live[-1].args[0])
    if len(results) != layout.num_leaves:
        raise GraphError("it changes its input, or a buffer that it needs, in place")
    if not any(isinstance(result, fx.Node) and result not in constants for result in results):
        raise GraphError("its output does not depend on its input")
    return Graph(tuple(live), constants, results, lambda values: tree_unflatten(values, layout))


def _exported(module: nn.Module, image: torch.Tensor) -> ExportedProgram:
    """Export for batches of any size; decompose the program if it has in-place operations on views.

    What torch.export prints and logs about networks that it cannot follow is silenced; the error says it.
    """
    with silence(), torch.inference_mode(False), torch.no_grad():
        try:
            # A copy that shares the weights: during the export, other threads would find none in the module.
            same = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
            stand_in = copy.deepcopy(module, same)
            batch = image.detach()[None].repeat(2, 1, 1, 1)
            stand_in(batch.clone())  # values that its code caches for this batch size must be real tensors
            program = export(stand_in, (batch,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False)
            return program.run_decompositions({}) if mutates_a_view(program.graph) else program
        except Exception as error:
            if "data-dependent" in str(error):
                raise GraphError("its code branches on values (an `if` on the content of a tensor)") from error
            if "specialized it to be a constant" in str(error):
                raise GraphError("its code fixes the number of images in a batch (as with len(x))") from error
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise GraphError(lines[0]) from error


def _placeholders(program: ExportedProgram) -> tuple[list[fx.Node], dict[fx.Node, Any]]:
    """The network's inputs, and its parameters, buffers and constants by node."""
    inputs, constants = [], {}
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    for node, spec in zip(nodes, program.graph_signature.input_specs, strict=True):
        if spec.kind == InputKind.USER_INPUT:
            inputs.append(node)
        elif spec.target in program.state_dict:
            constants[node] = program.state_dict[spec.target].detach()
        else:
            constants[node] = program.constants[spec.target]
    return inputs, constants
