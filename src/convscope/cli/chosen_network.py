"""The options that describe a network, and commands that get the network which is described."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from ..errors import ModelError
from ..outputs import check_no_input
from .console import err, escape
from .networks import RANDOM_WEIGHTS, check_network, is_of_library, own_code
from .options import parameter, set_parameters
from .progress_bars import stage
from .setting_values import KEYS, Key
from .settings import Setting, Settings, settled, shown_path

_RECORD = "record"  # of a result, as the origin of a setting
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

    def of(self, result: Any) -> Any:
        """The network that made a result: the one that its record names, unless another was described.

        Code and files of the user's own are not loaded because a record names them.
        """
        if self.settings.by_key["source"].origin == "default":
            has_weights = self.settings["weights"] is not None
            found = _recorded(str(result.provenance.model["name"]), has_weights=has_weights)
            self.settings = replace(self.settings, by_key={**self.settings.by_key, **found})
        return self()

    def _load(self) -> Any:
        self._announce()
        given = {key: value for key, (value, _) in self.settings.by_key.items()}
        source, random = given.pop("source"), given.pop("random_weights", False)
        with stage("load the network"):
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
        elif given.by_key["source"].origin == _RECORD:
            about = f"network: {given['source']}, as the record names it"
            err.print(escape(about), highlight=False, soft_wrap=True)


def _recorded(name: str, *, has_weights: bool) -> dict[str, Setting]:
    """What describes the network that a record names, as `convscope.load_model` titles it: "timm:vit (own.pt)"."""
    source, _, weights = name.removesuffix(")").partition(" (")
    if not is_of_library(source):
        raise ModelError(f"this is of the network {name!r}, which a name alone does not load: give --model")
    check_network(source)
    found = {"source": Setting(source, _RECORD)}
    if weights == RANDOM_WEIGHTS:
        found["random_weights"] = Setting(True, _RECORD)
    elif weights and not has_weights:
        raise ModelError(f"this is of the network {source} with weights of its own: give {weights} with --weights")
    return found


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
