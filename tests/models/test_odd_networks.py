"""Networks that do unusual things: each is right, or says what it is that no map of it can be trusted for."""

from __future__ import annotations

import dataclasses
import types
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

import convscope as cs
from convscope import LayerError, ModelError


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(x)


def predicted(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(cs.Model(net).predict(x).scores)


class Merging(nn.Linear):
    """Merges its low-rank update into its weights in evaluation mode, as adapters do."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        self.a, self.b, self.merged = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2, 6)), False

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-1 if mode else 1) * self.a @ self.b
            self.merged = not mode
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.linear(x, self.weight, self.bias)
        return out if self.merged else out + x @ self.b.T @ self.a.T


def test_evaluation_mode_is_set_without_calling_the_networks_own_eval() -> None:
    net, x = Base(), torch.randn(2, 3, 8, 8)
    net.fc = Merging()
    net.train()
    before = net(x).detach()
    assert_close(predicted(net, x), before, rtol=0, atol=1e-6)
    cs.saliency(net, x, target=1)
    assert_close(net(x).detach(), before, rtol=0, atol=0)
    assert net.training
    assert not net.fc.merged


def test_an_output_that_is_written_again_in_the_next_run_is_copied() -> None:
    class Buffered(Base):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("out", torch.zeros(1, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out.resize_(len(x), 3).copy_(self.scores(x).detach())

    net, x = Buffered(), torch.randn(9, 3, 8, 8)
    prediction = cs.Model(net).predict(x)
    assert_close(torch.from_numpy(prediction.scores), net.scores(x).detach(), rtol=0, atol=1e-6)
    assert not prediction.provenance.notes


def test_a_network_that_reads_memory_as_it_lies_is_run_as_it_is() -> None:
    class Strided(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, c, h, w = x.shape
            strides = (c * h * w, h * w, 4 * w, 4, w, 1)
            return self.scores(x.as_strided((n, c, h // 4, w // 4, 4, 4), strides).amax((4, 5)))

    net, x = Strided(), torch.randn(3, 3, 32, 32)
    assert cs.Model(net).structure((3, 32, 32)).memory_format == torch.contiguous_format
    assert_close(predicted(net, x), net(x).detach(), rtol=0, atol=1e-6)


def test_lazy_layers_are_named_before_anything_runs() -> None:
    with pytest.raises(ModelError, match="has lazy layers without weights yet: run it once"):
        cs.saliency(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), torch.randn(1, 3, 8, 8))


def test_a_backward_pass_that_fails_is_the_networks_error() -> None:
    class Changed(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            root = self.scores(x).exp()
            scores = 2 * root
            root.add_(1)  # which the backward pass needs as it was
            return scores

    net, x = Changed(), torch.randn(1, 3, 8, 8)
    with pytest.raises(ModelError, match=r"backward pass fails: .*inplace operation"):
        cs.saliency(net, x, target=1)
    assert cs.occlusion(net, x, target=1, window=4).values.shape == (1, 8, 8)


class WrongInOneLayout(torch.autograd.Function):
    """The same values in both layouts, and a backward pass that is wrong in one."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        ctx.wrong = not x.is_contiguous()  # type: ignore[attr-defined]
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.flip(3) if ctx.wrong else gradient  # type: ignore[attr-defined]


def test_a_layout_whose_backward_pass_is_wrong_is_not_taken() -> None:
    class Layouts(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scores(WrongInOneLayout.apply(x))

    net, x = Layouts(), torch.randn(1, 3, 8, 8).requires_grad_()
    (expected,) = torch.autograd.grad(net.scores(x)[:, 1].sum(), x)
    found = cs.saliency(net, x.detach(), target=1, kind="signed").values
    assert_close(torch.from_numpy(found), expected.sum(dim=1), rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_a_score_kept_from_an_earlier_run_has_no_map() -> None:
    class Remembers(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return kept.setdefault("scores", self.scores(x))

    kept: dict[str, torch.Tensor] = {}
    with pytest.raises(ModelError, match="does not depend on the input in this run"):
        cs.saliency(Remembers(), torch.randn(1, 3, 8, 8), target=1)


def mixed(f: torch.Tensor) -> torch.Tensor:
    return (f - f.mean()) / f.std()


@dataclasses.dataclass
class Out:
    logits: torch.Tensor


class Mixing(Base):
    """Mixes the images of a batch, behind ``first``, and puts its scores out in another way."""

    def __init__(self, first: object, last: object) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, x: torch.Tensor) -> object:
        f = mixed(self.conv(self.first(x))).relu().mean((2, 3))  # type: ignore[operator]
        return self.last(self.fc(f))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("first", "last", "of"),
    [
        (lambda x: x.abs().pow(1 / 2.2), lambda s: s, lambda o: o[:, 1]),
        (lambda x: x.pow(1 / 2.2), lambda s: s, lambda o: o[:, 1]),  # not a number below 0
        (lambda x: torch.log(x + 1e-3), lambda s: s, lambda o: o[:, 1]),
        (lambda x: x, Out, lambda o: o.logits[:, 1]),
        (lambda x: x, lambda s: s.T, lambda o: o[1]),
        (lambda x: x, lambda s: list(s), lambda o: torch.stack(o)[:, 1]),
        (lambda x: x, lambda s: torch.stack([s, s]), lambda o: o[0][:, 1]),
        (lambda x: x, lambda s: {"aux": s.sum(), "logits": s}, lambda o: o["logits"][:, 1]),
        (lambda x: x, lambda s: torch.complex(s, s), lambda o: o.real[:, 1]),
    ],
)
def test_mixing_is_seen_whatever_the_output_is(first: object, last: object, of: object) -> None:
    net, x = Mixing(first, last), torch.rand(4, 3, 12, 12)
    found = cs.occlusion(net, x, target=of, window=6, stride=6)
    alone = [cs.occlusion(net, row[None], target=of, window=6, stride=6).values for row in x]
    assert_close(found.values, np.concatenate(alone), rtol=0, atol=1e-6)
    assert any("one image at a time" in note or "one at a time" in note for note in found.provenance.notes)


def test_a_vector_that_is_the_same_for_all_images_is_not_taken_for_a_row() -> None:
    class WithWeights(Base):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("q", torch.randn(1, 3))

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"q": self.q, "logits": self.scores(x)}

    assert cs.Model(WithWeights()).structure((3, 8, 8)).rows_independent


@pytest.mark.parametrize("change", ["option", "weights", "data", "module"])
def test_a_network_that_has_changed_is_looked_at_again(change: str) -> None:
    class Gated(Base):
        def __init__(self) -> None:
            super().__init__()
            self.mixes, self.gate = False, nn.Parameter(torch.zeros(()))
            self.last: nn.Module = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            f = self.last(self.conv(x)).relu().mean((2, 3))
            f = f - f.mean(0) if self.mixes else f
            return self.fc(f - self.gate * f.mean(0))

    net, x = Gated(), torch.randn(3, 3, 12, 12)
    assert cs.Model(net).structure((3, 12, 12)).rows_independent
    if change == "option":
        net.mixes = True
    elif change == "weights":
        nn.init.ones_(net.gate)
    elif change == "data":
        net.gate.data.fill_(1)
    else:
        net.last = nn.BatchNorm2d(6, track_running_stats=False)
    alone = torch.cat([net(row[None]) for row in x]).detach()
    prediction = cs.Model(net).predict(x)
    assert_close(torch.from_numpy(prediction.scores), alone, rtol=0, atol=1e-6)
    assert any("one image at a time" in note for note in prediction.provenance.notes)
    if change == "module":
        net.last = nn.Identity()
        assert not cs.Model(net).predict(x).provenance.notes


def test_heads_that_come_and_go_are_not_taken_for_each_other() -> None:
    net, x = Base(), torch.randn(1, 3, 8, 8)
    for i in range(60):
        net.fc = nn.Sequential(nn.Linear(6, 4), nn.Softmax(dim=1) if i % 2 else nn.Identity())
        assert cs.Model(net).predict(x).normalization == ("none" if i % 2 else "softmax")


@pytest.mark.parametrize(
    "last",
    [
        lambda z: 1 / (1 + torch.exp(-z)),
        lambda z: z.sigmoid().clamp(1e-6, 1 - 1e-6),
        lambda z: (z.tanh() + 1) / 2,
        lambda z: z.sigmoid().detach(),
        lambda z: torch.cat([z, -z], 1).softmax(1)[:, 1:2],
    ],
)
def test_probabilities_are_told_by_their_values(last: object) -> None:
    class Probable(Base):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 1)
            nn.init.uniform_(self.fc.weight, -2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return last(self.scores(x))  # type: ignore[operator]

    net, x = Probable(), torch.randn(2, 3, 9, 9)
    found = cs.Model(net).predict(x)
    assert_close(torch.from_numpy(found.probabilities), net(x).detach().double(), rtol=0, atol=1e-6)


def test_state_in_containers_and_objects_is_put_back() -> None:
    class Keeps(Base):
        def __init__(self) -> None:
            super().__init__()
            self.ordered: OrderedDict[str, int] = OrderedDict()
            self.counter: Counter[str] = Counter()
            self.array, self.plain = np.zeros(2), types.SimpleNamespace(n=0, cache=[])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.ordered[f"{len(self.ordered)}"] = 1
            self.counter["runs"] += 1
            self.array += 1
            self.plain.n += 1
            self.plain.cache.append(x)
            return self.scores(x)

    net = Keeps()
    cs.saliency(net, torch.randn(2, 3, 8, 8), target=1)
    assert (len(net.ordered), net.counter["runs"], net.array.tolist()) == (0, 0, [0, 0])
    assert (net.plain.n, net.plain.cache) == (0, [])


def test_a_layer_that_is_made_in_the_first_run_does_not_stay() -> None:
    class Makes(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not hasattr(self, "extra"):
                self.extra = nn.Linear(3, 3)
            return self.extra(self.scores(x))

    net = Makes()
    with pytest.raises(ModelError, match="gives other scores when it is run again"):
        cs.Model(net).predict(torch.randn(2, 3, 8, 8))
    assert list(net.state_dict()) == list(Base().state_dict())


def test_a_network_that_changes_its_weights_is_refused_and_has_them_back() -> None:
    class Shrinks(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.fc.weight.data.mul_(0.9)
            return self.scores(x)

    net = Shrinks()
    before = net.fc.weight.detach().clone()
    with pytest.raises(ModelError, match=r"changes its own weights|other scores when it is run again"):
        cs.saliency(net, torch.randn(2, 3, 8, 8), target=1)
    assert_close(net.fc.weight.detach(), before, rtol=0, atol=0)


def test_sparse_and_empty_values_of_buffers_are_left_alone() -> None:
    class Buffers(Base):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("sparse", torch.eye(3).to_sparse())
            self.register_buffer("missing", torch.full((3,), float("nan")))

    net, x = Buffers(), torch.randn(2, 3, 8, 8)
    versions = [b._version for b in net.buffers()]
    assert_close(predicted(net, x), net(x).detach(), rtol=0, atol=1e-6)
    assert [b._version for b in net.buffers()] == versions


def test_a_part_without_gradients_is_noted() -> None:
    class Frozen(Base):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Conv2d(3, 6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                main = self.conv(x).relu().mean((2, 3))
            return self.fc(main + self.side(x).mean((2, 3)))

    net, x = Frozen(), torch.randn(1, 3, 8, 8)
    assert any("'conv' runs without gradients" in n for n in cs.saliency(net, x, target=1).provenance.notes)
    assert not cs.occlusion(net, x, target=1, window=4).provenance.notes


def test_a_head_of_an_einsum_is_not_embedded_by_its_scores() -> None:
    class Einsum(Base):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("nd,kd->nk", self.scores(x), self.weight)

    with pytest.raises(LayerError, match="name a layer"):
        cs.embed(Einsum(), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("baseline", ["mean", ["blur", "noise"]])
def test_baselines_are_scored_one_by_one_where_images_mix(baseline: object) -> None:
    net, x = Mixing(lambda x: x, lambda s: s), torch.randn(1, 3, 12, 12)
    found = cs.integrated_gradients(net, x, target=1, baseline=baseline, n_steps=200)
    assert found.provenance.measured["completeness_error"][0] < 0.2


def test_numbers_of_other_threads_are_left_alone_where_a_network_draws_none() -> None:
    net, x = Base(), torch.randn(1, 3, 8, 8)
    model = cs.Model(net)
    model.predict(x)
    drawn: list[float] = []
    torch.manual_seed(3)
    expected = [float(torch.rand(())) for _ in range(2)]
    torch.manual_seed(3)
    cs.occlusion(
        model,
        x,
        target=1,
        window=4,
        progress=lambda *_: drawn.append(float(torch.rand(()))) if len(drawn) < 2 else None,
    )
    assert drawn == expected
    assert float(torch.rand(())) not in expected


class Flattened(nn.Module):
    """A network of volumes that takes their slices for the channels of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv3d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x.reshape(len(x), 1, 8, 16, 16)).relu().mean((2, 3, 4)))


def test_maps_of_another_number_of_sides_are_no_feature_maps_of_a_picture() -> None:
    net, x = Flattened(), torch.randn(2, 8, 16, 16)
    assert cs.saliency(net, x, target=1).values.any()
    with pytest.raises(LayerError, match=r"no feature map of more than one value.*use occlusion or saliency"):
        cs.grad_cam(net, x, target=1)
    volumes = cs.saliency(net.conv, x[:, None], target=lambda out: out.mean((1, 2, 3, 4)))
    assert volumes.values.shape == (2, 8, 16, 16)
