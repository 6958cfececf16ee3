"""Incremental inference: exact outputs for variants of an image that differ from it in one rectangle each.

`geometry` computes which part of a map depends on which part of another, `graph` splits a network into operations,
`rewriting` simplifies and merges them, `operations` has a rule for running each on a part of its map
(`pointwise_rules`, `sliding_rules`), `plan` combines these, and `run` executes the plan.
"""

from .geometry import IntArray
from .graph import GraphError
from .plan import AT_ONCE, Changes, Plan, forget_plan, plan_of
from .run import IncrementalRun

__all__ = ["AT_ONCE", "Changes", "GraphError", "IncrementalRun", "IntArray", "Plan", "forget_plan", "plan_of"]
