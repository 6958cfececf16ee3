"""The table of all operations that can run on parts of maps: operation -> rule.

An operation without a rule, or in a form that its rule does not support, runs on whole maps, and so does
everything that depends on it.
"""

from __future__ import annotations

from torch import fx

from .part_rules import Known, Rule, UnknownOperationError, maps_of, sizes_of
from .pointwise_rules import RULES as POINTWISE
from .rewriting import batch_of
from .sliding_rules import RULES as SLIDING

RULES = POINTWISE | SLIDING


def rule_of(node: fx.Node, known: Known) -> Rule:
    """The rule for a node, or `UnknownOperationError`."""
    if node.target not in RULES:
        raise UnknownOperationError("no rule for this operation")
    sources = maps_of(node, known)
    if not sources:
        raise UnknownOperationError("it depends only on the size of the batch")
    for source in sources:
        if source not in known.spatial:
            raise UnknownOperationError(f"its input {source.name} is not a map")
    if batch_of(node) != known.batch or any(not isinstance(size, int) for size in sizes_of(node)[1:]):
        raise UnknownOperationError("it mixes the images of a batch with other dimensions")
    return RULES[node.target](node, known)
