"""Exact re-inference of only what a change reached: outputs for variants of an image that differ in one rectangle.

`geometry` tells which part of a map depends on which, `graph` takes a network apart into operations, `rewriting`
merges some of them, `operations` has a rule for running each on a part of its map (`pointwise_rules`,
`sliding_rules`), `plan` puts these together, and `run` carries the plan out.
"""

from .geometry import Ints
from .graph import GraphError
from .plan import AT_ONCE, Changes, Plan, forget_plan, plan_of
from .run import IncrementalRun

__all__ = ["AT_ONCE", "Changes", "GraphError", "IncrementalRun", "Ints", "Plan", "forget_plan", "plan_of"]
