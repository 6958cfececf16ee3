"""Which operations of PyTorch a file may ask for: those that compute from tensors and touch nothing else."""

from __future__ import annotations

import functools
import re
from typing import Any

import torch

# ATen, what TorchScript itself consists of, and the libraries for detectors and quantized networks. Others read
# and write files (image), talk to other machines (c10d), steer devices (cuda), or come from someone's own library.
NAMESPACES = ("aten", "prim", "torchvision", "quantized", "quantized_decomposed")
# A text among the arguments may be the name of a file. These are not: by the names of the arguments.
_TEXTS = frozenset(
    (
        *("UPLO", "approximate", "assert_msg", "driver", "equation", "indexing", "interpolation", "mode", "norm"),
        *("ord", "p", "pad_mode", "padding", "padding_side", "reduce", "rounding_mode", "side"),
        # of texts themselves, and of errors and warnings
        *("a", "b", "s", "t", "self", "chars", "cls", "el", "fillchar", "idx", "ind", "item", "key", "message"),
        *("msg", "new", "old", "separator", "string", "substr", "type", "device_type"),
        *("l", "input", "values"),  # lists
    )
)
# Operations with a leading underscore are for PyTorch's own use, and check what they are given less. Networks have
# these all the same.
_INTERNAL = re.compile(
    r"_(?:_\w+__|_interpolate|_upsample|_isnot|convolution|convolution_mode|adaptive_avg_pool[123]d|to_copy|"
    r"unsafe_view|unsafe_index|native_batch_norm_legit(?:_no_training)?|batch_norm_impl_index|(?:log_)?softmax|"
    r"native_multi_head_attention|transformer_encoder_layer_fwd|scaled_dot_product_\w+|scaled_mm|weight_norm|"
    r"weight_norm_interface|upsample_\w+|assert_\w+|shape_as_tensor|reshape_alias|conj|neg_view|set_item|print|"
    r"list_to_tensor|unwrap_optional|get_tracing_state|pack_padded_sequence|pad_packed_sequence)"
)
_ACTING = frozenset(("rpc_async", "rpc_sync", "rpc_remote", "PythonOp", "CallMethod", "CallFunction"))  # of prim


def problem_with(name: str) -> str | None:
    """Why an operation, "namespace::name", is not known to be harmless; None if it is."""
    namespace, _, short = name.partition("::")
    if namespace not in NAMESPACES:
        return f"it asks for {name}, an operation of {namespace}, which may do anything"
    if namespace == "prim":
        return f"it asks for {name}, which runs code that cannot be seen" if short in _ACTING else None
    found = _schemas().get(name)
    if found is None:
        return f"it asks for {name}, which this version of PyTorch does not have"
    if namespace == "aten" and short.startswith("_") and not _INTERNAL.fullmatch(short):
        return f"it asks for {name}, which is internal to PyTorch and checks little of what it is given"
    for argument in (argument for schema in found for argument in schema.arguments):
        if _is_text(argument) and argument.name not in _TEXTS:
            return f"it asks for {name}, to which it gives a text ({argument.name}), maybe the name of a file"
    return None


@functools.cache
def refused_words() -> frozenset[str]:
    """The names of the operations of TorchScript's own namespaces that are refused."""
    names = [name for name in _schemas() if name.startswith(("aten::", "prim::"))]
    return frozenset(name.partition("::")[2] for name in names if problem_with(name))


def _is_text(argument: Any) -> bool:
    return re.fullmatch(r"(?:Optional\[)?(?:List\[)?str[\]]*", str(argument.type)) is not None


@functools.cache
def _schemas() -> dict[str, list[Any]]:
    """The signatures of all operations by name."""
    found: dict[str, list[Any]] = {}
    for schema in torch._C._jit_get_all_schemas():
        found.setdefault(schema.name, []).append(schema)
    return found
