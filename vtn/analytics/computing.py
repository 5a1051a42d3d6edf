"""Where analytics run: threads of this process, or Dask workers; one setting, the same parts, the same numbers.

A panel is cut into parts of equal size whatever runs them, and each part is computed with one thread of linear algebra:
sums then come out in the same order everywhere, to the last bit.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from forecasting.calendar import SiteCalendar
from forecasting.errors import MissingLibrary, NoHistory
from forecasting.panels.forecasts import PanelForecast
from forecasting.panels.panel import Panel
from forecasting.panels.weather import Weather
from forecasting.serving.catalogue import by_itself, model
from forecasting.solar.clearsky import Place
from runtime.errors import GridpactError, SettingsError

LOCAL = "local"
_PART_VALUES = 256 * 24
"""Series times slots of a part: about 60 MB of features."""

PATIENCE_S = 3_600.0
"""So long a result may take on Dask: a worker that hangs, or was the last one, never says that there will be none."""

T = TypeVar("T")
R = TypeVar("R")


class WorkersLost(GridpactError):
    """The workers of a scheduler gave no result in time."""


class Computing(Protocol):
    """Runs a function over parts."""

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """Results in the order of the parts; an error of a part is raised where its result would be."""
        ...

    def place(self, value: T) -> T:
        """What stands for a large value in parts of several maps, so that it travels once: of use there alone."""
        ...


@contextlib.contextmanager
def computing(
    scheduler: str | None = None, workers: int = 0, patience_s: float = PATIENCE_S
) -> Iterator[Computing]:  # fmt: skip
    """None: threads of this process. "local": a Dask cluster of processes on this machine. An address
    (tcp://host:8786, tls://..): the scheduler that answers there.

    workers: 0 takes one for each core; patience_s: how long one result may take on Dask before it is given up with
    WorkersLost. Raises SettingsError where Dask is not installed or the scheduler not reached.
    """
    count = workers or os.cpu_count() or 1
    if scheduler is None:
        with ThreadPoolExecutor(count, thread_name_prefix="analytics") as pool, _one_thread_each():
            yield _Threads(pool, count)
        return
    distributed = _library()
    with contextlib.ExitStack() as stack:
        if scheduler == LOCAL:
            # Without an address its pages would be on port 8787 of every interface.
            scheduler = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=count, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
                )
            )
        else:
            _answers(scheduler)
        client = stack.enter_context(distributed.Client(scheduler, timeout="10s", set_as_default=False))
        yield _Dask(client, patience_s)


def _answers(scheduler: str) -> None:
    """Dask keeps trying long after it gave up: whether anybody is there is seen before."""
    address = urlsplit(scheduler)
    try:
        if address.scheme not in ("tcp", "tls", "ws", "wss") or address.hostname is None:
            raise ValueError("an address is like tcp://host:8786")
        with socket.create_connection((address.hostname, address.port or 8786), timeout=5):
            pass
    except (OSError, ValueError) as error:
        raise SettingsError(f"the Dask scheduler {scheduler} cannot be used: {error}") from error


class _Threads:
    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        self._pool = pool
        self._ahead = 2 * count

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """No more parts are begun than will soon be asked for: a million homes do not fit at once."""
        waiting: deque[Future[R]] = deque()
        for part in parts:
            waiting.append(self._pool.submit(function, part))
            if len(waiting) > self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def place(self, value: T) -> T:
        """It is there."""
        return value


class _Dask:
    def __init__(self, client: Any, patience_s: float) -> None:
        self._client = client
        self._patience_s = patience_s

    def place(self, value: T) -> T:
        """A future of the scheduler, which its workers see as the value."""
        placed: T = self._client.scatter(value, hash=False)
        return placed

    def map(self, function: Callable[[T], R], parts: Sequence[T]) -> Iterator[R]:
        """As with threads no more parts are under way than will soon be asked for; a result asked for is forgotten on
        its worker."""
        ahead = 2 * max(sum(self._client.nthreads().values()), 1)
        waiting: deque[Any] = deque()
        try:
            for part in parts:
                waiting.append(self._client.submit(partial(_alone, function), part, pure=False))
                if len(waiting) > ahead:
                    yield self._taken(waiting)
            while waiting:
                yield self._taken(waiting)
        finally:
            for future in waiting:
                future.release()  # what nobody waits for is not done; a question to the scheduler might not be answered

    def _taken(self, waiting: deque[Any]) -> Any:
        future = waiting.popleft()
        try:
            return future.result(self._patience_s)
        except TimeoutError:
            if future.done():
                raise  # the part's own
            raise WorkersLost(f"Dask gave no result in {self._patience_s:g} s: look at its workers") from None
        finally:
            future.release()


def forecasts(
    where: Computing,
    name: str,
    panel: Panel,
    calendar: SiteCalendar,
    *,
    start_ms: int,
    count: int,
    issued_at_ms: int,
    levels: Sequence[float] = (),
    excluded: Collection[date] = frozenset(),
    weather: Weather | None = None,
    place: Place | None = None,
    progress: Callable[[int], None] | None = None,
) -> PanelForecast:
    """A forecast of every series of a panel by the model of that name; `progress` gets how many series are done.

    Raises NoHistory where no series has a reading, MissingLibrary, ValueError for an unknown model.
    """
    model(name, place)
    panel = panel.from_first_reading()
    length = _part_length(panel) if by_itself(name) else len(panel.ids)
    parts = [panel.rows(slice(first, first + length)) for first in range(0, len(panel.ids), length)]
    work = partial(
        _forecast_part,
        name=name,
        calendar=calendar,
        start_ms=start_ms,
        count=count,
        issued_at_ms=issued_at_ms,
        levels=tuple(levels),
        excluded=frozenset(excluded),
        weather=weather,
        place=place,
    )
    done: list[PanelForecast] = []
    empty: list[Panel] = []
    for part, made in zip(parts, where.map(work, parts), strict=True):
        if made is None:
            empty.append(part)
        else:
            done.append(made)
        if progress is not None:
            progress(len(part.ids))
    if not done or empty:
        silent = ", ".join(each for part in empty for each in part.ids[:3])
        if not done:
            raise NoHistory(f"no reading of {silent}.. had ended at {issued_at_ms}")
        return _with_refused(done, empty)
    return PanelForecast.beside(done)


def _forecast_part(part: Panel, *, name: str, calendar: SiteCalendar, excluded: frozenset[date],
                   weather: Weather | None, start_ms: int, count: int, issued_at_ms: int,
                   levels: tuple[float, ...], place: Place | None) -> PanelForecast | None:  # fmt: skip
    try:
        fitted = model(name, place).fit(part, calendar, excluded, weather)
        return fitted.forecast(start_ms, count, issued_at_ms, levels)
    except NoHistory:
        return None


def _with_refused(done: Sequence[PanelForecast], empty: Sequence[Panel]) -> PanelForecast:
    """Parts without any reading as refused rows at the end."""
    import numpy as np

    first = done[0]
    ids = tuple(each for part in empty for each in part.ids)
    nothing = np.full((len(ids), first.values.shape[1]), np.nan, dtype=np.float32)
    refused = PanelForecast(
        ids, first.model, first.version, first.issued_at_ms, first.known_until_ms, first.start_ms, first.interval_s,
        nothing, ("",) * len(ids), {}, dict.fromkeys(ids, "no reading had ended at the issue"),
        dict.fromkeys(first.quantiles, nothing), first.weather,
    )  # fmt: skip
    return PanelForecast.beside([*done, refused])


def _part_length(panel: Panel) -> int:
    return max(_PART_VALUES // (86_400 // panel.interval_s), 1)


def _alone(function: Callable[[T], R], part: T) -> R:
    """On a worker: one thread of linear algebra, as in this process."""
    with _one_thread_each():
        return function(part)


def _one_thread_each() -> contextlib.AbstractContextManager[None]:
    try:
        import numpy as np
        import threadpoolctl
    except ImportError as error:
        raise MissingLibrary("analytics need the extra intelligence: pip install '.[intelligence]'") from error
    assert np  # loaded before its threads are limited
    return _SINGLE.held(threadpoolctl.threadpool_limits)


class _Single:
    """The limit is one of the whole process, and several may compute in it at once: the first sets it, the last ends
    it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._limit: Any = None

    @contextlib.contextmanager
    def held(self, limited: Callable[[int], Any]) -> Iterator[None]:
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._limit = limited(1)
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    self._limit.restore_original_limits()


_SINGLE = _Single()


def _library() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise SettingsError("analytics on Dask need the extra intelligence: pip install '.[intelligence]'") from error
    return distributed
