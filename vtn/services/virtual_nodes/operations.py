"""Groups as operators make and change them: create, maintain, delete, query.

What is refused says why and changes nothing. What is carried out is one transaction with its audit entries; the key,
the party and the money follow, here or in the next turn of the aggregator.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from contracts.tokens import Account, party_account
from ledger.client import LedgerClient, LedgerError
from runtime.keys import PrivateKey
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.virtual_nodes.groups import parties
from vtn.aggregator.virtual_nodes.groups.grouping import MEASURED_BADLY, small
from vtn.aggregator.virtual_nodes.groups.records import (
    ACTIVE,
    ENDED,
    ENDING,
    FORMATION,
    OPERATOR,
    HomeMove,
    NodeRecords,
    NodeRow,
    Quality,
)
from vtn.context import Vtn
from vtn.errors import Conflict, InvalidInput, NotAllowed, NotFound
from vtn.services.programs import Program
from vtn.services.vens import ENROLLED, Ven
from vtn.services.virtual_nodes.messages import NodeView, group_of

LABEL_MAX = 80
BY_OPERATOR = "put together by an operator"


class WaitingFeeder(msgspec.Struct, frozen=True, kw_only=True):
    """Homes of a feeder that are in no virtual node, and why."""

    area: str
    homes: int
    reason: str


class VirtualNodes:
    """Virtual nodes of one program, for operators."""

    def __init__(self, vtn: Vtn, program: Program) -> None:
        self.vtn = vtn
        self.program = program
        self.nodes = NodeRecords(vtn.database, vtn.clock)
        self._records = AggregatorRecords(vtn.database)
        self._homes_min = vtn.settings.virtual_node_homes_min
        self._keys: Path = vtn.settings.data_dir / "virtual_nodes"

    async def create(self, label: str, homes: Sequence[str]) -> NodeView:
        """A virtual node of these homes (venIDs or venNames) of one feeder; they leave the groups they are in.

        Raises InvalidInput, NotFound, Conflict, NotAllowed for a home that is bound, LedgerError."""
        chosen = await self._homes(homes)
        if not chosen:
            raise InvalidInput("homes_missing", "a virtual node has homes: name them with --home")
        area = _one_area(chosen)
        if not parties.ledger_takes(area):
            raise InvalidInput("area_invalid", f"the ledger takes no party of the feeder {area!r}")
        await self._free_label(label)
        await self._unbound(chosen)
        every = await self._enrolled()
        name = parties.free_name(area, await self.nodes.taken_names(), {ven.area for ven in every})
        now_ms = self.vtn.clock.now_ms()
        row = NodeRow(
            name=name, label=label, program=self.program.name, area=area, made_by=OPERATOR, state=ACTIVE,
            key_file=parties.key_file(self._keys, name), party=None, version=1, made_ms=now_ms, changed_ms=now_ms,
            quality=Quality(reason=BY_OPERATOR, measured_ms=now_ms),
        )  # fmt: skip
        await self.nodes.add([(row, _moves(chosen, name, BY_OPERATOR))], "operator")
        notes = await self._left_small({ven.virtual_node for ven in chosen})
        try:
            key = parties.own_key(self._keys / row.key_file)
            party = await parties.enrolled(self.vtn.ledger, key, area)
            await self.nodes.change(name, party=party)
        except LedgerError as error:
            notes.append(f"not on the ledger yet, the aggregator goes on with it: {error}")
        return await self._view(name, notes)

    async def maintain(
        self, name: str, *, add: Sequence[str] = (), remove: Sequence[str] = (), label: str | None = None
    ) -> NodeView:
        """Adds homes to a virtual node, takes homes out, or calls it something else. Homes taken out are grouped anew,
        but not into this one. Raises InvalidInput, NotFound, Conflict, NotAllowed, LedgerError."""
        row = await self.find(name)
        if row.state != ACTIVE:
            raise NotAllowed("virtual_node_ending", f"{row.name} is {row.state}")
        coming, going = await self._homes(add), await self._homes(remove)
        strangers = [ven.ven_name for ven in coming if ven.area != row.area]
        if strangers:
            raise InvalidInput("feeders_differ", f"{', '.join(strangers)}: not on {row.area}, which is not crossed")
        outside = [ven.ven_name for ven in going if ven.virtual_node != row.name]
        if outside:
            raise InvalidInput("home_elsewhere", f"{', '.join(outside)}: not in {row.name}")
        coming = [ven for ven in coming if ven.virtual_node != row.name]
        members = {ven.ven_id for ven in await self._enrolled() if ven.virtual_node == row.name}
        if going and not (members | {ven.ven_id for ven in coming}) - {ven.ven_id for ven in going}:
            raise InvalidInput("virtual_node_empty", f"{row.name} would have no home left: delete it instead")
        await self._unbound([*coming, *going])
        changes: dict[str, object] = {}
        if label is not None and label != row.label:
            await self._free_label(label)
            changes["label"] = label
        moves = _moves(coming, row.name, "added by an operator") + _moves(going, "", "taken out by an operator")
        await self.nodes.move(moves, "operator", {row.name: changes} if changes else None)
        touched = {ven.virtual_node for ven in coming} | ({row.name} if going else set())
        return await self._view(row.name, await self._left_small(touched))

    async def delete(self, name: str) -> NodeView:
        """Ends a virtual node that no contract binds: its homes are free to be grouped, its money goes back to the
        aggregator. Raises NotFound, NotAllowed while a contract runs, LedgerError before anything was changed."""
        row = await self.find(name)
        await self._idle(row)
        members = await self.vtn.vens.list(virtual_node=row.name)
        moves = _moves(members, "", f"{row.name} was deleted")
        await self.nodes.move(moves, "ended", {row.name: {"state": ENDING}})
        notes = [f"{len(members)} homes are free to be grouped"]
        try:
            notes.append(await self._wound_up(row))
        except LedgerError as error:
            notes.append(f"its money is not back yet, the aggregator goes on with it: {error}")
        return await self._view(row.name, notes)

    async def query(
        self, names: Sequence[str] = (), *, area: str | None = None, ended: bool = False, moves: int = 0
    ) -> list[NodeView]:
        """Virtual nodes with their homes, quality and last moves: the named ones, those of a feeder, or all. Raises
        NotFound."""
        rows = [await self.find(name) for name in names] or await self.nodes.nodes(self.program.name, ended=ended)
        homes = await self._enrolled()
        return [
            await self._seen(row, homes, moves=moves) for row in rows if area is None or row.area == area
        ]  # fmt: skip

    async def waiting(self) -> list[WaitingFeeder]:
        """Feeders with homes that are in no virtual node."""
        rows = {row.name: row for row in await self.nodes.nodes(self.program.name)}
        formed = {row.area for row in rows.values() if row.state == ACTIVE and row.made_by == FORMATION}
        loose: dict[str, list[Ven]] = {}
        for ven in await self._enrolled():
            if ven.virtual_node is None:
                loose.setdefault(ven.area, []).append(ven)
        found = []
        for area, homes in sorted(loose.items()):
            if area in formed:
                taken_out = await self.nodes.taken_out([ven.ven_id for ven in homes])
                reason = "taken out by an operator" if len(taken_out) == len(homes) else "they join at the next turn"
            elif len(homes) < self._homes_min:
                reason = f"{self._homes_min} make a virtual node"
            else:
                reason = "a virtual node is formed at the next turn"
            found.append(WaitingFeeder(area=area, homes=len(homes), reason=reason))
        return found

    async def find(self, name: str) -> NodeRow:
        """The virtual node of this name, or the only one that is called so. Raises NotFound."""
        rows = await self.nodes.nodes(self.program.name, ended=True)
        found = [row for row in rows if row.name == name]
        found = found or [row for row in rows if row.label == name and row.state != ENDED]
        if len(found) != 1:
            raise NotFound("virtual_node_unknown", f"there is no virtual node {name}: `dr-vtn nodes query` shows all")
        return found[0]

    async def members(self, row: NodeRow) -> list[Ven]:
        """Its enrolled homes. Raises NotFound where there is none."""
        found = [ven for ven in await self._enrolled() if ven.virtual_node == row.name]
        if not found:
            raise NotFound("homes_unknown", f"{row.name} has no homes: it is {row.state}")
        return found

    # ---- what is refused

    async def _homes(self, names: Sequence[str]) -> list[Ven]:
        every = await self._enrolled()
        known = {ven.ven_name: ven for ven in every} | {ven.ven_id: ven for ven in every}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise NotFound("ven_unknown", f"no home of {self.program.name} is called {', '.join(unknown)}")
        return list({known[name].ven_id: known[name] for name in names}.values())

    async def _free_label(self, label: str) -> None:
        if not label.strip() or len(label) > LABEL_MAX or not label.isprintable():
            raise InvalidInput("label_invalid", f"a name has 1 to {LABEL_MAX} printable characters")
        for row in await self.nodes.nodes(ended=True):
            if label in (row.name, row.label) and (row.state != ENDED or label == row.name):
                raise Conflict("label_taken", f"{row.name} is called {label} already")

    async def _unbound(self, homes: Sequence[Ven]) -> None:
        if not homes:
            return
        bound = await parties.bound(self.vtn.ledger, self._records, self.vtn.clock.now_ms())
        held = [f"{ven.ven_name} ({bound[ven.party]})" for ven in homes if ven.party in bound]
        if held:
            raise NotAllowed("home_under_contract", f"not while bound: {', '.join(held[:5])}")

    async def _idle(self, row: NodeRow) -> None:
        if row.state == ENDED:
            raise NotAllowed("virtual_node_ended", f"{row.name} has ended")
        if row.party is None:
            return
        running = await parties.running(self.vtn.ledger, self._records, row.party)
        account = await self.vtn.ledger.record(Account, party_account(row.party)) or Account()
        if running or account.debits_pending or account.credits_pending:
            why = f"{', '.join(running[:3])} run" if running else "it has staked or expects money"
            raise NotAllowed("virtual_node_busy", f"{row.name} cannot end: {why}")

    # ---- what follows

    async def _wound_up(self, row: NodeRow) -> str:
        """Money back, and the end. Raises LedgerError."""
        if row.party is None:
            await self.nodes.change(row.name, state=ENDED)
            return "it had no account yet"
        if await parties.running(self.vtn.ledger, self._records, row.party):
            return "a contract was made meanwhile: it ends when that is over"
        vtn, key = self.vtn, PrivateKey.load(self._keys / row.key_file)
        async with LedgerClient(
            vtn.settings.ledger_url, channel=vtn.settings.channel, key=key, party=row.party, clock=vtn.clock
        ) as client:
            if not await parties.funds_returned(client, vtn.party):
                return "some of its money is still held: the aggregator goes on with it"
        await self.nodes.change(row.name, state=ENDED)
        return "its money is back with the aggregator"

    async def _left_small(self, names: set[str | None]) -> list[str]:
        """Groups an operation left too small: it is carried out, and said."""
        homes = await self._enrolled()
        counts = {name: sum(ven.virtual_node == name for ven in homes) for name in sorted(names - {None}, key=str)}
        return [
            f"{name} is left with {small(count, self._homes_min)}"
            for name, count in counts.items()
            if count < self._homes_min
        ]

    async def _view(self, name: str, notes: Sequence[str]) -> NodeView:
        row = next(row for row in await self.nodes.nodes(ended=True) if row.name == name)
        return await self._seen(row, await self._enrolled(), notes=notes)

    async def _seen(
        self, row: NodeRow, homes: Sequence[Ven], *, moves: int = 0, notes: Sequence[str] = ()
    ) -> NodeView:  # fmt: skip
        members = [(ven.ven_id, ven.ven_name) for ven in homes if ven.virtual_node == row.name]
        # Homes come and go between reviews: whether there are enough is counted now.
        flags = tuple(flag for flag in row.quality.flags if not flag.endswith(MEASURED_BADLY))
        if row.state == ACTIVE and len(members) < self._homes_min:
            flags = (small(len(members), self._homes_min), *flags)
        return NodeView(
            group=group_of(row, members), name=row.name, label=row.label, area=row.area, program=row.program,
            party=row.party, made_by=row.made_by, state=row.state, homes=len(members),
            quality=msgspec.structs.replace(row.quality, flags=flags),
            moves=tuple(await self.nodes.moves(node=row.name, limit=moves)) if moves else (), notes=tuple(notes),
        )  # fmt: skip

    async def _enrolled(self) -> list[Ven]:
        return [ven for ven in await self.vtn.vens.list(status=ENROLLED) if ven.program == self.program.name]


def _one_area(homes: Sequence[Ven]) -> str:
    areas = sorted({ven.area for ven in homes})
    if len(areas) > 1:
        raise InvalidInput("feeders_differ", f"the homes are on {', '.join(areas)}: a virtual node crosses no feeder")
    return areas[0]


def _moves(homes: Sequence[Ven], went_to: str, reason: str) -> list[HomeMove]:
    return [
        HomeMove(ven_id=ven.ven_id, came_from=ven.virtual_node or "", went_to=went_to, reason=reason)
        for ven in homes
    ]  # fmt: skip
