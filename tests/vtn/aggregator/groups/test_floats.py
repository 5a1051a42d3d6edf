"""Floats of virtual nodes: paid when there is money, also after a transfer was refused for want of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from contracts.core.commands import Command, Transfer
from contracts.tokens import Account
from ledger.client import Refused
from vtn.aggregator.virtual_nodes.formation import Formation

AGGREGATOR, NODE, FLOAT = "agg-1", "vn-1", 1_000


class FewFunds:
    """Accounts, and nonces that a refused transfer uses up as on the ledger. `shown_minor`: what a stale read says the
    aggregator has."""

    party = AGGREGATOR

    def __init__(self, funds_minor: int, shown_minor: int | None = None) -> None:
        self.balance = {AGGREGATOR: funds_minor, NODE: 0}
        self.shown_minor = shown_minor
        self.nonces: list[str | None] = []

    async def record(self, kind: type[Any], key: str) -> Account:
        party = key.removeprefix("party/")
        shown = self.shown_minor if party == AGGREGATOR and self.shown_minor is not None else self.balance[party]
        return Account(credits_posted=shown)

    async def submit(self, command: Command, *, nonce: str | None = None) -> None:
        assert isinstance(command, Transfer)
        used, self.nonces = nonce in self.nonces, [*self.nonces, nonce]
        if used:
            raise Refused("nonce_reused")
        if self.balance[AGGREGATOR] < command.amount_minor:
            raise Refused("funds_insufficient")
        self.balance[AGGREGATOR] -= command.amount_minor
        self.balance[command.to] += command.amount_minor


def a_formation(ledger: FewFunds) -> Formation:
    nothing = cast("Any", None)
    formation = Formation(
        keys=Path(), ledger=cast("Any", ledger), client_of=nothing, vens=nothing, around=nothing, nodes=nothing,
        grouping=nothing, float_minor=FLOAT,
    )  # fmt: skip
    formation.nodes[NODE] = cast("Any", SimpleNamespace(party=NODE, name="vn-F1"))
    return formation


async def test_nothing_is_sent_while_the_aggregator_cannot_pay() -> None:
    ledger = FewFunds(FLOAT - 1)
    await a_formation(ledger).keep_funded()
    assert ledger.nonces == []


async def test_a_float_refused_for_want_of_money_is_paid_when_there_is_some() -> None:
    ledger = FewFunds(0, shown_minor=FLOAT)
    formation = a_formation(ledger)
    await formation.keep_funded()
    ledger.balance[AGGREGATOR] = FLOAT
    await formation.keep_funded()
    assert ledger.balance[NODE] == FLOAT


async def test_after_a_restart_the_nonce_that_was_used_up_is_passed_over() -> None:
    ledger = FewFunds(0, shown_minor=FLOAT)
    await a_formation(ledger).keep_funded()
    ledger.balance[AGGREGATOR] = FLOAT
    restarted = a_formation(ledger)
    await restarted.keep_funded()
    await restarted.keep_funded()
    assert ledger.balance[NODE] == FLOAT
