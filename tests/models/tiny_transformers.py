"""Tiny networks of transformers with random weights, saved as their users save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from torch import nn

_VIT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
_DINO = {"num_register_tokens": 4}
_SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 4, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2]}
_TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_TEXT |= {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_WORDS = {"num_labels": 3, "id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}}

CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: tf.ViTForImageClassification(tf.ViTConfig(**_VIT, **_WORDS)),
    "deit": lambda: tf.DeiTForImageClassificationWithTeacher(tf.DeiTConfig(**_VIT, **_WORDS)),
    "dinov2": lambda: tf.Dinov2ForImageClassification(tf.Dinov2Config(**_VIT, **_WORDS)),
    "dinov2 registers": lambda: tf.Dinov2WithRegistersForImageClassification(
        tf.Dinov2WithRegistersConfig(**_VIT, **_WORDS, **_DINO)
    ),
    "swin": lambda: tf.SwinForImageClassification(tf.SwinConfig(**_SWIN, **_WORDS, window_size=4)),
    "convnext": lambda: tf.ConvNextForImageClassification(
        tf.ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, **_WORDS)
    ),
    "resnet": lambda: tf.ResNetForImageClassification(
        tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", **_WORDS)
    ),
}
BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: tf.ViTModel(tf.ViTConfig(**_VIT)),
    "dino": lambda: tf.ViTModel(tf.ViTConfig(**_VIT), add_pooling_layer=False),
    "dinov2": lambda: tf.Dinov2Model(tf.Dinov2Config(**_VIT)),
    "dinov3": lambda: tf.DINOv3ViTModel(tf.DINOv3ViTConfig(**_VIT, **_DINO)),
    "clip vision": lambda: tf.CLIPVisionModelWithProjection(tf.CLIPVisionConfig(**_VIT, projection_dim=10)),
    "swin": lambda: tf.SwinModel(tf.SwinConfig(**_SWIN, window_size=4)),
    "resnet": lambda: tf.ResNetModel(
        tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    ),
}


def clip() -> nn.Module:
    """With a tower for images and one for texts."""
    return tf.CLIPModel(tf.CLIPConfig(text_config=_TEXT, vision_config=_VIT, projection_dim=10))


def strong(net: nn.Module, std: float = 0.2) -> nn.Module:
    """As it is initialized, hardly anything in a transformer depends on anything."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return net.eval()


def saved(net: nn.Module, folder: Path, **settings: Any) -> Path:
    """The folder, with the network and an image processor in it."""
    tf.utils.logging.disable_progress_bar()
    net.save_pretrained(folder, **settings)
    tf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
