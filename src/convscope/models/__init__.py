"""Models: a network with its preprocessing, its labels and its layers, and where it comes from.

The files by subject; each line starts with the one to read first.

    Model           model, preprocessing, stated, inputs, predicting, origin, bare_modules
      its inputs    several_inputs, channels_last
      its output    adapted, detecting, similarity
      its layers    structure, layer_roles, recording, tokens, receptive_field, layers
      its behavior  behavior, hidden_operations
    load_model      catalog
      by name       architectures
      by code       importing
      transformers  huggingface, closed_folder, configured_sizes, image_processors
      ONNX          onnx_files, onnx_reading, onnx_statements, onnx_modules, onnx_sessions
      torch.export  exported, exported_checks, program_texts
      TorchScript   scripted, script_checks
      both of them  program_archives, known_operations
      weights       checkpoints, file_kinds, wrappings
"""

from .architectures import DEFAULT_MODEL
from .bare_modules import as_model
from .catalog import load_model
from .detecting import detections
from .inputs import Batch, Inputs, check_tensor, names_of, opened
from .layers import CONVOLUTIONS, NO_LAYERS, PASSING, Layer, Structure, as_maps, from_maps, of_last_kind
from .model import Model
from .preprocessing import Preprocessing, blurred, gaussian_blur
from .several_inputs import Packing, are_tensors
from .similarity import network_and_target, toward
from .tokens import lie_in_place

__all__ = [
    "CONVOLUTIONS",
    "DEFAULT_MODEL",
    "NO_LAYERS",
    "PASSING",
    "Batch",
    "Inputs",
    "Layer",
    "Model",
    "Packing",
    "Preprocessing",
    "Structure",
    "are_tensors",
    "as_maps",
    "as_model",
    "blurred",
    "check_tensor",
    "detections",
    "from_maps",
    "gaussian_blur",
    "lie_in_place",
    "load_model",
    "names_of",
    "network_and_target",
    "of_last_kind",
    "opened",
    "toward",
]
