"""Execution: run a network and leave it as it was, watch or change its layers' outputs, make it faster."""

from .autograd import reached
from .batching import free_memory, in_batches
from .capture import (
    OUTPUT,
    intercepted,
    kept_leaf,
    kept_outputs,
    main_output,
    module_at,
    place_of,
    read_at,
    run_to,
)
from .conv_chains import convolutions_of
from .digest import weights_digest
from .folding import folded_batch_norm, scale_and_shift
from .fusing import fused
from .gradients import check_differentiable, differentiable
from .hooking import hooks
from .one_pass import OnePass
from .running import check_weights, copied, evaluating

__all__ = [
    "OUTPUT",
    "OnePass",
    "check_differentiable",
    "check_weights",
    "convolutions_of",
    "copied",
    "differentiable",
    "evaluating",
    "folded_batch_norm",
    "free_memory",
    "fused",
    "hooks",
    "in_batches",
    "intercepted",
    "kept_leaf",
    "kept_outputs",
    "main_output",
    "module_at",
    "place_of",
    "reached",
    "read_at",
    "run_to",
    "scale_and_shift",
    "weights_digest",
]
