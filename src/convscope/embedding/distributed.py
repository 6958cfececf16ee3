"""Work by the workers of a Ray cluster."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import ConvscopeError, ParameterError


@contextmanager
def ray_running(address: str | None) -> Iterator[int]:
    """Use or start Ray, and yield the number of its processors; stop it if it was started here."""
    if missing := [name for name in ("ray", "lance_ray") if importlib.util.find_spec(name) is None]:
        raise ParameterError(f"{missing[0]} is not installed: pip install 'convscope[ray]'")
    import ray

    was_running = ray.is_initialized()
    if not was_running:
        with warnings.catch_warnings():  # Lance warns of forks; what Ray starts are new programs
            warnings.filterwarnings("ignore", message=".*fork")
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if not was_running:
            ray.shutdown()


def on_ray(
    work: Callable[[Sequence[Any]], Any], items: Sequence[Any], n_at_once: int, address: str | None = None
) -> Iterator[tuple[int, Any]]:
    """Run ``work`` on items, some at a time, on the workers of a Ray cluster: (how many, its result), in order.

    An error of the library is raised as it is here, without Ray's account of where it was.
    """
    if not items:
        return
    with ray_running(address) as n_processors:
        import ray
        from ray.exceptions import RayTaskError
        from ray.util import ActorPool

        n_workers = max(1, min(n_processors, -(-len(items) // n_at_once)))
        parts = [list(items[first : first + n_at_once]) for first in range(0, len(items), n_at_once)]
        actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Calling)
        pool = ActorPool([actor.remote(work) for _ in range(n_workers)])
        try:
            yield from pool.map(lambda a, part: a.run.remote(part), parts)
        except RayTaskError as error:
            if isinstance(error.cause, ConvscopeError):
                raise error.cause from None
            raise


class _Calling:
    """Holds the work of `on_ray`, and the network in it."""

    def __init__(self, work: Callable[[Sequence[Any]], Any]) -> None:
        torch.set_num_threads(1)
        self._work = work

    def run(self, items: Sequence[Any]) -> tuple[int, Any]:
        return len(items), self._work(items)
