"""Grad-CAM: by hand, against Captum and pytorch-grad-cam, at which layer, on transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from captum.attr import LayerAttribution, LayerGradCam
from tests.conftest import tiny_network, tiny_transformer
from tests.oracles.cams import from_0_to_1, peer_cam, sharp_network
from torch import nn

from convscope import LayerError, Model, ParameterError, Several, grad_cam


def test_it_is_the_formula() -> None:
    net, x = tiny_network().eval(), torch.randn(2, 3, 16, 16)
    maps = net[:5](x).detach().requires_grad_()
    net[5:](maps)[:, 1].sum().backward()
    assert maps.grad is not None
    expected = (maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).detach()
    large = nn.functional.interpolate(expected[:, None], (16, 16), mode="bilinear")[:, 0].numpy()
    signed = grad_cam(net, x, target=1, kind="signed")
    np.testing.assert_allclose(signed.values, large, rtol=0, atol=1e-6)
    positive = nn.functional.interpolate(expected.clamp_min(0)[:, None], (16, 16), mode="bilinear")[:, 0]
    found = grad_cam(net, x, target=1)
    np.testing.assert_allclose(found.values, positive.numpy(), rtol=0, atol=1e-6)
    assert signed.signed
    assert not found.signed


def test_it_is_that_of_captum(lite0: Model, coffee: np.ndarray) -> None:
    x = torch.cat([b.x for b in lite0.batches(lite0.inputs([coffee, coffee[:, ::-1].copy()]))]).contiguous()
    found = grad_cam(lite0, x, target=[967, 968])
    module = lite0.module.eval()
    peer = LayerGradCam(module, module.get_submodule(found.provenance.parameters["layer"]))
    maps = peer.attribute(x, target=torch.tensor([967, 968]), relu_attributions=True)
    expected = LayerAttribution.interpolate(maps, (224, 224), interpolate_mode="bilinear")[:, 0].detach()
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=0, atol=1e-5 * float(expected.max()))


def test_it_is_that_of_pytorch_grad_cam() -> None:
    net, x = sharp_network(), torch.randn(3, 3, 16, 16)
    found = grad_cam(net, x, target=[0, 1, 2], layer="3").values
    expected = peer_cam("GradCAM", net, net[3], x, [0, 1, 2])
    np.testing.assert_allclose(from_0_to_1(found), expected, rtol=0, atol=1e-4)


def test_of_a_network_that_ends_in_average_pooling_the_map_adds_up_to_the_score() -> None:
    """There w_k * A_k is exactly what the classifier adds up: the mean of the map is the score without bias."""
    net, x = tiny_network().eval(), torch.randn(1, 3, 16, 16)
    found = grad_cam(net, x, target=2, kind="signed")
    # Bilinear enlargement by 2 keeps the sum but for the border: the mean of the values is that of the map.
    assert found.values.mean() * 64 == pytest.approx(found.scores[0] - float(net[-1].bias[2].detach()), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("mobilenetv3_small_100", "blocks"),
        ("convnext_atto", "stages"),
        ("densenet121", "features"),
    ],
)
def test_the_last_map_is_found(name: str, layer: str) -> None:
    net = timm.create_model(name, num_classes=4)
    found = grad_cam(net, torch.randn(1, 3, 64, 64), target=1, kind="signed")
    assert found.provenance.parameters["layer"].startswith(layer)
    assert found.values.any()


@pytest.mark.parametrize(
    ("name", "options", "layer"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "token"}, "blocks.11.norm1"),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}, "blocks"),
        ("deit_tiny_distilled_patch16_224", {}, "blocks.11.norm1"),
        ("swin_tiny_patch4_window7_224", {}, "norm"),
    ],
)
@pytest.mark.slow
def test_the_last_tokens_that_are_read_are_found(name: str, options: dict[str, Any], layer: str) -> None:
    net = timm.create_model(name, **options)
    found = grad_cam(net, torch.randn(1, 3, 224, 224), target=1, kind="signed")
    assert found.provenance.parameters["layer"] == layer
    assert found.values.std() > 0


def test_a_transformer_is_the_formula_over_its_patches() -> None:
    net, x = tiny_transformer(), torch.randn(2, 3, 16, 16)
    found = grad_cam(net, x, target=1, kind="signed")
    assert found.provenance.parameters["layer"] == "blocks.1.norm1"
    kept: list[torch.Tensor] = []

    def keep(_: Any, given: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    with_hook = net.blocks[1].norm1.register_forward_hook(keep)
    net(x)[:, 1].sum().backward()
    with_hook.remove()
    tokens, gradients = kept[0].detach()[:, 1:], kept[0].grad[:, 1:]  # without the class token
    expected = (gradients.mean(dim=1, keepdim=True) * tokens).sum(dim=2).reshape(2, 1, 4, 4)
    large = nn.functional.interpolate(expected, (16, 16), mode="bilinear")[:, 0]
    np.testing.assert_allclose(found.values, large.numpy(), rtol=0, atol=1e-5)


def test_several_targets_are_those_one_by_one() -> None:
    net, x = tiny_network(), torch.randn(2, 3, 16, 16)
    together = grad_cam(net, x, target=Several(0, 2)).values
    alone = [grad_cam(net, x, target=t).values for t in (0, 2)]
    np.testing.assert_allclose(together, np.stack(alone, axis=1).reshape(4, 16, 16), rtol=0, atol=1e-6)


def test_a_layer_may_be_named_also_of_a_module_that_runs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu, self.head = (
                nn.Conv2d(3, 3, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Linear(768, 2),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.relu(self.first(self.relu(self.first(x)))).flatten(1))

    net, x = Twice(), torch.randn(1, 3, 16, 16)
    second = grad_cam(net, x, target=1)
    assert second.provenance.parameters["layer"] == "relu:1"
    assert not np.allclose(grad_cam(net, x, target=1, layer="relu").values, second.values)


def test_what_cannot_be_is_refused() -> None:
    net, x = tiny_network(), torch.randn(1, 3, 16, 16)
    with pytest.raises(LayerError, match=r"layer='7' puts out \(3,\)"):
        grad_cam(net, x, target=0, layer="7")
    with pytest.raises(LayerError, match="layer='7:input' is the input of a module; name the module"):
        grad_cam(net, x, target=0, layer="7:input")
    with pytest.raises(ParameterError, match=r"layer=\['4'\]: expected a string"):
        grad_cam(net, x, target=0, layer=["4"])  # type: ignore[arg-type]
    with pytest.raises(LayerError, match="no layer 'conv9'"):
        grad_cam(net, x, target=0, layer="conv9")
    with pytest.raises(ParameterError, match="kind='loud': expected 'positive' or 'signed'"):
        grad_cam(net, x, target=0, kind="loud")  # type: ignore[arg-type]
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(LayerError, match="no feature map of more than one value"):
        grad_cam(flat, x, target=0)
