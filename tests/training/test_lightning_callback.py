"""The callback of Lightning, with its real trainer."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import tiny_network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convscope import ParameterError, Watch, lightning_callback


def trained(folder: Path, watch: Any = None, **options: Any) -> nn.Module:
    """The network after a few steps of Lightning's trainer, which has its own warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning.pytorch as pl

        class Lit(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.net = nn.Sequential(nn.Dropout(0.2), *tiny_network())

            def training_step(self, batch: Any, _: int) -> torch.Tensor:
                x, y = batch
                return nn.functional.cross_entropy(self.net(x), y)

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

        torch.manual_seed(0)
        lit = Lit()
        x, y = torch.randn(24, 3, 16, 16), torch.randint(3, (24,))
        callbacks = [] if watch is None else [lightning_callback(watch(lit))]
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", devices=1, callbacks=callbacks, default_root_dir=folder,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            **{"logger": False, **options},
        )  # fmt: skip
        trainer.fit(lit, DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True))
        return lit.net


@pytest.mark.slow
def test_a_training_of_lightning_is_watched_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    made: list[Watch] = []

    def watch(lit: Any) -> Watch:
        made.append(Watch(lit.net, x, tmp_path / "w", every=4))
        return made[0]

    plain, watched = trained(tmp_path), trained(tmp_path, watch)
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one, other)
    strip = made[0].strip()
    assert strip.steps.tolist() == [0, 4, 6]  # the last step, too
    assert not (strip.maps[0] == strip.maps[2]).all()


@pytest.mark.slow
def test_with_accumulated_gradients_steps_are_the_optimizers_and_tensorboard_gets_the_images(
    tmp_path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning.pytorch.loggers import TensorBoardLogger
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        logger = TensorBoardLogger(tmp_path / "runs")
    x = torch.randn(1, 3, 16, 16)
    made: list[Watch] = []

    def watch(lit: Any) -> Watch:
        made.append(Watch(lit.net, x, tmp_path / "w", every=1))
        return made[0]

    trained(tmp_path, watch, accumulate_grad_batches=2, logger=logger)
    assert made[0].strip().steps.tolist() == [0, 1, 2, 3]
    logger.experiment.flush()
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    assert [image.step for image in events.Images("convscope/maps")] == [0, 1, 2, 3]


def test_what_is_no_watch_and_a_missing_lightning_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParameterError, match="watch: expected a Watch, not a Linear"):
        lightning_callback(nn.Linear(2, 2))  # type: ignore[arg-type]
    watch = Watch(tiny_network(), torch.randn(1, 3, 16, 16), tmp_path / "w")
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ParameterError, match="Lightning is not installed: pip install lightning"):
        lightning_callback(watch)
