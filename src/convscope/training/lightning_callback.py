"""A callback for Lightning that calls a `Watch`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from ..errors import ParameterError
from .watch import Watch

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")  # two names of one library, whose classes differ


def lightning_callback(watch: Watch) -> Any:
    """A callback that watches a network while Lightning trains it.

    It looks after a batch where it is time to, and once more at the end of the training. A `Watch` without a
    writer gets that of the trainer's TensorBoard logger, if there is one. Only the first process looks.

        watch = Watch(Model(lit.net, input_size=(64, 64), mean=[0.5] * 3, std=[0.25] * 3), photos, "out/watch")
        Trainer(callbacks=[lightning_callback(watch)]).fit(lit, batches)

    Args:
        watch: of the network inside the LightningModule, or of the module itself.

    Returns:
        A ``Callback`` of ``lightning.pytorch``, or of ``pytorch_lightning`` where only that is imported.

    Raises:
        ParameterError: it is no `Watch`, or Lightning is not installed.
    """
    if not isinstance(watch, Watch):
        raise ParameterError(f"watch: expected a Watch, not a {type(watch).__name__}")

    class WatchCallback(_lightning().Callback):  # type: ignore[misc]  # its base is found only now
        """Calls a watch after each batch."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Look at the untrained network, and take the trainer's writer."""
            if trainer.is_global_zero:
                if watch.writer is None:
                    watch.writer = _writer_of(trainer)
                watch.step(trainer.global_step)

        def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
            """Look if it is time to; gradient accumulation leaves the number of the step as it is."""
            if trainer.is_global_zero:
                watch.step(trainer.global_step)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """Look at the trained network."""
            if trainer.is_global_zero:
                watch.finish(trainer.global_step)

    return WatchCallback()


def _lightning() -> Any:
    """The package that the caller has imported, or else the one that is installed."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ParameterError("Lightning is not installed: pip install lightning; or call Watch.step in your own loop")


def _writer_of(trainer: Any) -> Any:
    """The first logger's TensorBoard writer; None if there is none."""
    writers = (getattr(logger, "experiment", None) for logger in trainer.loggers)
    return next((writer for writer in writers if callable(getattr(writer, "add_image", None))), None)
