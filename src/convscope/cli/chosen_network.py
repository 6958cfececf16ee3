"""The options that describe a network, and commands that get the network which is described."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ..outputs import check_no_input
from .console import err, escape
from .networks import check_network, own_code
from .options import parameter, set_parameters
from .setting_values import KEYS, Key
from .settings import Settings, settled, shown_path

# By key of the settings; in a command, ``output`` is where it writes, and a source is a store.
_PARAMETERS = {key: key for key in KEYS} | {"source": "model_name", "output": "model_output"}


def _option(key: str, about: Key) -> inspect.Parameter:
    names = [about.flag, about.short] if about.short else [about.flag]
    option = typer.Option(*names, help=about.help, rich_help_panel="Network", show_default=False)
    kind: Any = about.kind if about.kind is bool else about.kind | None
    return parameter(_PARAMETERS[key], Annotated[kind, option], False if about.kind is bool else None)


OPTIONS = tuple(_option(key, about) for key, about in KEYS.items())


class Network:
    """The network of a command: described by ``settings``, and loaded the first time that it is called."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._model: Any = None

    def __call__(self) -> Any:
        if self._model is None:
            self._model = self._load()
        return self._model

    def _load(self) -> Any:
        self._announce()
        given = {key: value for key, (value, _) in self.settings.by_key.items()}
        source, random = given.pop("source"), given.pop("random_weights", False)
        from convscope.models import load_model

        return load_model(source, pretrained=not random, **given)

    def _announce(self) -> None:
        """Say what was not typed, before any of it is run."""
        given = self.settings
        if given.note:
            err.print(f"note: {escape(given.note)}", highlight=False, soft_wrap=True)
        if given.file is not None:
            whose = ", code of your own" if own_code(given["source"]) else ""
            about = f"network: {given['source']}{whose}, as {shown_path(given.file)} describes it"
            err.print(escape(about), highlight=False, soft_wrap=True)


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
        if (place := own_code(settings["source"])) is not None and place.file is None:
            sys.path.insert(0, str(settings.folder))  # as with python -m
        check_network(settings["source"], settings["weights"], settings.folder)
        if given.get("output") is not None:
            files = [settings.by_key[key].value for key in ("source", "weights") if key in settings.by_key]
            check_no_input(given["output"], files)
        command(model=Network(settings), **given)

    own = inspect.signature(command, eval_str=True).parameters
    set_parameters(run, [*(p for p in own.values() if p.name != "model"), *OPTIONS])
    return run
