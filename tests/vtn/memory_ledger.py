"""A ledger in memory behind the real HTTP interface: the contracts' own rules, every transaction a block.

Tests can take it down, or let it lose its answers after it executed a transaction.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from contracts.core.commands import Enrolment
from contracts.core.context import Context
from contracts.core.envelope import Transaction, transaction_id
from contracts.core.parties import Role
from contracts.rules import Genesis, apply, genesis
from ledger.client import party_id
from runtime.clock import Clock
from runtime.keys import PrivateKey, verify
from tests.builders import START_MS

POLICY = "log test+00000000+key\n"


class MemoryLedger:
    """State of one channel, the results it gave, and how it misbehaves."""

    def __init__(self, clock: Clock, *founders: tuple[Role, PrivateKey]) -> None:
        self.clock = clock
        self.down = False
        self.loses_answers = 0
        self.results: dict[str, dict[str, object]] = {}
        self.executed: list[Transaction] = []
        self._nonces: dict[tuple[str, str], str] = {}
        self._records: dict[tuple[str, str], bytes] = {}
        parties = tuple(_founder(role, key) for role, key in founders)
        founding = Genesis(channel="main", origin="test", created_ms=START_MS, contracts_root="0" * 64, parties=parties)
        self._take(genesis(founding))

    def get(self, kind: str, key: str) -> bytes | None:
        return self._records.get((kind, key))

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        found = sorted((key, data) for (k, key), data in self._records.items() if k == kind and first <= key < last)
        return found[:limit]

    def execute(self, transaction: Transaction) -> dict[str, object]:
        """Run a transaction; one that was run before gets its first result."""
        identity = transaction_id(transaction.header)
        if identity in self.results:
            return self.results[identity]
        header = transaction.header
        if self._nonces.setdefault((header.sender, header.nonce), identity) != identity:
            return {"id": identity, "status": "refused", "code": "nonce_reused"}
        height = len(self.results) + 1
        context = Context(
            channel="main", height=height, time_ms=self.clock.now_ms(), transaction_id=identity, verify=verify
        )
        outcome = apply(self, transaction, context)
        self._take(outcome.writes)
        self.executed.append(transaction)
        self.results[identity] = {
            "id": identity,
            "status": "committed" if outcome.code == "ok" else "refused",
            "code": outcome.code,
            "height": height,
            "index": height,
            "facts": [msgspec.to_builtins(fact) for fact in outcome.facts],
        }
        return self.results[identity]

    def app(self) -> web.Application:
        """The part of the ledger's interface that the VTN's base uses."""
        app = web.Application()
        app.router.add_post("/v1/channels/main/transactions", self._submit)
        app.router.add_get("/v1/channels/main/records/{kind}/{key:.+}", self._record)
        app.router.add_get("/v1/channels/main/policy", self._policy)
        return app

    def _take(self, writes: dict[tuple[str, str], bytes | None]) -> None:
        for place, data in writes.items():
            if data is None:
                self._records.pop(place, None)
            else:
                self._records[place] = data

    async def _submit(self, request: web.Request) -> web.Response:
        if self.down:
            raise web.HTTPServiceUnavailable
        body = await request.read()
        transactions = msgspec.json.decode(body, type=dict[str, list[Transaction]])["transactions"]
        results = [self.execute(transaction) for transaction in transactions]
        if self.loses_answers:
            self.loses_answers -= 1
            self.down = True
            raise web.HTTPServiceUnavailable
        return web.json_response({"results": results})

    async def _record(self, request: web.Request) -> web.Response:
        kind, key = request.match_info["kind"], request.match_info["key"]
        data = self.get(kind, key)
        if self.down:
            raise web.HTTPServiceUnavailable
        if data is None:
            problem = {"type": "not-found", "title": "Not found", "status": 404, "detail": f"no {kind} {key}"}
            return web.json_response(problem, status=404, content_type="application/problem+json")
        return web.json_response({"kind": kind, "key": key, "value": msgspec.json.decode(data)})

    async def _policy(self, _: web.Request) -> web.Response:
        return web.Response(text=POLICY)


def _founder(role: Role, key: PrivateKey) -> Enrolment:
    party = party_id(role, key.public)
    return Enrolment(party=party, role=role, key=key.public, sponsor=party, area="portfolio")
