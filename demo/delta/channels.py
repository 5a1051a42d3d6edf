"""A channel for each virtual node, opened as operators open one, each command where its files are.

utility: channels create ─▶ aggregator: channels join ─▶ both start again ─▶ channels open ─▶ first anchors ─▶ fund
"""

from __future__ import annotations

import asyncio

from contracts.channels.registry import ChannelRecord
from contracts.core.commands import BridgeLock, Issue
from contracts.tokens import Account, party_account
from demo.consortium import AGGREGATOR, UTILITY
from demo.delta.testbed import Testbed
from demo.processes import call, call_json
from ledger.client import LedgerClient
from runtime.clock import Clock
from runtime.keys import PrivateKey

#: what main's utility brings into each channel: its own budget, and what the aggregator stakes there
FUNDS_MINOR = {UTILITY: 10_000, AGGREGATOR: 10_000}
#: where nobody in the channel could take it, money comes back after a day
_COMES_BACK_MS = 86_400_000
_LOOK_S = 0.2


async def open_channels(testbed: Testbed, clock: Clock) -> None:
    """Returns when every operator's channel is served by its members and holds the money it works with."""
    names = [each.channel for each in testbed.operators]
    await asyncio.gather(*(_found(testbed, name) for name in names))
    await _serve(testbed, names[-1])
    await asyncio.gather(
        *(
            call(
                ["dr-ledger", "channels", "open", name, "--data-dir", testbed.consortium.seats[0].data_dir,
                 *testbed.utility_options],
                testbed.environment,
            )
            for name in names
        )
    )  # fmt: skip
    key, party = PrivateKey.load(testbed.utility_key), testbed.parties[UTILITY]
    url, tls = testbed.consortium.seat(UTILITY).url, testbed.ledger_tls()
    async with LedgerClient(url, key=key, party=party, clock=clock, ssl=tls) as main:
        total = len(names) * sum(FUNDS_MINOR.values())
        await main.submit(Issue(to=party, amount_minor=total, reference="budget of the testbed"))
        await asyncio.gather(*(_fund(testbed, clock, main, name) for name in names))


async def _found(testbed: Testbed, name: str) -> None:
    first, *others = testbed.consortium.seats
    founders = [part for role, key in testbed.public_keys.items() for part in (f"--{role}", key)]
    files = [part for each in (first, *others) for part in ("--member-file", each.data_dir / "member.json")]
    made = await call_json(
        ["dr-ledger", "channels", "create", name, *founders, *(files if others else []),
         "--data-dir", first.data_dir],
        testbed.environment,
    )  # fmt: skip
    for each in others:
        await call(
            ["dr-ledger", "channels", "join", "--from", made["folder"], "--data-dir", each.data_dir],
            testbed.environment,
        )


async def _serve(testbed: Testbed, name: str) -> None:
    """Each member is told whose key brings proofs between its channels, and starts again. It serves the channel once it
    asks who wants to read it."""
    keys = {UTILITY: testbed.utility_key, AGGREGATOR: testbed.aggregator_key}
    for seat in testbed.consortium.seats:
        with (seat.data_dir.parent / "replica.toml").open("a") as config:
            config.write(f'crossing_key = "{keys[seat.label]}"\ncrossing_interval_s = 0.5\n')
    await testbed.consortium.restart(f"/v1/channels/{name}/status", status=401)


async def _fund(testbed: Testbed, clock: Clock, main: LedgerClient, name: str) -> None:
    """As `dr-ledger channels fund` does."""
    while (known := await main.record(ChannelRecord, name)) is None or known.size == 0:
        await asyncio.sleep(_LOOK_S)
    for role, amount in FUNDS_MINOR.items():
        mint_by_ms, recipient = clock.now_ms() + _COMES_BACK_MS, testbed.parties[role]
        lock = BridgeLock(channel=name, recipient=recipient, amount_minor=amount, mint_by_ms=mint_by_ms)
        await main.submit(lock)
    key, tls = PrivateKey.load(testbed.utility_key), testbed.ledger_tls()
    async with LedgerClient(main.url, channel=name, key=key, clock=clock, ssl=tls) as child:
        for role in FUNDS_MINOR:
            while await child.record(Account, party_account(testbed.parties[role])) is None:
                await asyncio.sleep(_LOOK_S)
