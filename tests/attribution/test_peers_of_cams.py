"""Class activation maps of transformers, detectors and segmenters, against those of pytorch-grad-cam."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracles.cams import from_0_to_1, peer_cam
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import box_iou

import convscope as cs
from convscope import Detection, Region

METHODS = {
    "GradCAM": cs.grad_cam,
    "GradCAMPlusPlus": cs.grad_cam_plus_plus,
    "LayerCAM": cs.layer_cam,
    "EigenCAM": cs.eigen_cam,
    "ScoreCAM": cs.score_cam,
}


def strong(net: nn.Module) -> nn.Module:
    """As it is initialized, hardly anything in a transformer depends on anything."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for parameter in net.parameters():
            parameter.normal_(std=0.2)
        *_, last = (module for module in net.modules() if isinstance(module, nn.Linear))
        last.weight.mul_(1000)  # so that what the peer adds to its denominators is nothing to the gradients
    return net.double().eval()


def vit() -> tuple[nn.Module, str]:
    """16 patches of 4 px after a class token; of the last block, only the class token is read."""
    net = VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=3, num_heads=2, num_classes=3)
    return strong(net), "blocks.2.norm1"


def swin(width: int) -> tuple[nn.Module, str]:
    """64 patches in windows of 2 x 2, then 16 of twice the width."""
    net = SwinTransformer(
        img_size=16, patch_size=2, embed_dim=width, depths=(2, 2), num_heads=(2, 2), window_size=2, num_classes=3
    )
    strong(net).norm.bias.data += 1  # so that maps have positive parts
    return net, "norm"


NETWORKS = {
    "ViT": vit,
    "Swin": partial(swin, 12),
    "Swin as wide as it has patches": partial(swin, 8),  # 16 at the end
    "Swin as wide as it had patches": partial(swin, 32),  # 64
}


def tokens_as_maps(output: torch.Tensor) -> torch.Tensor:
    """`vit_reshape_transform` and `swinT_reshape_transform` of the peer, for 4 x 4 patches."""
    if output.ndim == 3:
        output = output[:, 1:].unflatten(1, (4, 4))
    return output.permute(0, 3, 1, 2)


@pytest.fixture
def as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three choices of the peer, taken back: it enlarges the masks of Score-CAM with aligned corners, and for
    Eigen-CAM it subtracts the mean of each channel, and leaves the sign to chance."""
    from pytorch_grad_cam import eigen_cam

    def first_component(maps: np.ndarray) -> np.ndarray:
        with_opposites = np.concatenate([maps, -maps], axis=2)  # the mean is 0, the directions are the same
        found = original(with_opposites)[:, : maps.shape[2]]
        return np.sign(found.sum(axis=(1, 2), keepdims=True)) * found

    original = eigen_cam.get_2d_projection
    monkeypatch.setattr(eigen_cam, "get_2d_projection", first_component)
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", partial(nn.Upsample, mode="bilinear"))


@pytest.mark.slow
@pytest.mark.usefixtures("as_we_do")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_maps_of_a_transformer(kind: str, name: str) -> None:
    net, layer = NETWORKS[kind]()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    found = METHODS[name](net, x, target=[0, 1, 2])
    assert found.provenance.parameters["layer"] == layer  # the one that the peer has to be told
    expected = peer_cam(name, net, net.get_submodule(layer), x, [0, 1, 2], tokens_as_maps)
    assert expected.max() > 0.5
    np.testing.assert_allclose(from_0_to_1(found.values), expected, rtol=0, atol=1e-4)


def detector() -> nn.Module:
    """Faster R-CNN of torchvision on images of 32 px; its last maps are ``backbone.3``."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU()
        )
        body.out_channels = 12
        net = FasterRCNN(
            body,
            num_classes=3,
            min_size=32,
            max_size=32,
            rpn_anchor_generator=AnchorGenerator(((12,),), ((1.0,),)),
            box_score_thresh=0.0,
            box_detections_per_img=10,
        )
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                n_inputs = parameter[0].numel()
                nn.init.normal_(parameter, std=(0.5 if "rpn" in name else 2) / n_inputs**0.5)
    return net.double().eval()


def overlap_times_score(box: torch.Tensor, label: int) -> Any:
    """`Detection` as a target of the peer."""

    def score(found: dict[str, torch.Tensor]) -> torch.Tensor:
        return (box_iou(box[None], found["boxes"])[0] * found["scores"])[found["labels"] == label].max()

    return score


@pytest.mark.slow
@pytest.mark.usefixtures("as_we_do")
@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"GradCAMPlusPlus"}))  # which adds 1e-6 to small squares
def test_maps_of_a_box(name: str) -> None:
    """By overlap times score, which is ours, and by overlap plus score, which is theirs."""
    from pytorch_grad_cam.utils.model_targets import FasterRCNNBoxScoreTarget

    net, x = detector(), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        found = net(x)[0]
    box = found["boxes"][0] + torch.tensor([0.5, -0.3, 0.2, 0.4])
    label = int(found["labels"][box_iou(box[None], found["boxes"])[0].argmax()])
    theirs = FasterRCNNBoxScoreTarget([label], box.numpy()[None])
    assert theirs(found) > 0.5  # it is 0 where the box that overlaps most does so by less, or is of another class

    def their_score(output: Any) -> torch.Tensor:
        return torch.cat([theirs(one) for one in output])

    cam, layer = METHODS[name], net.backbone[3]
    maps = []
    for of_us, of_peer in (
        (Detection(box.tolist(), label), overlap_times_score(box, label)),
        (their_score, theirs),
    ):
        made = cam(net, x, target=of_us, layer="backbone.3")
        np.testing.assert_allclose(made.scores, float(of_peer(found)), rtol=1e-6)
        expected = peer_cam(name, net, layer, x, [of_peer])
        assert expected.max() > 0.5
        np.testing.assert_allclose(from_0_to_1(made.values), expected, rtol=0, atol=1e-4)
        maps.append(expected)
    if name == "GradCAM":  # so that it matters which of the two is meant
        assert np.abs(maps[0] - maps[1]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("as_we_do")
@pytest.mark.parametrize("name", METHODS)
def test_maps_of_a_region(name: str) -> None:
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        conv, last = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 4, 1, bias=False)
    body = nn.Sequential(conv, nn.ReLU())
    net = nn.Sequential(body, last, nn.Upsample(scale_factor=2, mode="bilinear")).double().eval()
    mask = net(x)[0].argmax(dim=0).numpy() == 2
    assert 10 < mask.sum() < 246
    made = METHODS[name](net, x, target=Region(2), layer="0")
    expected = peer_cam(name, net, net[0], x, [SemanticSegmentationTarget(2, mask)])
    np.testing.assert_allclose(made.scores, net(x)[0, 2][mask].sum().item(), rtol=1e-6)
    assert expected.max() > 0.5
    np.testing.assert_allclose(from_0_to_1(made.values), expected, rtol=0, atol=1e-4)
