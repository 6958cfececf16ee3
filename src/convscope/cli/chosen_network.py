"""The options that describe a network, and commands that get the network which is described."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from ..outputs import check_no_input
from ..user_code import place_of
from .console import err, escape
from .networks import DEFAULT_MODEL, check_network
from .options import parameter, set_parameters
from .settings import FLAGS, Settings, settled, shown_path

# By key of the settings; in a command, ``output`` is where it writes, and a source is a store.
_PARAMETERS = {key: key for key in FLAGS} | {"source": "model_name", "output": "model_output"}


def _option(key: str, kind: Any, help: str, *short: str) -> inspect.Parameter:
    option = typer.Option(FLAGS[key], *short, help=help, rich_help_panel="Network", show_default=False)
    return parameter(_PARAMETERS[key], Annotated[kind, option], False if kind is bool else None)


OPTIONS = (
    _option(
        "source",
        str | None,
        f"{DEFAULT_MODEL} (the default), torchvision:NAME, timm:NAME, a file, or your own code, which then runs: "
        "my_package.my_module:build or path/to/file.py:build.",
        "-m",
    ),
    _option("weights", Path | None, "File with weights of your own (a state dict): .pt, .pth, .safetensors."),
    _option("random_weights", bool, "Do not load the published weights."),
    _option("input_size", str | None, "Pixels of its input: 224, or 64,48 for height and width."),
    _option("mean", str | None, "Mean of each channel, for pixels from 0 to 1: 0.485,0.456,0.406."),
    _option("std", str | None, "Standard deviation of each channel, likewise."),
    _option("labels", Path | None, "File with the name of a class on each line."),
    _option("output", str | None, "Which entry of what it returns has the class scores: logits."),
    _option("device", str | None, "cuda, mps or cpu; by default the first there is."),
)


class Chosen:
    """The network of a command: described by ``settings``, and loaded the first time that it is called."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._model: Any = None

    def __call__(self) -> Any:
        if self._model is None:
            self._model = self.load()
        return self._model

    def load(self, *, sized: bool = True) -> Any:
        """Load it; not ``sized``: without an input size, which some networks have nowhere to keep."""
        given = self.settings
        self._announce()
        from convscope.models import load_model

        return load_model(
            given["source"],
            weights=given["weights"],
            pretrained=not given["random_weights"],
            input_size=given["input_size"] if sized else None,
            mean=given["mean"],
            std=given["std"],
            labels=given["labels"],
            output=given["output"],
            device=given["device"],
        )

    def _announce(self) -> None:
        """Say what was not typed, before any of it is run."""
        given = self.settings
        if given.note:
            err.print(f"note: {escape(given.note)}", highlight=False, soft_wrap=True)
        if given.file is not None:
            whose = ", code of your own" if place_of(given["source"]) else ""
            about = f"network: {given['source']}{whose}, as {shown_path(given.file)} describes it"
            err.print(escape(about), highlight=False, soft_wrap=True)


Network: TypeAlias = Chosen


def with_network(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that describe a network, in place of its parameter ``model``."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        typed = {key: given.pop(name) for key, name in _PARAMETERS.items()}
        if (named := given.pop("network", None)) is not None:
            if typed["source"] not in (None, named):
                raise typer.BadParameter("name the network as MODEL or by --model, not both")
            typed["source"] = named
        settings = settled(typed)
        if (place := place_of(settings["source"])) is not None and place.file is None:
            sys.path.insert(0, str(settings.folder))  # as with python -m
        check_network(settings["source"], settings["weights"])
        if given.get("output") is not None:
            files = [settings.by_key[key].value for key in ("source", "weights") if key in settings.by_key]
            check_no_input(given["output"], files)
        command(model=Chosen(settings), **given)

    own = inspect.signature(command, eval_str=True).parameters
    set_parameters(run, [*(p for p in own.values() if p.name != "model"), *OPTIONS])
    return run
