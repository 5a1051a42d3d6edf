"""Opt schedules, written beside a running agent, which follows within a second and tells the VTN."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any

import msgspec

from runtime.errors import SettingsError
from ven.config import VenSettings
from ven.errors import NotEnrolled
from ven.home.store import Contract, ContractState, Opt, OptSchedule, Store
from ven.home.store.schedules import REASONS
from ven.home.store.store import FILE_NAME

WINDOWS_MAX = 64


def add_schedule(
    settings: VenSettings,
    *,
    opt: str,
    windows: tuple[tuple[int, int], ...],
    resource: str | None = None,
    program: str | None = None,
    reason: str = "notParticipating",
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The schedule as it is kept, and the contracts that owe something in its windows (for an opt-out): it does not
    end them. Raises SettingsError, NotEnrolled."""
    if reason not in REASONS and not reason.startswith("x-"):
        raise SettingsError(f"a reason is one of {', '.join(REASONS)}, or begins with x-")
    if not 0 < len(windows) <= WINDOWS_MAX:
        raise SettingsError(f"a schedule has 1 to {WINDOWS_MAX} windows")
    if any(one[1] > other[0] for one, other in pairwise(windows)):
        raise SettingsError("two windows of a schedule overlap")
    now_ms = settings.clock().now_ms()
    schedule = OptSchedule(
        opt_id=f"opt-{secrets.token_hex(8)}",
        opt=Opt.OUT if opt == "out" else Opt.IN,
        windows=windows,
        resource=resource,
        reason=reason,
        market_context=program,
        created_ms=now_ms,
    )
    if schedule.end_ms <= now_ms:
        raise SettingsError("all windows of this schedule are over")
    with _opened(settings) as store:
        store.schedules.add(schedule)
        open_ones = store.contracts.in_state(ContractState.ACCEPTED, ContractState.ACCEPTING)
    owed = [found for each in open_ones if (found := _owed(each, windows)) is not None]
    return msgspec.to_builtins(schedule), owed if schedule.opt is Opt.OUT else []


def list_schedules(settings: VenSettings) -> list[dict[str, Any]]:
    """All schedules, the newest last, each with `told`: does the VTN know how it stands? Raises NotEnrolled."""
    with _opened(settings) as store:
        untold = {each.opt_id for each in store.schedules.untold()}
        return [{**msgspec.to_builtins(each), "told": each.opt_id not in untold} for each in store.schedules.all()]


def cancel_schedule(settings: VenSettings, opt_id: str) -> None:
    """Takes a schedule back. Raises SettingsError, NotEnrolled."""
    with _opened(settings) as store:
        if not store.schedules.cancel(opt_id):
            raise SettingsError(f"there is no schedule {opt_id} to take back: `dr-ven opt-schedule list` shows them")


def _owed(contract: Contract, windows: tuple[tuple[int, int], ...]) -> dict[str, Any] | None:
    terms = contract.terms
    step_ms = terms.interval_s * 1000
    starts_ms = [terms.start_ms + n * step_ms for n in range(len(terms.obligation_wh))]
    owed_wh = sum(
        wh
        for start_ms, wh in zip(starts_ms, terms.obligation_wh, strict=True)
        if any(first < start_ms + step_ms and start_ms < last for first, last in windows)
    )
    if not owed_wh:
        return None
    return {"contract_id": contract.contract_id, "obligation_wh": owed_wh, "deposit_minor": terms.deposit_minor}


@contextmanager
def _opened(settings: VenSettings) -> Iterator[Store]:
    if not (settings.data_dir / FILE_NAME).exists():
        raise NotEnrolled(f"there is no home in {settings.data_dir}: run `dr-ven enrol` first")
    with closing(Store(settings.data_dir / FILE_NAME)) as store:
        yield store
