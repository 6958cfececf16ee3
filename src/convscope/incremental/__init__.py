"""Exact re-inference of only what a change reached: outputs for variants of an image that differ in one rectangle.

`geometry` knows which part of a map depends on which, `graph` takes a network apart into operations, `rewriting`
makes them fewer, `operations` knows of each how it runs on a part, `plan` puts these together, `run` carries it out.
"""

from .geometry import Ints
from .graph import GraphError
from .plan import AT_ONCE, Changes, Layout, Plan, forget_plan, plan_of
from .run import Run

__all__ = ["AT_ONCE", "Changes", "GraphError", "Ints", "Layout", "Plan", "Run", "forget_plan", "plan_of"]
