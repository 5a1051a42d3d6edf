"""Virtual nodes as they are kept: who made each and why, what it is called, every move of a home, every review.

    virtual_nodes ◀── vens.virtual_node (the name)      a row first, then a key, then a party on the ledger
         └── virtual_node_moves                         one row for each home and move, with the reason
    virtual_node_reviews                                what a review saw, moved, and left for later

A row and the homes it takes are written in one transaction; whatever follows can be done again after a crash.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    RowMapping,
    Table,
    Text,
    delete,
    func,
    select,
    update,
)
from sqlalchemy import cast as sa_cast
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.clock import Clock
from vtn.auth import audit
from vtn.errors import Conflict
from vtn.records.database import WAKE_CHANNEL, Database
from vtn.records.tables import metadata, vens

virtual_nodes = Table(
    "virtual_nodes",
    metadata,
    Column("name", Text, primary_key=True, comment="groupID on the wire; never given twice"),
    Column("label", Text, nullable=False, comment="what people call it"),
    Column("program", Text, nullable=False),
    Column("area", Text, nullable=False, comment="feeder"),
    Column("made_by", Text, nullable=False, comment="formation, operator"),
    Column("state", Text, nullable=False, comment="active, ending, ended"),
    Column("key_file", Text, nullable=False, comment="within the folder of keys"),
    Column("party", Text, unique=True, comment="ledger party; null until its key is there"),
    Column("quality", LargeBinary, nullable=False, comment="Quality as JSON"),
    Column("version", Integer, nullable=False, comment="counts changes from 1"),
    Column("made_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Index("virtual_nodes_by_area", "program", "area"),
)

virtual_node_moves = Table(
    "virtual_node_moves",
    metadata,
    Column("sequence", BigInteger, Identity(always=True), primary_key=True),
    Column("moved_ms", BigInteger, nullable=False),
    Column("ven_id", Text, nullable=False),
    Column("came_from", Text, nullable=False, comment="virtual node; empty: it was in none"),
    Column("went_to", Text, nullable=False, comment="virtual node; empty: it is in none"),
    Column("kind", Text, nullable=False, comment="formed, joined, reviewed, operator, ended"),
    Column("reason", Text, nullable=False),
    Index("virtual_node_moves_by_ven", "ven_id", "sequence"),
)

virtual_node_reviews = Table(
    "virtual_node_reviews",
    metadata,
    Column("program", Text, nullable=False),
    Column("reviewed_ms", BigInteger, nullable=False),
    Column("review", LargeBinary, nullable=False, comment="GroupReview as JSON"),
    PrimaryKeyConstraint("program", "reviewed_ms"),
)

ACTIVE, ENDING, ENDED = "active", "ending", "ended"
FORMATION, OPERATOR = "formation", "operator"
Kind = Literal["formed", "joined", "reviewed", "operator", "ended"]


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Why the group is as it is, and how good. silhouette: -1 to 1, None where there is no other group to compare with;
    spread: mean distance of its homes from their centre; flags: what is wrong."""

    reason: str
    silhouette: float | None = None
    spread: float | None = None
    flags: tuple[str, ...] = ()
    measured_ms: int = 0


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual node as kept; see the table."""

    name: str
    label: str
    program: str
    area: str
    made_by: str
    state: str
    key_file: str
    party: str | None
    quality: Quality
    version: int
    made_ms: int
    changed_ms: int


class HomeMove(msgspec.Struct, frozen=True, kw_only=True):
    """A home that changes its virtual node; "" is none."""

    ven_id: str
    came_from: str
    went_to: str
    reason: str
    moved_ms: int = 0
    kind: str = ""


class AreaReview(msgspec.Struct, frozen=True, kw_only=True):
    """A feeder in a review: what came of it, and the mean silhouette of its homes before and after."""

    outcome: str
    silhouette_before: float | None = None
    silhouette_after: float | None = None


class GroupReview(msgspec.Struct, frozen=True, kw_only=True):
    """A review. leaning: home -> (the group it is nearer to, reviews in a row); splits: group -> reviews in a row in
    which it would be better as two; waiting: moves whose homes were bound, done as soon as they are free."""

    program: str
    reviewed_ms: int
    metric: str = "traits"
    seed: int = 1
    areas: dict[str, AreaReview] = {}
    leaning: dict[str, tuple[str, int]] = {}
    splits: dict[str, int] = {}
    waiting: tuple[HomeMove, ...] = ()
    moved: int = 0


class NodeRecords:
    """Reads and writes of the tables above."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def nodes(self, program: str | None = None, *, ended: bool = False) -> list[NodeRow]:
        """Virtual nodes by name; those that have ended only if asked for."""
        query = select(virtual_nodes).order_by(virtual_nodes.c.name)
        if program is not None:
            query = query.where(virtual_nodes.c.program == program)
        if not ended:
            query = query.where(virtual_nodes.c.state != ENDED)
        async with self._database.reading() as connection:
            return [_node(row) for row in (await connection.execute(query)).mappings()]

    async def taken_names(self) -> set[str]:
        """Names that were ever given."""
        async with self._database.reading() as connection:
            return set(await connection.scalars(select(virtual_nodes.c.name)))

    async def add(self, made: Sequence[tuple[NodeRow, Sequence[HomeMove]]], kind: Kind) -> dict[str, list[str]]:
        """New virtual nodes with their first homes, in one transaction: half of the groups of a feeder would be others.
        Returns the homes each got. Raises Conflict for a name that is taken: another process was faster."""
        done: dict[str, list[str]] = {}
        async with self._database.transaction() as connection:
            for node, moves in made:
                row = msgspec.structs.asdict(node) | {"quality": msgspec.json.encode(node.quality)}
                stored = await connection.execute(
                    insert(virtual_nodes).values(row).on_conflict_do_nothing().returning(virtual_nodes.c.name)
                )
                if stored.first() is None:
                    raise Conflict("virtual_node_exists", f"there is a virtual node {node.name} already")
                done[node.name] = await self._move(connection, moves, kind)
                await audit.record(
                    connection, "virtual_node_created", node.name, area=node.area, label=node.label,
                    homes=len(done[node.name]), reason=node.quality.reason,
                )  # fmt: skip
        return done

    async def move(
        self, moves: Sequence[HomeMove], kind: Kind, changes: Mapping[str, Mapping[str, Any]] | None = None
    ) -> list[str]:
        """Moves homes that are still where they come from, writes each down, and changes columns of virtual nodes
        (`changes`: name -> column -> value) in the same transaction; returns the homes that were moved."""
        async with self._database.transaction() as connection:
            done = await self._move(connection, moves, kind)
            for name, values in (changes or {}).items():
                await self._change(connection, name, **values)
            for name in sorted(
                {each.came_from for each in moves} | {each.went_to for each in moves} | set(changes or ())
            ):
                if name and (done or changes):
                    await audit.record(
                        connection, "virtual_node_changed", name, kind=kind,
                        joined=sum(each.went_to == name and each.ven_id in done for each in moves),
                        left=sum(each.came_from == name and each.ven_id in done for each in moves),
                        **{key: value for key, value in (changes or {}).get(name, {}).items() if key != "quality"},
                    )  # fmt: skip
            return done

    async def change(self, name: str, **values: Any) -> None:
        """Changes columns of a virtual node; `quality` as a Quality."""
        async with self._database.transaction() as connection:
            await self._change(connection, name, **values)

    async def moves(self, *, ven_id: str | None = None, node: str | None = None, limit: int = 200) -> list[HomeMove]:
        """The newest moves, newest first: of a home, from or to a virtual node, or all."""
        m = virtual_node_moves.c
        query = select(m.ven_id, m.came_from, m.went_to, m.reason, m.moved_ms, m.kind)
        if ven_id is not None:
            query = query.where(m.ven_id == ven_id)
        if node is not None:
            query = query.where((m.came_from == node) | (m.went_to == node))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query.order_by(m.sequence.desc()).limit(limit))).mappings()
            return [HomeMove(**row) for row in rows]

    async def moved_since(self, node: str, since_ms: int) -> dict[int, set[str]]:
        """Homes that came to a virtual node or left it after an instant, by the time of each move."""
        m = virtual_node_moves.c
        query = select(m.moved_ms, m.ven_id).where((m.came_from == node) | (m.went_to == node), m.moved_ms > since_ms)
        found: dict[int, set[str]] = {}
        async with self._database.reading() as connection:
            for moved_ms, ven_id in await connection.execute(query):
                found.setdefault(moved_ms, set()).add(ven_id)
        return found

    async def taken_out(self, ven_ids: Collection[str]) -> dict[str, str]:
        """Homes an operator took out of a virtual node and put into none since: home -> that virtual node."""
        m = virtual_node_moves.c
        last = (
            select(m.ven_id, func.max(m.sequence).label("sequence"))
            .where(m.ven_id == func.any(list(ven_ids)))
            .group_by(m.ven_id)
            .subquery()
        )
        query = select(m.ven_id, m.came_from).join(last, last.c.sequence == m.sequence)
        async with self._database.reading() as connection:
            found = await connection.execute(query.where(m.kind == "operator", m.went_to == ""))
            return {row.ven_id: row.came_from for row in found}

    async def keep(self, review: GroupReview) -> None:
        """Keeps a review; the same one again replaces it. Those of a clock that was ahead are forgotten."""
        table = virtual_node_reviews.c
        ahead = delete(virtual_node_reviews).where(
            table.program == review.program, table.reviewed_ms > review.reviewed_ms
        )
        row = {"program": review.program, "reviewed_ms": review.reviewed_ms, "review": msgspec.json.encode(review)}
        statement = insert(virtual_node_reviews).values(row)
        async with self._database.transaction() as connection:
            await connection.execute(ahead)
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["program", "reviewed_ms"], set_={"review": statement.excluded.review}
                )
            )

    async def reviews(self, program: str, limit: int = 1) -> list[GroupReview]:
        """The newest reviews, newest first."""
        table = virtual_node_reviews.c
        query = select(table.review).where(table.program == program).order_by(table.reviewed_ms.desc()).limit(limit)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).scalars().all()
        return [msgspec.json.decode(data, type=GroupReview) for data in found]

    async def _move(self, connection: AsyncConnection, moves: Sequence[HomeMove], kind: str) -> list[str]:
        now_ms = self._clock.now_ms()
        done: list[str] = []
        ways: dict[tuple[str, str], list[HomeMove]] = {}
        for each in moves:
            ways.setdefault((each.came_from, each.went_to), []).append(each)
        for (came_from, went_to), those in ways.items():
            query = (
                update(vens)
                .where(vens.c.ven_id == func.any([each.ven_id for each in those]))
                .where(func.coalesce(vens.c.virtual_node, "") == came_from)
                .values(virtual_node=went_to or None)
                .returning(vens.c.ven_id)
            )
            moved = set(await connection.scalars(query))
            rows = [
                {"moved_ms": now_ms, "ven_id": each.ven_id, "came_from": came_from, "went_to": went_to, "kind": kind,
                 "reason": each.reason}
                for each in those if each.ven_id in moved
            ]  # fmt: skip
            if rows:
                await connection.execute(insert(virtual_node_moves), rows)
            done += sorted(moved)
        if done:
            topics = func.unnest(sa_cast([f"ven:{ven_id}" for ven_id in done], ARRAY(Text)))
            await connection.execute(select(func.pg_notify(WAKE_CHANNEL, topics)))
        return done

    async def _change(self, connection: AsyncConnection, name: str, **values: Any) -> None:
        if isinstance(values.get("quality"), Quality):
            values["quality"] = msgspec.json.encode(values["quality"])
        table = virtual_nodes.c
        values |= {"version": table.version + 1, "changed_ms": self._clock.now_ms()}
        await connection.execute(update(virtual_nodes).where(table.name == name).values(**values))


def _node(row: RowMapping) -> NodeRow:
    return NodeRow(**{**row, "quality": msgspec.json.decode(row["quality"], type=Quality)})
