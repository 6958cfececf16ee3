"""Models: a network, its preprocessing, its labels, its layers, and how it is run."""

from .batching import free_memory, in_batches
from .capture import OUTPUT, intercepted, main_output, place_of, run_to, watch
from .catalog import DEFAULT_MODEL, best_device, load_model
from .classes import find_class
from .digest import weights_digest
from .execution import check_differentiable, check_weights, copied, differentiable, evaluating, hooks
from .folding import folded_batch_norm, scale_and_shift
from .fusing import fused
from .graphs import reached
from .inputs import Batch, Inputs, check_tensor, opened
from .layers import NO_LAYERS, Layer, Structure, as_maps, of_last_kind
from .likeness import network_and_target
from .model import Model, Progress, as_model
from .preprocessing import Preprocessing, gaussian_blur
from .target_kinds import Contrast, Detection, Region, Several, SimilarTo
from .targets import (
    Score,
    Target,
    Targets,
    check_output,
    describe,
    is_of_classes,
    n_classes_of,
    note_on_scores,
    resolve,
    unit_of,
)
from .tokens import lie_in_place
from .watching import convolutions_of

__all__ = [
    "DEFAULT_MODEL",
    "NO_LAYERS",
    "OUTPUT",
    "Batch",
    "Contrast",
    "Detection",
    "Inputs",
    "Layer",
    "Model",
    "Preprocessing",
    "Progress",
    "Region",
    "Score",
    "Several",
    "SimilarTo",
    "Structure",
    "Target",
    "Targets",
    "as_maps",
    "as_model",
    "best_device",
    "check_differentiable",
    "check_output",
    "check_tensor",
    "check_weights",
    "convolutions_of",
    "copied",
    "describe",
    "differentiable",
    "evaluating",
    "find_class",
    "folded_batch_norm",
    "free_memory",
    "fused",
    "gaussian_blur",
    "hooks",
    "in_batches",
    "intercepted",
    "is_of_classes",
    "lie_in_place",
    "load_model",
    "main_output",
    "n_classes_of",
    "network_and_target",
    "note_on_scores",
    "of_last_kind",
    "opened",
    "place_of",
    "reached",
    "resolve",
    "run_to",
    "scale_and_shift",
    "unit_of",
    "watch",
    "weights_digest",
]
