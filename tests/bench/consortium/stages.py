"""CPU of a replica's process by stage, measured around the calls, without the time in which others run."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ledger.api import transactions as api
from ledger.machine import Machine
from ledger.ordering import following
from ledger.ordering.following import Following
from ledger.ordering.ingress import Ingress
from ledger.replication.attestation import Attestations
from ledger.store import postgres
from runtime import keys

VERIFY: Final = "verify"
STAGES: Final = (VERIFY, "ingress", "read block", "execute", "store", "answer", "finality")


class Stages:
    """CPU seconds by stage since `watch`. Whatever is in none of them is HTTP, the order, peers and the event loop."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STAGES, 0.0)
        self._nested = 0.0

    def watch(self) -> None:
        """From now on, for as long as the process lives."""
        self._wrap_leaf(keys, "_verify_ed25519")
        for owner, name, stage in (
            (api, "_read", "ingress"),
            (Ingress, "_form", "ingress"),
            (following, "parse_block", "read block"),
            (Machine, "check", "read block"),
            (Machine, "read", "read block"),
            (Machine, "execute", "execute"),
            (Machine, "accept", "execute"),
            (postgres, "block_statements", "store"),
            (api, "_answer", "answer"),
            (Attestations, "take", "finality"),
        ):
            self._wrap(owner, name, stage)
        self._wrap_steps(postgres, "_send", "store")
        self._wrap_steps(Following, "_answer", "answer")

    def _wrap_leaf(self, owner: Any, name: str) -> None:
        """In whatever thread: the sum may lose a little to races, nothing else. What a stage verifies on its own thread
        is not the stage's."""
        original, main = getattr(owner, name), threading.get_ident()

        def timed(*args: Any) -> Any:
            before = time.thread_time()
            try:
                return original(*args)
            finally:
                took = time.thread_time() - before
                self.spent[VERIFY] += took
                if threading.get_ident() == main:
                    self._nested += took

        setattr(owner, name, timed)

    def _wrap(self, owner: Any, name: str, stage: str) -> None:
        original = getattr(owner, name)

        def timed(*args: Any, **given: Any) -> Any:
            outside, self._nested = self._nested, 0.0
            before = time.thread_time()
            try:
                return original(*args, **given)
            finally:
                took = time.thread_time() - before
                self.spent[stage] += took - self._nested
                self._nested = outside + took

        setattr(owner, name, timed)

    def _wrap_steps(self, owner: Any, name: str, stage: str) -> None:
        original: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def timed(*args: Any, **given: Any) -> Any:
            return await _Steps(original(*args, **given).__await__(), self.spent, stage)

        setattr(owner, name, timed)


class _Steps:
    """An awaitable whose steps are timed."""

    def __init__(self, steps: Any, spent: dict[str, float], stage: str) -> None:
        self._steps, self._spent, self._stage = steps, spent, stage

    def __await__(self) -> Any:
        value = None
        while True:
            before = time.thread_time()
            try:
                waiting = self._steps.send(value)
            except StopIteration as done:
                return done.value
            finally:
                self._spent[self._stage] += time.thread_time() - before
            value = yield waiting
