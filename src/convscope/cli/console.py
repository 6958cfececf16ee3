"""What commands have in common: exit codes, where results go and how they are printed."""

from __future__ import annotations

import errno
import functools
import inspect
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import markup
from rich.console import Console
from rich.table import Table

from ..errors import ConvscopeError, Interrupted, LayerError, OutputError, ParameterError, TargetError
from ..outputs import check_directory
from ..texts import printable
from .phrasing import flags_of, for_terminal, unwrapped

out = Console(emoji=False)  # a file may be called a:cat:.jpg
err = Console(stderr=True, emoji=False)

# The exit code of a command, by the first class that fits what ended it. Users read this table in docs/server.md.
EXIT_CODES: Mapping[type[BaseException], int] = {
    ParameterError: 2,  # a wrong value of an option is a mistake in what was typed, like an unknown option
    LayerError: 2,
    TargetError: 2,
    ConvscopeError: 1,
    OSError: 1,
    KeyboardInterrupt: 130,
}
_QUIET = Annotated[
    bool, typer.Option("--quiet", help="No progress and no notes; results, skipped images and errors are printed.")
]
LISTED = 20  # lines of a list, or rows of a table, that a terminal shows


def escape(text: str) -> str:
    """Text from outside, for `out` and `err`: no markup, no control characters, on one line."""
    return markup.escape(printable(text))


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """An error of the library ends a command with its message and no traceback, in the terminal's words."""

    @functools.wraps(command)
    def run(*args: Any, quiet: bool = False, **kwargs: Any) -> None:
        Quiet.is_on = quiet
        try:
            command(*args, **kwargs)
        except ConvscopeError as error:
            message = for_terminal(str(error), flags_of(command))
            err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
            raise _exit_after(error) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            err.print(f"[bold red]error:[/] standard output could not be written ({error.strerror})")
            raise _exit_after(error) from None
        except KeyboardInterrupt as interrupt:
            err.print("interrupted")
            raise _exit_after(interrupt) from None

    run.__doc__ = unwrapped(command.__doc__ or "")
    own = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_QUIET)
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in run.__signature__.parameters.items()}  # type: ignore[attr-defined]
    return run


def _exit_after(error: BaseException) -> typer.Exit:
    return typer.Exit(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))


class Quiet:
    """Whether --quiet was given: no progress and no notes; results, skipped images and errors are printed."""

    is_on = False


def free_output(chosen: Path | None, command: str, csv_file: Path | None = None) -> Path:
    """Where a result goes: the chosen place, which must be free, or the first free one under out/.

    ``csv_file`` is written as well: it cannot be that folder, nor one that holds it.
    """
    place = chosen or _next_free(Path("out") / command)
    check_directory(place)
    if csv_file is not None and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(csv_file)):
        raise OutputError(f"{csv_file}: is the folder of the result, or one around it; choose another --csv")
    return place


def _next_free(place: Path) -> Path:
    """The place itself, or the first of place-2, place-3 and so on where nothing is."""
    names = itertools.chain([place.name], (f"{place.name}-{n}" for n in itertools.count(2)))
    return next(found for name in names if not os.path.lexists(found := place.with_name(name)))


def save(result: Any, place: Path) -> Path:
    """Save a result, or beside its place if another run took that meanwhile, so that no work is lost."""
    try:
        return result.save(place)  # type: ignore[no-any-return]
    except OutputError:
        free = _next_free(place)
        if free == place:
            raise
        saved: Path = result.save(free)
        err.print(f"note: meanwhile another run has written to {escape(str(place))}", highlight=False)
        return saved


@contextmanager
def saving_partial(place: Path, as_json: bool) -> Iterator[None]:
    """Around long work: on Ctrl-C what is finished is saved and shown before the command ends."""
    try:
        yield
    except Interrupted as interrupted:
        show(interrupted.result, save(interrupted.result, place), as_json)
        raise _exit_after(interrupted) from None


def show(result: Any, saved: Path, as_json: bool) -> None:
    """Print a result, where it was written, and what had to be left out."""
    if as_json:
        print_json(summary(result) | {"output": str(saved)})
    else:
        show_text(result)
        show_place(saved)
    notes(result.provenance)


def show_text(result: Any) -> None:
    """Print how a result describes itself."""
    for line in repr(result).split("\n"):
        out.print(escape(line), highlight=False, soft_wrap=True)


def show_place(saved: Path) -> None:
    """Print where a result was written, and as which files."""
    files = ", ".join(sorted(file.name for file in saved.iterdir()))
    out.print(f"written to {escape(str(saved))} ({files})", highlight=False, soft_wrap=True)


def show_page(saved: Path, page: Path) -> None:
    """The same, and which of the files is for a browser."""
    show_place(saved)
    out.print(f"open {escape(str(page))} in a browser", highlight=False, soft_wrap=True)


def notes(provenance: Any) -> None:
    """What was measured, remarks and skipped images, on standard error."""
    if provenance.measured and not Quiet.is_on:
        about = ", ".join(f"{name} {value}" for name, value in provenance.measured.items())
        err.print(f"measured: {escape(about)}", highlight=False, soft_wrap=True)
    for note in () if Quiet.is_on else provenance.notes:
        err.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    skipped(provenance)


def skipped(provenance: Any) -> None:
    """The images that could not be read, on standard error."""
    if provenance.skipped:
        err.print(f"skipped {len(provenance.skipped)} that could not be read:", highlight=False)
        lines = [f"  {reason}" for reason in provenance.skipped]
        print_first(lines, "  and {n} more (all in manifest.json)", err)


def print_first(lines: Sequence[str], rest: str, console: Console) -> None:
    """Print as many lines as a terminal shows; ``rest`` says where the other {n} are."""
    for line in lines[:LISTED]:
        console.print(escape(line), highlight=False, soft_wrap=True)
    if len(lines) > LISTED:
        console.print(rest.format(n=len(lines) - LISTED), highlight=False)


def summary(result: Any) -> dict[str, Any]:
    """A result as JSON can hold it: shapes and ranges instead of arrays."""
    import numpy as np

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            about: dict[str, Any] = {"shape": list(value.shape), "dtype": str(value.dtype)}
            if value.size and np.issubdtype(value.dtype, np.number):
                about |= {"min": float(value.min()), "max": float(value.max())}
            return about
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    shown = {
        f.name: plain(getattr(result, f.name))
        for f in fields(result)
        if f.metadata.get("saved", True) and f.name != "provenance"
    }
    return {"kind": type(result).__name__} | shown | {"provenance": asdict(result.provenance)}


def print_json(data: Any) -> None:
    """Print JSON to standard output without colors or wrapping; what is no number becomes null."""
    typer.echo(json.dumps(_with_nulls(data), indent=2, default=str, allow_nan=False))


def _with_nulls(data: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(data, Mapping):
        return {key: _with_nulls(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_with_nulls(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table for the terminal."""
    made = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(escape, row))
    return made
