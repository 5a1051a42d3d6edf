"""Forming virtual nodes: homes of one feeder become one contracting party once there are enough of them.

A group of fewer than about 20 homes cannot be measured (a baseline's CVRMSE is 53 % for one home, 21 % for 20), so an
area waits until it has `homes_min`. Forming is repeatable: key file, enrolment on the ledger, float and group ids are
each done only where missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.core.commands import Enrolment, EnrolParty, Transfer, enrolment_bytes
from contracts.core.parties import Party, Role
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient, Refused, party_id
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from vtn.aggregator.virtual_nodes.agent import Surroundings, VirtualNode
from vtn.services.vens import ENROLLED, Vens

_log = get_logger("vtn.formation")


class Formation:
    """Makes and keeps the virtual nodes of one aggregator; `nodes` maps ledger party to agent."""

    def __init__(
        self,
        *,
        keys: Path,
        ledger: LedgerClient,
        client_of: Callable[[str, PrivateKey], LedgerClient],
        vens: Vens,
        around: Surroundings,
        homes_min: int,
        float_minor: int,
    ) -> None:
        self.nodes: dict[str, VirtualNode] = {}
        self._keys = keys
        self._ledger = ledger
        self._client_of = client_of
        self._vens = vens
        self._around = around
        self._homes_min = homes_min
        self._float_minor = float_minor
        self._refused_floats: dict[str, int] = {}

    async def form(self) -> list[VirtualNode]:
        """Forms what can be formed now; returns the virtual nodes that are new to this process."""
        homes: dict[str, list[str]] = {}
        ungrouped: dict[str, list[str]] = {}
        for ven in await self._vens.list(status=ENROLLED):
            if ven.program == self._around.program.name:
                homes.setdefault(ven.area, []).append(ven.ven_id)
                if ven.virtual_node is None:
                    ungrouped.setdefault(ven.area, []).append(ven.ven_id)
        known = {node.area: node for node in self.nodes.values()}
        new = []
        for area in sorted(homes):
            if area not in known:
                if len(homes[area]) < self._homes_min and not self._key_file(area).exists():
                    continue
                node = await self._make(area)
                self.nodes[node.party] = known[area] = node
                new.append(node)
                _log.info("virtual node formed", virtual_node=node.name, party=node.party, homes=len(homes[area]))
            for ven_id in ungrouped.get(area, ()):
                await self._vens.assign_group(ven_id, known[area].name)
        return new

    async def keep_funded(self) -> None:
        """Tops up each virtual node's free funds to the float it stakes as deposits, out of what the aggregator has."""
        for node in self.nodes.values():
            account = await self._account(node.party)
            free = _free_minor(account)
            if free >= self._float_minor or self._float_minor - free > await self._own_free_minor():
                continue
            # The nonce names the state that was seen: repeated after a lost answer it is the same transfer. A refused
            # one has used its nonce up and left the state as it is: the next try needs another.
            state = f"float-{node.party}-{account.credits_posted}-{account.debits_posted}-{account.debits_pending}"
            tries = self._refused_floats.get(state, 0)
            nonce = f"{state}-{tries}" if tries else state
            transfer = Transfer(to=node.party, amount_minor=self._float_minor - free, reference=f"float {node.name}")
            try:
                await self._ledger.submit(transfer, nonce=nonce)
            except Refused as error:
                self._refused_floats[state] = tries + 1
                if error.code != "nonce_reused":
                    _log.warning("float not paid", virtual_node=node.name, code=error.code)

    async def _own_free_minor(self) -> int:
        return _free_minor(await self._account(self._ledger.party or ""))

    async def _account(self, party: str) -> Account:
        return await self._ledger.record(Account, party_account(party)) or Account()

    async def _make(self, area: str) -> VirtualNode:
        path = self._key_file(area)
        key = PrivateKey.load(path) if path.exists() else PrivateKey.create(path)
        party = party_id(Role.VIRTUAL_NODE, key.public)
        if await self._ledger.record(Party, party) is None:
            sponsor = self._ledger.party or ""
            enrolment = Enrolment(party=party, role=Role.VIRTUAL_NODE, key=key.public, sponsor=sponsor, area=area)
            proof = key.sign(enrolment_bytes(enrolment)).hex()
            try:
                await self._ledger.submit(EnrolParty(enrolment=enrolment, proof=proof))
            except Refused as error:
                if error.code != "party_exists":
                    raise
        return VirtualNode(_group(area), area, party, key, self._client_of(party, key), self._around)

    def _key_file(self, area: str) -> Path:
        return self._keys / f"{_group(area)}.key"


def _free_minor(account: Account) -> int:
    return account.credits_posted - account.debits_posted - account.debits_pending


def _group(area: str) -> str:
    return f"vn-{area}"
