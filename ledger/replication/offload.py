"""Work that would hold the event loop: in a thread, or inline where a simulation decides what runs when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload(Protocol):
    """Calls a function that computes or waits for a disk, away from the event loop."""

    async def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


async def in_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """In one of the loop's threads."""
    return await asyncio.to_thread(work, *args, **kwargs)


async def inline(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """At once, for a simulation."""
    return work(*args, **kwargs)
