"""The preprocessing of image processors: on a photo, number by number that of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers as tf
from PIL import Image

from convscope import ModelError
from convscope.models.image_processors import preprocessing_of, processor_from

SQUARE = {"height": 224, "width": 224}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# As preprocessor_config.json of published networks has them; old ones too.
STATED: dict[str, dict[str, Any]] = {
    "google/vit-base-patch16-224": {
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "size": 224,
    },
    "facebook/dinov2-base": {
        "crop_size": SQUARE,
        "do_center_crop": True,
        "do_convert_rgb": True,
        **IMAGENET,
        "image_processor_type": "BitImageProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 257},  # 256 in fact; the margins are odd here
    },
    "openai/clip-vit-base-patch32": {
        "crop_size": 224,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": 224,
    },
    "facebook/convnext-tiny-224": {
        "crop_pct": 0.875,
        "feature_extractor_type": "ConvNextFeatureExtractor",
        **IMAGENET,
        "resample": 3,
        "size": 224,
    },
    "facebook/convnext-base-384": {
        "crop_pct": 0.95,
        "image_processor_type": "ConvNextImageProcessorFast",
        "size": {"shortest_edge": 384},
    },
    "facebook/deit-base-distilled-patch16-224": {
        "crop_size": 224,
        "feature_extractor_type": "DeiTFeatureExtractor",
        **IMAGENET,
        "resample": 3,
        "size": 256,
    },
    "from -1 to 1": {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": False,
        "rescale_factor": 1 / 127.5,
        "size": {"height": 96, "width": 128},
    },
    "of 255 levels": {"image_processor_type": "ViTImageProcessor", "do_rescale": False, "do_normalize": False},
}


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("turned", [False, True])
def test_a_photo_becomes_what_transformers_makes_of_it(name: str, turned: bool, cat: np.ndarray) -> None:
    stated = STATED[name]
    processor = processor_from(stated, "vit", name)
    pixels = np.ascontiguousarray(cat.transpose(1, 0, 2)) if turned else cat
    expected = processor(images=Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    found = preprocessing_of(processor, name)
    ours = found.apply(pixels).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    # The processor that transformers takes by default resizes by torchvision, which rounds elsewhere.
    default = getattr(tf, type(processor).__name__.removesuffix("Pil")).from_dict(stated)
    other = default(images=Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    levels = np.abs(other - ours) * np.array(found.std)[:, None, None] * 255
    assert levels.max() < 2.01
    assert (levels > 0.5).mean() < 0.2


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            {"image_processor_type": "OwnImageProcessor"},
            "no image processor 'OwnImageProcessor', and code",
        ),
        ({"image_processor_type": "ViTModel"}, "no image processor 'ViTModel'"),
        ({"do_resize": False}, "gives images of no fixed size"),
        ({"image_processor_type": "DetrImageProcessor"}, "gives images of no fixed size"),
        ({"image_processor_type": "BitImageProcessor", "do_center_crop": False}, "without a crop"),
        ({"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True}, "does more than resize"),
        ({**STATED["facebook/dinov2-base"], "size": {"shortest_edge": 199}}, "does more than resize"),  # it pads
        ({"size": "large"}, "not what ViTImageProcessor takes"),
    ],
)
def test_what_does_more_is_refused(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        preprocessing_of(processor_from(stated, "vit", "folder"), "folder")
