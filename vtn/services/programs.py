"""Programs: the terms under which events are called and paid. No price, percentage or deadline is anywhere else."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from sqlalchemy import RowMapping, insert, select, update

from forecasting.calendar import SiteCalendar
from runtime.clock import Clock
from vtn.errors import Conflict, InvalidInput, NotFound
from vtn.records.database import Database
from vtn.records.tables import programs


class ProgramTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms of a program. Prices are minor units per MWh, deposits minor units, times seconds of the domain clock,
    `_bp` basis points. The defaults are those of the demonstration, not of a market.

    A virtual node asks what its devices cost it at `device_price_..` and their reliability, plus
    `virtual_node_margin_percent`, at most `virtual_node_price_..`, and pays its devices out of that. Of an obligation
    `.._tolerance_percent` may be missing without penalty; delivered energy earns up to `cap_percent`;
    `success_percent` and `partial_percent` decide the outcome; `minimum_percent` accepted starts a contract at once.
    A reading beyond `connection_w`, either way, is no valid one. A payee has `accept_window_s` to answer; nobody is
    called less than `notice_s` (or `accept_window_s`, if that is less) before it has to act: some polls; readings may
    come until `metering_grace_s` after the end.

    A home is asked for `derate_percent` of what its forecast says it can shed, and not at all for less than
    `call_wh_min`; `reserve_percent` of the members are not offered but kept to replace others; who has no history
    counts as having delivered `reliability_prior_bp` of `reliability_prior_events` contracts.

    What a group delivers more or less than was expected is believed as far as its baseline lets it be measured:
    `baseline_noise_percent` is twice the standard error of a group's baseline (the default that of 20 homes). Others
    are called for what is then missing, and homes let go of what is too much.

    A home is called at most `calls_per_day`, `.._week` (or what its owner set, if less) and `.._season` (183 days), and
    never `calls_above_mean` more than the mean of its group. Members are chosen so that an obligation is met with
    `meeting_probability_percent`, in all its intervals at once (`meeting_probability_mode` is "joint") or in each by
    itself ("each"), where what moves all homes at once varies by `common_variation_percent`. What homes take back after
    the end may be at most `snapback_percent` of the mean obligation in an interval.

    Which days are like which follows from `zone`, `holidays` (local dates) and `weekend` (days of the week, Monday 0).
    """

    zone: str = "UTC"
    holidays: tuple[str, ...] = ()
    weekend: tuple[int, ...] = (5, 6)
    interval_s: int = 900
    history_days: int = 15
    connection_w: int = 25_000
    baseline_preset: str = "10of10-additive"
    priority: int = 1
    signal_level: int = 1

    virtual_node_price_minor_per_mwh: int = 160_000
    virtual_node_margin_percent: int = 30
    virtual_node_penalty_minor_per_mwh: int = 100_000
    virtual_node_tolerance_percent: int = 20
    virtual_node_deposit_minor: int = 500
    device_price_minor_per_mwh: int = 100_000
    device_penalty_minor_per_mwh: int = 50_000
    device_tolerance_percent: int = 300
    device_deposit_minor: int = 50

    cap_percent: int = 120
    success_percent: int = 90
    partial_percent: int = 60
    minimum_percent: int = 70

    accept_window_s: int = 1_800
    notice_s: int = 300
    metering_grace_s: int = 3_600

    derate_percent: int = 80
    call_wh_min: int = 200
    reserve_percent: int = 20
    reliability_prior_bp: int = 9_000
    reliability_prior_events: int = 10

    baseline_noise_percent: int = 40
    calls_per_day: int = 2
    calls_per_week: int = 7
    calls_per_season: int = 100
    calls_above_mean: int = 20
    meeting_probability_percent: int = 60
    meeting_probability_mode: str = "joint"
    common_variation_percent: int = 3
    snapback_percent: int = 100

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and value < 0:
                raise ValueError(f"{name} must not be negative")
        if self.interval_s < 60 or 86_400 % self.interval_s:
            raise ValueError("interval_s must divide a day and be at least 60")
        if self.device_price_minor_per_mwh > self.virtual_node_price_minor_per_mwh:
            raise ValueError("a device would be paid more than its virtual node")
        if not 0 < self.partial_percent <= self.success_percent <= self.cap_percent:
            raise ValueError("0 < partial_percent <= success_percent <= cap_percent does not hold")
        if not 50 <= self.meeting_probability_percent <= 99 or self.common_variation_percent > 20:
            raise ValueError("meeting_probability_percent is 50 to 99, common_variation_percent 20 at most")
        if self.meeting_probability_mode not in ("joint", "each"):
            raise ValueError("meeting_probability_mode is joint or each")
        _ = self.calendar
        if self.signal_level not in (1, 2, 3):
            raise ValueError("signal_level is 1, 2 or 3 (rule 9)")

    @property
    def calendar(self) -> SiteCalendar:
        """Zone, holidays and weekend of the program's homes."""
        holidays = frozenset(date.fromisoformat(day) for day in self.holidays)
        return SiteCalendar(self.zone, holidays, frozenset(self.weekend))


class Program(msgspec.Struct, frozen=True):
    """A program; `market_context` is its URI on the wire, `version` counts changes of its terms from 1."""

    name: str
    version: int
    market_context: str
    terms: ProgramTerms
    created_ms: int
    changed_ms: int


class Programs:
    """Programs in PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, name: str, terms: ProgramTerms | None = None, market_context: str | None = None) -> Program:
        """A new program; the same one again is returned as it is. Raises Conflict if it exists with other terms."""
        if not name or name != name.strip() or len(name) > 96:
            raise InvalidInput("name_invalid", f"{name!r} is no name of a program: 1 to 96 characters")
        now_ms = self._clock.now_ms()
        terms = terms or ProgramTerms()
        context = market_context or f"urn:gridpact:program:{name}"
        async with self._database.transaction() as connection:
            row = (await connection.execute(select(programs).where(programs.c.name == name))).mappings().first()
            if row is None:
                program = Program(name, 1, context, terms, now_ms, now_ms)
                await connection.execute(insert(programs), _to_row(program))
                return program
        found = _program(row)
        if found.terms != terms or found.market_context != context:
            raise Conflict("program_exists", f"a program {name} exists with other terms: use `programs update`")
        return found

    async def update(self, name: str, terms: ProgramTerms) -> Program:
        """New terms for contracts from now on; running ones keep theirs. Raises NotFound."""
        async with self._database.transaction() as connection:
            query = select(programs).where(programs.c.name == name).with_for_update()
            row = (await connection.execute(query)).mappings().first()
            if row is None:
                raise _unknown(name)
            found = _program(row)
            if found.terms == terms:
                return found
            changed = msgspec.structs.replace(
                found, terms=terms, version=found.version + 1, changed_ms=self._clock.now_ms()
            )
            await connection.execute(update(programs).where(programs.c.name == name).values(**_to_row(changed)))
        return changed

    async def get(self, name: str) -> Program:
        """Raises NotFound."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(programs).where(programs.c.name == name))).mappings().first()
        if row is None:
            raise _unknown(name)
        return _program(row)

    async def list(self) -> list[Program]:
        """All programs by name."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(programs).order_by(programs.c.name))).mappings().all()
        return [_program(row) for row in rows]


def _to_row(program: Program) -> dict[str, Any]:
    row = msgspec.structs.asdict(program)
    return row | {"terms": msgspec.json.encode(program.terms)}


def _program(row: RowMapping) -> Program:
    return Program(**{**row, "terms": msgspec.json.decode(row["terms"], type=ProgramTerms)})


def _unknown(name: str) -> NotFound:
    return NotFound("program_unknown", f"there is no program {name}: `dr-vtn programs list` shows those there are")
