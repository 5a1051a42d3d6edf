"""Choices of large groups on the workers that analytics use: one setting for all of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from runtime.errors import SettingsError
from runtime.logs import get_logger
from vtn.aggregator.virtual_nodes.choosing import Policy
from vtn.config import VtnSettings

if TYPE_CHECKING:
    from vtn.analytics.computing import Computing
    from vtn.dispatching.fleet import Fleet

T = TypeVar("T")

REST_S = 600.0
"""Workers that failed are left alone so long: each choice of the next event would wait for them anew."""

_log = get_logger("vtn.choosing")


class Spread(Executor):
    """`map` of an executor by `Computing`; a fleet travels to the workers once, and leaves them with its last user."""

    def __init__(self, where: Computing) -> None:
        self._where = where
        self._placed: WeakKeyDictionary[Fleet, Any] = WeakKeyDictionary()
        self._again_at = -REST_S

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Any,
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Results in order; the other arguments are those of `concurrent.futures` and not used. Raises SettingsError
        while workers that failed are left alone."""
        if time.monotonic() < self._again_at:
            raise SettingsError("the workers of analytics failed some minutes ago")
        try:
            parts = [(fn, *(self._place(each) for each in arguments)) for arguments in zip(*iterables, strict=False)]
            yield from self._where.map(_applied, parts)
        except Exception:
            self._again_at = time.monotonic() + REST_S
            raise

    def _place(self, value: Any) -> Any:
        from vtn.dispatching.fleet import Fleet

        if not isinstance(value, Fleet):
            return value
        if value not in self._placed:
            self._placed[value] = self._where.place(value)
        return self._placed[value]


def _applied(part: tuple[Any, ...]) -> Any:
    return part[0](*part[1:])


@contextlib.contextmanager
def spread(scheduler: str | None, workers: int, patience_s: float | None = None) -> Iterator[Executor | None]:
    """Where `analytics_scheduler` says; None, in this process, where it says nothing: the libraries use its cores by
    themselves. patience_s: how long one part may take. Raises SettingsError."""
    if scheduler is None:
        yield None
        return
    from vtn.analytics.computing import PATIENCE_S, computing

    with computing(scheduler, workers, PATIENCE_S if patience_s is None else patience_s) as where:
        yield Spread(where)


@contextlib.asynccontextmanager
async def elsewhere(settings: VtnSettings) -> AsyncIterator[Executor | None]:
    """`spread` by the settings; a scheduler that is not there is told, and homes are chosen here."""
    stack = contextlib.ExitStack()
    executor: Executor | None = None
    if settings.analytics_scheduler is not None and Policy(method=settings.dispatch).optimal:
        try:
            # No part takes longer than the whole choice may; after that homes are chosen here.
            patience_s = max(1.0, settings.dispatch_limit_s)
            workers = spread(settings.analytics_scheduler, settings.analytics_workers, patience_s)
            executor = await asyncio.to_thread(stack.enter_context, workers)
        except SettingsError as error:
            _log.warning("homes are chosen in this process", error=str(error))
    try:
        yield executor
    finally:
        await asyncio.to_thread(stack.close)
