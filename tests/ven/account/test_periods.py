"""When a home turns from one id to the next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.client import LedgerClient
from runtime.clock import ManualClock
from tests.ven.homes import a_store, a_stored_contract
from ven.account.identity import Identity, read_identity, write_identity
from ven.account.pseudonyms import Turning, finish_turn
from ven.account.pseudonyms.periods import (
    CLOSE_FROM_MS,
    CLOSE_WITHIN_MS,
    OPEN_WITHIN_MS,
    Period,
    drawn,
    due,
    period_at,
)
from ven.account.pseudonyms.turning import NEXT_FILE
from ven.account.wallet import Wallet
from ven.home.store import ContractState, Store


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "zone", "period"),
    [
        ("2026-01-31T23:30", "UTC", "2026-01"),
        ("2026-01-31T23:30", "Europe/Berlin", "2026-02"),  # half past midnight there
        ("2026-07-31T22:30", "Europe/Berlin", "2026-08"),
        ("2026-02-01T04:59", "America/New_York", "2026-01"),
    ],
)
def test_a_period_is_the_month_at_the_site(moment, zone, period):
    assert period_at(at(moment), zone) == period


def test_within_its_period_nothing_is_drawn():
    known = Period(period="2026-01")
    assert drawn(known, at("2026-01-31T23:59"), "UTC", lambda n: n) == known
    assert not due(known, at("2026-01-31T23:59"))


@settings(deadline=None, max_examples=60)
@given(first=st.integers(0, OPEN_WITHIN_MS), second=st.integers(0, CLOSE_WITHIN_MS), later=st.integers(0, 10**9))
def test_both_moments_are_drawn_once_and_the_old_id_ends_after_every_new_one_has_come(first, second, later):
    """The last to come comes before the first that goes: the order of the two tells nothing."""
    start_ms = at("2026-02-01T00:00")
    draws = iter((first, second))
    found = drawn(Period(period="2026-01"), start_ms, "UTC", lambda n: next(draws))
    assert start_ms <= found.open_ms <= start_ms + OPEN_WITHIN_MS < start_ms + CLOSE_FROM_MS <= found.close_ms
    assert drawn(found, start_ms + later, "UTC", lambda n: 0) == found
    assert due(found, found.open_ms)
    assert not due(found, found.open_ms - 1)


def test_a_home_that_was_away_for_months_turns_to_the_period_of_today():
    known = Period(period="2026-01", turning_to="2026-02", open_ms=1, close_ms=2)
    assert drawn(known, at("2026-05-03T00:00"), "UTC", lambda n: 0).turning_to == "2026-05"


def a_home(folder, **identity) -> tuple[Wallet, Store]:
    store = a_store(folder)
    wallet = Wallet.open_or_create(folder)
    known = Identity(ven_name="H1", ven_id="ven-7", openadr2_url="", party=wallet.party, sponsor="agg-1", **identity)
    write_identity(store.notes, known, b"")
    return wallet, store


@pytest.mark.parametrize("answered", [False, True])
def test_a_turn_that_was_cut_short_is_finished_at_the_next_start_if_the_home_is_the_new_id(tmp_path, answered):
    wallet, store = a_home(tmp_path)
    following = Wallet.open_or_create(tmp_path, NEXT_FILE)
    if answered:  # the kill came between the transaction and the renaming
        write_identity(store.notes, msgspec.structs.replace(read_identity(store.notes), party=following.party), b"")
    finish_turn(tmp_path, store)
    assert Wallet.open(tmp_path).party == (following.party if answered else wallet.party)
    assert (tmp_path / NEXT_FILE).exists() is not answered


@pytest.mark.parametrize(
    "state", [ContractState.PROPOSED, ContractState.ACCEPTING, ContractState.ACCEPTED, ContractState.SETTLED]
)
async def test_a_home_keeps_its_id_while_a_contract_names_it(tmp_path, state):
    """It does not even begin: there is neither a next key nor anybody who was asked."""
    wallet, store = a_home(tmp_path)
    store.contracts.propose(a_stored_contract(state=state, payee=wallet.party))
    clock = ManualClock(at("2026-01-31T20:00"))
    nobody = cast("aiohttp.ClientSession", None), cast("LedgerClient", None)
    turning = Turning(
        read_identity(store.notes), wallet, tmp_path, store, nobody[1], nobody[0], clock, draw=lambda n: 0
    )
    await turning.look()
    clock.advance(12 * 3_600_000)
    await turning.look()
    found = store.notes.read("pseudonym", Period)
    assert found is not None
    assert (found.period, found.turning_to) == ("2026-01", "2026-02")
    assert not (tmp_path / NEXT_FILE).exists()
