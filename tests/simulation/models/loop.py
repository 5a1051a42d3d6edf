"""An event loop without sockets or threads, on which several processes of a cluster run in one order chosen by a seed.

    processes   own FIFO queues of ready callbacks; the seed chooses whose callback runs next
    time        virtual: it jumps to the next timer when nobody is ready, and creeps on by a little with each step
    kill -9     `kill` drops a process's callbacks at once: no `finally`, no cancellation, nothing more of it runs

A callback belongs to the process in whose context it was scheduled (a context variable, inherited by tasks), so a
future that another process resolves wakes its waiter in the waiter's own process. Tasks and futures hash by their
number: sets of them have the same order in every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import sys
import warnings
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from itertools import count
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

STEP_S = 0.00002
"""Virtual time that one callback takes, on average"""


class Stuck(Exception):
    """Nobody is ready and no timer runs, or time or steps ran out, before the run ended."""


class Process:
    """What dies together: a replica's tasks, a client, the environment."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.steps = 0
        self.ready: deque[events.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []

    def __repr__(self) -> str:
        return f"Process({self.name}{'' if self.alive else ', dead'})"


ENVIRONMENT = "environment"
_process: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class Loop(asyncio.AbstractEventLoop):
    """Runs processes until a coroutine ends; every choice comes from `random`."""

    def __init__(self, random: Random, *, shuffle: bool = False, steps_max: int = 2_000_000) -> None:
        """`shuffle`: callbacks of one process may overtake each other too, as I/O of different origin does."""
        self._random = random
        self._shuffle = shuffle
        self._steps_max = steps_max
        self._now = 0.0
        self._active: list[Process] = []
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._number = count()
        self._closed = False
        self.steps = 0
        self.environment = Process(ENVIRONMENT)
        self.processes: list[Process] = [self.environment]
        self.failures: list[BaseException] = []
        self.before_step: Callable[[Process], None] | None = None
        self._failure: BaseException | None = None

    # ---- processes

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a coroutine as part of a process, a new one or one that runs already."""
        if process not in self.processes:
            self.processes.append(process)
        return self._context_of(process).run(self.create_task, coroutine)

    def in_environment(self, callback: Callable[..., object], *args: Any, delay_s: float = 0.0) -> None:
        """Calls something that no process's death prevents: a server, the network."""
        self.call_later(delay_s, callback, *args, context=self._context_of(self.environment))

    def kill(self, process: Process) -> None:
        """kill -9: returns when nothing of the process will ever run again."""
        process.alive = False
        process.ready.clear()
        with contextlib.suppress(ValueError):
            self._active.remove(process)

    def pause(self, process: Process) -> None:
        """SIGSTOP: its callbacks wait, time goes on."""
        process.paused = True
        with contextlib.suppress(ValueError):
            self._active.remove(process)

    def resume(self, process: Process) -> None:
        """SIGCONT."""
        process.paused = False
        if process.alive and process.ready and process not in self._active:
            self._active.append(process)

    def fail(self, error: BaseException) -> None:
        """`run` ends with this error after the present callback; the first one counts."""
        self._failure = self._failure or error

    def current(self) -> Process:
        """Whose callback runs."""
        return _process.get(self.environment)

    def _context_of(self, process: Process) -> contextvars.Context:
        context = contextvars.Context()
        context.run(_process.set, process)
        return context

    # ---- running

    def run(self, main: Coroutine[Any, Any, T], *, until_s: float) -> T:
        """Runs `main` in the environment to its end. Raises what it raises, and Stuck."""
        hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(finalizer=self._close_generator)
        try:
            task = self.spawn(self.environment, main)
            while not task.done() and self._failure is None:
                self._step(until_s)
            if self._failure is not None:
                raise self._failure
            return task.result()
        finally:
            self._bury()
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(None)
            self._closed = True

    def _step(self, until_s: float) -> None:
        timers = self._timers
        if not self._active:
            if not timers:
                raise Stuck("nobody is ready and no timer runs")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer.cancelled():
                self._make_ready(timer)
        if self._now > until_s:
            raise Stuck(f"not at the end after {until_s} s of virtual time")
        if not self._active:
            return
        random = self._random.random
        at = int(random() * len(self._active))
        process = self._active[at]
        ready = process.ready
        if self._shuffle and len(ready) > 1 and random() < 0.2:
            ready.rotate(-1)
        handle = ready.popleft()
        if not ready:
            del self._active[at]
        if handle.cancelled():
            return
        self.steps += 1
        process.steps += 1
        if self.steps > self._steps_max:
            raise Stuck(f"not at the end after {self._steps_max} steps")
        self._now += STEP_S * 2 * random()
        if self.before_step is not None:
            self.before_step(process)
            if not process.alive:
                return
        handle._run()

    def _make_ready(self, handle: events.Handle) -> None:
        process = handle._context.get(_process, self.environment)  # type: ignore[attr-defined]
        if not process.alive:
            return
        process.ready.append(handle)
        if len(process.ready) == 1 and not process.paused:
            self._active.append(process)

    def _bury(self) -> None:
        """Closes what never ended, so that nothing of this run speaks up during another."""
        for process in self.processes:
            process.alive = False
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        warnings.simplefilter("ignore", RuntimeWarning)  # of coroutines that a dead process never began
        try:
            for process in self.processes:
                for task in process.tasks:
                    if not task.done():
                        with contextlib.suppress(BaseException):
                            coroutine = task.get_coro()
                            if coroutine is not None:
                                coroutine.close()
                process.tasks.clear()
                process.ready.clear()
            self._timers.clear()
        finally:
            sys.unraisablehook = hook

    def _close_generator(self, generator: AsyncGenerator[Any, None]) -> None:
        if self.current().alive:
            self.create_task(generator.aclose())

    # ---- what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        self._make_ready(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> events.TimerHandle:
        handle = events.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._number), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(next(self._number), loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[T]:
        task = _Task(next(self._number), coro, loop=self, context=context)
        self.current().tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """At once and in line: there are no threads here."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and self.current().alive:
            self.failures.append(error)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None:
        """Cancelled timers are skipped when they come up."""


class _Future(asyncio.Future[Any]):
    def __init__(self, number: int, *, loop: Loop) -> None:
        super().__init__(loop=loop)
        self._sim_number = number

    def __hash__(self) -> int:
        return self._sim_number


class _Task(asyncio.Task[Any]):
    def __init__(self, number: int, coro: Any, *, loop: Loop, context: contextvars.Context | None) -> None:
        self._sim_number = number
        super().__init__(coro, loop=loop, name="", context=context)
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self._sim_number
