"""Forming virtual nodes: homes of one feeder become contracting parties once there are enough of them.

A group of fewer than about 20 homes cannot be measured (a baseline's CVRMSE is 53 % for one home, 21 % for 20), so a
feeder waits until it has `homes_min`. What is more is grouped by likeness (`groups/grouping`), or stays one group.

    homes without a group ──▶ rows and homes in one transaction ──▶ key ──▶ party ──▶ agent at work ──▶ float
                              (`groups/records`)                    (`groups/parties`)

Forming is repeatable: each turn looks at rows, key files and the ledger, and does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from contracts.core.commands import Transfer
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient, LedgerUnavailable, Refused
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from vtn.aggregator.virtual_nodes.agent import Surroundings, VirtualNode
from vtn.aggregator.virtual_nodes.groups import parties
from vtn.aggregator.virtual_nodes.groups.grouping import Grouping
from vtn.aggregator.virtual_nodes.groups.records import (
    ACTIVE,
    ENDED,
    ENDING,
    FORMATION,
    HomeMove,
    NodeRecords,
    NodeRow,
    Quality,
)
from vtn.services.vens import ENROLLED, Ven, Vens

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
        nodes: NodeRecords,
        grouping: Grouping,
        float_minor: int,
    ) -> None:
        self.nodes: dict[str, VirtualNode] = {}
        self.waiting: dict[str, str] = {}
        self._keys = keys
        self._ledger = ledger
        self._client_of = client_of
        self._vens = vens
        self._around = around
        self._records = nodes
        self._grouping = grouping
        self._float_minor = float_minor
        self._refused_floats: dict[str, int] = {}
        self._clients: dict[str, LedgerClient] = {}
        self._ending: set[str] = set()

    async def form(self) -> list[VirtualNode]:
        """Forms what can be formed now; returns the virtual nodes that are new to this process."""
        program = self._around.program.name
        homes = [ven for ven in await self._vens.list(status=ENROLLED) if ven.program == program]
        areas: dict[str, list[Ven]] = {ven.area: [] for ven in homes}
        for ven in homes:
            areas[ven.area].append(ven)
        rows = await self._records.nodes(program)
        changed = await self._adopt(areas, rows)
        for area in sorted(areas):
            if changed:
                rows = await self._records.nodes(program)
            try:
                changed = await self._place(area, areas, rows)
            except Exception:  # whatever it is: other feeders are not to wait for this one
                _log.exception("homes not grouped", area=area)
        return await self._at_work(await self._records.nodes(program) if changed else rows)

    async def keep_funded(self) -> None:
        """Tops up each virtual node's free funds to the float it stakes as deposits, out of what the aggregator has."""
        for node in self.nodes.values():
            account = await self._account(node.party)
            free = _free_minor(account)
            if node.party in self._ending or free >= self._float_minor:
                continue
            if self._float_minor - free > await self._own_free_minor():
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

    # ---- who is where

    async def _adopt(self, areas: dict[str, list[Ven]], rows: Sequence[NodeRow]) -> bool:
        """Rows for virtual nodes that were there before rows were kept: their key file, or their homes, name them."""
        new = [area for area in sorted(areas) if not any(row.area == area for row in rows)]
        taken = await self._records.taken_names() if new else set()
        found = []
        for area in new:
            name = parties.first_name(area)
            many = len(areas[area]) >= self._grouping.homes_min
            named = many and any(ven.virtual_node == name for ven in areas[area])
            if name not in taken and (named or (self._keys / parties.key_file(self._keys, name)).is_file()):
                quality = Quality(reason="formed before groups were compared")
                found.append((self._row(name, area, quality), ()))
        if found:
            await self._records.add(found, "formed")
        return bool(found)

    async def _place(self, area: str, areas: dict[str, list[Ven]], rows: Sequence[NodeRow]) -> bool:
        """Homes of a feeder that are in no group of it join one, or become groups; True if something was written."""
        others = {row.name for row in rows if row.area != area or row.state != ACTIVE}
        formed = [row.name for row in rows if row.area == area and row.state == ACTIVE and row.made_by == FORMATION]
        loose = [ven for ven in areas[area] if ven.virtual_node is None or ven.virtual_node in others]
        if not loose:
            self.waiting.pop(area, None)
            return False
        if formed:
            return await self._join(area, areas[area], loose, formed)
        if len(loose) < self._grouping.homes_min:
            self._wait(area, f"{len(loose)} homes wait: {self._grouping.homes_min} make a virtual node")
            return False
        if not parties.ledger_takes(area):
            self._wait(area, f"{len(loose)} homes wait: the ledger takes no party of a feeder of this name")
            return False
        await self._group(area, loose, set(areas))
        return True

    async def _group(self, area: str, loose: Sequence[Ven], areas: set[str]) -> None:
        taken = await self._records.taken_names()
        came_from = {ven.ven_id: ven.virtual_node or "" for ven in loose}
        made = []
        for group in await self._grouping.first(loose):
            name = parties.free_name(area, taken, areas)
            taken.add(name)
            reason = group.quality.reason
            moves = [
                HomeMove(ven_id=each, came_from=came_from[each], went_to=name, reason=reason) for each in group.homes
            ]
            made.append((self._row(name, area, group.quality), moves))
            _log.info("virtual node formed", virtual_node=name, homes=len(moves), reason=reason)
        await self._records.add(made, "formed")
        self.waiting.pop(area, None)

    async def _join(self, area: str, homes: Sequence[Ven], loose: Sequence[Ven], formed: Sequence[str]) -> bool:
        """Each to the group it is most like; not to one an operator took it out of."""
        barred = await self._records.taken_out([ven.ven_id for ven in loose])
        moves: list[HomeMove] = []
        for kept_out in sorted({barred.get(ven.ven_id, "") for ven in loose}):
            those = [ven for ven in loose if barred.get(ven.ven_id, "") == kept_out]
            nodes = {name: [ven for ven in homes if ven.virtual_node == name] for name in formed if name != kept_out}
            if not nodes:
                self._wait(area, f"{len(those)} homes wait: an operator took them out of {kept_out}")
                continue
            for ven_id, (name, reason) in (await self._grouping.joining(those, nodes)).items():
                before = next(ven.virtual_node for ven in those if ven.ven_id == ven_id) or ""
                moves.append(HomeMove(ven_id=ven_id, came_from=before, went_to=name, reason=reason))
        if moves:
            await self._records.move(moves, "joined")
            _log.info("homes joined", area=area, homes=len(moves))
        return bool(moves)

    def _wait(self, area: str, reason: str) -> None:
        if self.waiting.get(area) != reason:
            self.waiting[area] = reason
            _log.warning("homes wait for a virtual node", area=area, reason=reason)

    # ---- agents

    async def _at_work(self, rows: Sequence[NodeRow]) -> list[VirtualNode]:
        """An agent for each row, none for what has ended. One that cannot be made holds up no other."""
        there = {node.name: party for party, node in self.nodes.items()}
        for name in there.keys() - {row.name for row in rows}:
            # Another process ended it. What was paid to it in between goes back as well, now or in a later turn.
            try:
                await parties.funds_returned(self._clients[name], self._ledger.party or "")
            except LedgerUnavailable:
                raise
            except Exception:
                _log.exception("money of a virtual node that ended not returned", virtual_node=name)
                continue
            del self.nodes[there[name]]
        new = []
        for row in rows:
            try:
                if row.name not in there and (row.state == ACTIVE or row.party is not None):
                    node = await self._make(row)
                    self.nodes[node.party] = node
                    new.append(node)
                    _log.info("virtual node at work", virtual_node=node.name, party=node.party)
                if row.state == ENDING:
                    await self._end(row)
            except LedgerUnavailable:
                raise
            except Exception:
                _log.exception("virtual node not at work", virtual_node=row.name)
        self._ending = {row.party for row in rows if row.state == ENDING and row.party is not None}
        return new

    async def _make(self, row: NodeRow) -> VirtualNode:
        path = self._keys / row.key_file
        if row.party is not None and not path.exists():
            _log.error("the key of a virtual node is gone, it gets another", virtual_node=row.name, party=row.party)
        key = parties.own_key(path)
        party = await parties.enrolled(self._ledger, key, row.area)
        if row.party != party:
            await self._records.change(row.name, party=party)
        client = self._clients[row.name] = self._client_of(party, key)
        return VirtualNode(row.name, row.area, party, key, client, self._around)

    async def _end(self, row: NodeRow) -> None:
        """An ending virtual node works until its last contract is over; then its money goes back."""
        if row.party is not None:
            if await parties.running(self._ledger, self._around.records, row.party):
                return
            if not await parties.funds_returned(self._clients[row.name], self._ledger.party or ""):
                return
            self.nodes.pop(row.party, None)
        await self._records.change(row.name, state=ENDED)
        _log.info("virtual node ended", virtual_node=row.name)

    def _row(self, name: str, area: str, quality: Quality) -> NodeRow:
        now_ms = self._around.clock.now_ms()
        return NodeRow(
            name=name, label=name, program=self._around.program.name, area=area, made_by=FORMATION, state=ACTIVE,
            key_file=parties.key_file(self._keys, name), party=None, quality=quality, version=1, made_ms=now_ms,
            changed_ms=now_ms,
        )  # fmt: skip

    async def _own_free_minor(self) -> int:
        return _free_minor(await self._account(self._ledger.party or ""))

    async def _account(self, party: str) -> Account:
        return await self._ledger.record(Account, party_account(party)) or Account()


def _free_minor(account: Account) -> int:
    return account.credits_posted - account.debits_posted - account.debits_pending
