"""The kinds of networks that people have, each with one of it and with its scores written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from tests.conftest import tiny_network, tiny_transformer
from tests.contracts import zoo_networks as zoo
from tests.targets import test_detector_forms as heads
from torch import nn

from convscope import Detection, Model, Region, SimilarTo, Towards

# From the output for whole images to the function from an output to scores (N,) that the target means.
ByHand: TypeAlias = Callable[[Any], Callable[[Any], torch.Tensor]]


def predicted(whole: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The score of the predicted class."""
    classes = whole.argmax(dim=1, keepdim=True)
    return lambda output: output.gather(1, classes)[:, 0]


def by(score: Callable[[Any], torch.Tensor]) -> ByHand:
    """A score that does not depend on what the network says of the whole images."""
    return lambda whole: score


def of(part: Callable[[Any], torch.Tensor], score: ByHand = predicted) -> ByHand:
    """A score of a part of the output."""
    return lambda whole: lambda output: score(part(whole))(part(output))


class Kind(NamedTuple):
    """A kind of network: its name on the page, one of it, the shape of one input, and what to explain.

    ``score``: the same by hand, from what ``run`` gives for the network and inputs (N, *shape). ``model``: how a
    user wraps the network. ``given``: what a call is given for inputs (N, *shape). ``rounding``: of scores, where
    it is not that of the network's type, as a share of them.
    """

    name: str
    network: Callable[[], Any]
    shape: tuple[int, ...] = (3, 16, 16)
    target: Any = None
    score: ByHand = predicted
    model: Callable[[Any], Model] = Model
    run: Callable[[Any, torch.Tensor], Any] = lambda net, x: net(x)
    given: Callable[[torch.Tensor], Any] = lambda x: x
    rounding: float | None = None


def ending_in(last: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(tiny_network(), last)


def strongest_boxes(output: Any) -> torch.Tensor:
    """The boxes of class 1 that `zoo_networks.boxes` puts out, one on the target and one 2 px beside it."""
    return torch.stack([torch.maximum(one["scores"][0], one["scores"][2] * 48 / 80) for one in output])


def where_seen(whole: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    seen = whole.argmax(dim=1) == 1
    return lambda output: (output[:, 1] * seen).sum((1, 2))


def where_clicked(whole: torch.Tensor, row: int = 1, column: int = 2) -> Callable[[torch.Tensor], torch.Tensor]:
    """The region of one class around a pixel, filled from it."""
    classes = whole.argmax(dim=1)
    of_click = classes[:, row, column]
    inside = torch.zeros_like(classes, dtype=torch.bool)
    for one, seen, index in zip(inside, classes, of_click, strict=True):
        edge = {(row, column)}
        while edge:
            one[tuple(zip(*edge, strict=True))] = True
            near = {(r + dr, c + dc) for r, c in edge for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            within = {(r, c) for r, c in near if 0 <= r < seen.shape[0] and 0 <= c < seen.shape[1]}
            edge = {place for place in within if seen[place] == index and not one[place]}
    return lambda output: torch.stack(
        [(maps[index] * one).sum() for maps, one, index in zip(output, inside, of_click, strict=True)]
    )


def instances_seen(whole: Any) -> Callable[[Any], torch.Tensor]:
    """Where a mask of class 1 is above 0.5, the larger of its two instances' scores times masks."""
    seen = [torch.maximum(one["masks"][0, 0], one["masks"][2, 0]) > 0.5 for one in whole]
    strongest = lambda one: torch.maximum(  # noqa: E731
        one["scores"][0] * one["masks"][0, 0], one["scores"][2] * one["masks"][2, 0]
    )
    return lambda output: torch.stack([(strongest(one) * s).sum() for one, s in zip(output, seen, strict=True)])


def detector(form: str, name: str) -> Kind:
    """A detector before suppression; its scores by a loop over what the head holds."""
    make, probability = heads.MADE[form]

    def run(net: nn.Module, x: torch.Tensor) -> Any:
        twin = copy.copy(net)  # with the same layers
        twin.form = heads.raw
        return twin(x)

    target, score = Detection(heads.BOX, 1, read=form), by(heads.by_hand(probability))
    return Kind(name, partial(heads.Cells, make), target=target, score=score, run=run)


def transformer(name: str, title: str) -> Kind:
    """A network of transformers, whose output holds logits."""
    return Kind(
        title,
        partial(zoo.of_transformers, "CLASSIFIERS", name),
        (3, 32, 32),
        score=of(lambda output: output.logits),
    )


def alike(vector: torch.Tensor) -> ByHand:
    """The cosine with a vector."""
    return by(lambda out: (out * vector).sum(dim=1) / out.norm(dim=1) / vector.norm())


def like_an_image(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The cosine with the vector of an image."""
    found, vector = net(x), net(IMAGE).detach()
    return (found * vector).sum(dim=1) / found.norm(dim=1) / vector.norm()


META = torch.tensor([[0.5, -1.0, 2.0, 0.1]])
VECTOR = torch.tensor([0.3, -1.0, 0.2, 0.8, -0.1])
TEXT = torch.linspace(-1, 1, 10)
IMAGE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))

KINDS: dict[str, list[Kind]] = {
    "Classifiers": [
        Kind("classifier", tiny_network),
        Kind("a single score", lambda: tiny_network(n_classes=1)),
        Kind("several labels (`multilabel=True`)", tiny_network, model=partial(Model, multilabel=True)),
        Kind("softmax at the end", ending_in(nn.Softmax(1))),
        Kind("log-softmax at the end", ending_in(nn.LogSoftmax(1))),
        Kind("activations other than ReLU", zoo.without_relu),
        Kind("no feature maps (dense layers)", zoo.dense),
    ],
    "Regression": [
        Kind('`target="up"`', lambda: tiny_network(n_classes=1), target="up", score=by(lambda y: y[:, 0])),
        Kind('`target="down"`', lambda: tiny_network(n_classes=1), target="down", score=by(lambda y: -y[:, 0])),
        Kind(
            "`target=Towards(3.2, column=1)`",
            tiny_network,
            target=Towards(3.2, column=1),
            score=by(lambda y: -(y[:, 1] - 3.2).abs()),
        ),
    ],
    "Inputs": [
        Kind("gray images", lambda: tiny_network(1), (1, 16, 16)),
        Kind("12 channels", lambda: tiny_network(12), (12, 16, 16)),
        Kind("images that are not square", tiny_network, (3, 16, 24)),
        Kind("signals (N, C, L)", lambda: zoo.convolutional(1, 2), (2, 32)),
        Kind("volumes (N, C, D, H, W)", lambda: zoo.convolutional(3, 1), (1, 8, 8, 10)),
        Kind("video, frames as depth", lambda: zoo.convolutional(3, 3), (3, 4, 8, 8)),
        Kind(
            "an image and metadata, held",
            zoo.WithMeta,
            model=lambda net: Model(net, inputs={"image": torch.zeros(1, 3, 16, 16), "meta": META}),
            run=lambda net, x: net(x, META.expand(len(x), -1)),
        ),
        Kind(
            "an image and metadata, both explained",
            zoo.WithMeta,
            model=lambda net: Model(net, inputs={"image": torch.zeros(1, 3, 16, 16), "meta": META}),
            run=lambda net, x: net(x, META.expand(len(x), -1)),
            given=lambda x: {"image": x, "meta": META.expand(len(x), -1)},
        ),
        Kind(
            "two images (two towers), by position",
            zoo.TwoTowers,
            score=by(lambda output: output),
            model=lambda net: Model(net, inputs=(torch.zeros(1, 3, 16, 16), IMAGE)),
            run=lambda net, x: net(x, IMAGE.expand(len(x), -1, -1, -1)),
        ),
    ],
    "Outputs": [
        Kind("a tuple", lambda: zoo.Around(lambda y, x: (y, x)), score=of(lambda output: output[0])),
        Kind(
            "a dataclass (`ModelOutput`)",
            lambda: zoo.Around(lambda y, x: zoo.Output(y, (x,))),
            score=of(lambda output: output.logits),
        ),
        Kind(
            'nested, `output="heads.1"`',
            lambda: zoo.Around(lambda y, x: {"heads": [y, 2 * y]}),
            score=of(lambda output: output["heads"][1]),
            model=partial(Model, output="heads.1"),
        ),
        Kind(
            "a dict, a callable as target",
            lambda: zoo.Around(lambda y, x: {"first": y, "second": -y}),
            target=lambda output: output["second"][:, 1],
            score=by(lambda output: output["second"][:, 1]),
        ),
    ],
    "Detectors, `Detection`": [
        Kind(
            "torchvision's (lists of boxes)",
            lambda: zoo.Around(zoo.boxes),
            target=Detection((0, 0, 8, 8), 1),
            score=by(strongest_boxes),
        ),
        detector("yolov8", "YOLO-like (N, 4 + K, A)"),
        detector("yolov8_rows", "YOLO-like (N, A, 4 + K)"),
        detector("yolov5", "YOLO-like (N, A, 5 + K)"),
        detector("detr", "DETR"),
        detector("deformable_detr", "Deformable DETR"),
        detector("retinanet", "RetinaNet's head"),
        detector("ssd", "SSD's head"),
        detector("fcos", "FCOS's head"),
        detector("boxes_and_scores", "a pair of boxes and scores"),
    ],
    "Segmentation, `Region`": [
        Kind("semantic", zoo.Segmenter, target=Region(1), score=where_seen),
        Kind("semantic, a click", partial(zoo.Segmenter, 1), target=Region.at((1, 2)), score=where_clicked),
        Kind(
            "instances",
            lambda: zoo.Around(zoo.instances, zoo.Segmenter()),
            target=Region(1),
            score=instances_seen,
        ),
    ],
    "Embeddings, `SimilarTo`": [
        Kind(
            "similar to a vector",
            lambda: tiny_network(n_classes=5),
            target=SimilarTo(VECTOR),
            score=alike(VECTOR),
            model=partial(Model, labels=()),
        ),
        Kind(
            "similar to an image",
            lambda: tiny_network(n_classes=5),
            target=SimilarTo(IMAGE),
            score=by(lambda output: output),
            model=partial(Model, labels=()),
            run=like_an_image,
        ),
        Kind(
            "CLIP's image tower, similar to a text",
            partial(zoo.of_transformers, "BACKBONES", "clip vision"),
            (3, 32, 32),
            target=SimilarTo(TEXT),
            score=of(lambda output: output.image_embeds, alike(TEXT)),
            model=partial(Model, output="image_embeds", labels=()),
        ),
    ],
    "Transformers and their like": [
        Kind("timm's ViT", tiny_transformer),
        Kind("timm's ViT with registers, any input size", zoo.with_registers, (3, 16, 24)),
        Kind("timm's Swin", zoo.windowed),
        transformer("vit", "Hugging Face's ViT"),
        transformer("dinov2 registers", "Hugging Face's DINOv2 with registers"),
        transformer("swin", "Hugging Face's Swin"),
        transformer("convnext", "Hugging Face's ConvNeXt"),
        transformer("resnet", "Hugging Face's ResNet"),
    ],
    "Number formats and files": [
        Kind("float16", lambda: tiny_network().half()),
        Kind("bfloat16", lambda: tiny_network().bfloat16()),
        Kind("int8", zoo.quantized, rounding=1e-2),
        Kind("TorchScript", zoo.scripted),
        Kind("torch.export (.pt2)", tiny_network, model=zoo.exported_program),
        Kind("ONNX, as torch modules", tiny_network, model=zoo.onnx_file),
        Kind("ONNX, by onnxruntime", tiny_network, model=zoo.by_onnxruntime),
        Kind("Keras 3", zoo.keras_network, run=lambda net, x: net(x.movedim(1, -1))),
    ],
    "Networks that break a rule": [
        Kind("no gradients inside", zoo.WithoutGradients),
        Kind("images of a batch mixed (LSTM)", zoo.Recurrent),
        Kind("other scores in every run", zoo.WithDropout),
    ],
}
EVERY = [kind for kinds in KINDS.values() for kind in kinds]


def network(kind: Kind) -> Any:
    """A network of this kind; random weights, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind.network().eval()


def wrapped(kind: Kind) -> Model:
    """The same as a `Model`."""
    model = kind.model(network(kind))
    model.name = "the network"
    return model


def inputs(kind: Kind) -> torch.Tensor:
    """Two inputs of this kind."""
    return torch.randn(2, *kind.shape, generator=torch.Generator().manual_seed(2))
