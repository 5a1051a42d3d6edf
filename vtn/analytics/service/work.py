"""The scheduled analytics as a task of `serve`: one worker does them, and whatever fails harms nothing else.

    leader ── every turn ──▶ due? (schedule, domain clock) ──▶ choice ─▶ day_ahead ─▶ drift, proposals ─▶ intraday
                 │                                                  └── a mark with its outcome, done or refused
                 └── proposals: what the ledger said, what is over

Work is bounded: one slot of each kind at a time, what was missed is skipped, and after each turn that did something the
task rests three times as long as it worked, so that a fast clock takes a quarter of a core at most. What failed (a Dask
scheduler away for a minute) is tried again after a while, three times, as long as its slot is the newest.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.exc import SQLAlchemyError

from forecasting.errors import ForecastError
from ledger.client import LedgerError
from runtime.logs import get_logger
from vtn.analytics.proposing.desk import ProposalDesk, utility
from vtn.analytics.proposing.records import STATES
from vtn.analytics.service.marks import Mark, Marks, Outcome, Raised
from vtn.analytics.service.schedule import Due, due
from vtn.context import Vtn
from vtn.records.leading import leading
from vtn.services.programs import Program

if TYPE_CHECKING:
    from vtn.analytics.service.making import Maker
    from vtn.analytics.subjects import Subjects

LOCK = 0x6772_6964_7572
_FOLLOW_S = 2.0
_TURN_S = 1.0
_REST = 3
_AGAIN_S = (60.0, 300.0, 900.0)
"""Seconds of this machine until a step that failed is tried again: the first time, the second, the third."""

_log = get_logger("vtn.analytics")


class Analytics:
    """The task of one worker; its metrics are on `registry`."""

    def __init__(self, vtn: Vtn, registry: CollectorRegistry) -> None:
        self._vtn = vtn
        self._marks = Marks(vtn.database)
        self._failed: dict[tuple[str, str], tuple[int, int, float]] = {}
        """(program, kind) -> slot, how often it failed, when it may be tried again."""
        self._done = Counter(
            "gridpact_vtn_forecast_runs_total",
            "Scheduled analytics by kind (day_ahead, intraday, choice) and outcome: done, refused, failed",
            ["kind", "outcome"],
            registry=registry,
        )
        self._alarms = Gauge(
            "gridpact_vtn_forecast_alarms",
            "Drift alarms that stood at the last look, by program and scope",
            ["program", "scope"],
            registry=registry,
        )
        self._skill = Gauge(
            "gridpact_vtn_forecast_skill",
            "Skill over the seasonal naive model of the model that was chosen, by program and scope",
            ["program", "scope"],
            registry=registry,
        )

        self._proposals = Gauge(
            "gridpact_vtn_event_proposals", "Proposed events by state", ["state"], registry=registry
        )

    async def run(self, vtn: Vtn) -> None:
        """Works until cancelled; waits while another worker leads. Ends where the extra is not installed."""
        try:
            # Off the event loop: the libraries take seconds.
            making = await asyncio.to_thread(importlib.import_module, "vtn.analytics.service.making")
        except ImportError as error:
            _log.warning("no forecasts are made by the clock: the extra intelligence is missing", reason=str(error))
            return
        async with utility(vtn) as party:
            desk = ProposalDesk(vtn, party)
            maker: Maker = making.Maker(vtn)
            try:
                await self._lead_again_and_again(maker, desk)
            finally:
                maker.stop()

    async def _lead_again_and_again(self, maker: Maker, desk: ProposalDesk) -> None:
        while True:
            async with leading(self._vtn.database, LOCK) as lead:
                if lead is not None:
                    _log.info("this worker makes the forecasts")
                while lead is not None and await lead.held():
                    await self._followed(desk)
                    begun = time.monotonic()
                    worked = await self.turn(maker)
                    await asyncio.sleep(max(_TURN_S, _REST * (time.monotonic() - begun) if worked else 0))
            await asyncio.sleep(_FOLLOW_S)

    async def _followed(self, desk: ProposalDesk) -> None:
        """What became of proposals; a ledger that does not answer is asked again."""
        try:
            await desk.look()
            found = await desk.found()
            for state in STATES:
                self._proposals.labels(state=state).set(sum(each.state == state for each in found))
        except LedgerError as error:
            _log.warning("the ledger is not reached", error=str(error))
        except Exception:
            _log.exception("proposals were not followed")

    async def turn(self, maker: Maker) -> bool:
        """Does what is due; whether there was anything. What fails for one program holds up no other."""
        worked = False
        try:
            programs = await self._vtn.programs.list()
        except SQLAlchemyError as error:
            _log.warning("the database does not answer", error=str(error).splitlines()[0])
            return False
        for program in programs:
            try:
                worked = await self._of_program(maker, program) or worked
            except Exception:
                worked = True
                _log.exception("scheduled analytics failed", program=program.name)
        return worked

    async def _of_program(self, maker: Maker, program: Program) -> bool:
        settings, now_ms = self._vtn.settings, self._vtn.clock.now_ms()
        marks = await self._marks.of_program(program.name)
        found = due(
            program.terms.calendar,
            now_ms,
            {kind: mark.slot_ms for kind, mark in marks.items()},
            intraday_h=settings.forecast_intraday_h,
            choice_days=settings.forecast_choice_days,
        )
        found = [each for each in found if not self._waits(program.name, each)]
        if not found:
            return False
        subject: Subjects | ForecastError
        try:
            subject = await maker.subjects(program.name)  # one history for all that is due
        except ForecastError as error:
            subject = error
        for what in found:
            found_out, result = await self._outcome(maker, what, subject, now_ms)
            self._done.labels(kind=what.kind, outcome=result).inc()
            _log.info("scheduled analytics", program=program.name, kind=what.kind, outcome=result, what=found_out.text)
            if result == "failed" and self._again(program.name, what):
                continue
            self._failed.pop((program.name, what.kind), None)
            await self._mark(program.name, what.kind, what.slot_ms, found_out.text)
            for scope, skill in found_out.skills.items():
                self._skill.labels(program=program.name, scope=scope).set(skill)
            for scope, raised in found_out.alarms.items():
                await self._alarmed(program.name, scope, what.slot_ms, raised)
        return True

    def _waits(self, program: str, what: Due) -> bool:
        slot_ms, _, until = self._failed.get((program, what.kind), (0, 0, 0.0))
        return slot_ms == what.slot_ms and time.monotonic() < until

    def _again(self, program: str, what: Due) -> bool:
        """Whether what failed is to be tried again; then it is not marked as done."""
        slot_ms, times, _ = self._failed.get((program, what.kind), (0, 0, 0.0))
        times = times if slot_ms == what.slot_ms else 0
        if times >= len(_AGAIN_S):
            return False
        self._failed[program, what.kind] = (what.slot_ms, times + 1, time.monotonic() + _AGAIN_S[times])
        return True

    async def _outcome(
        self, maker: Maker, what: Due, subject: Subjects | ForecastError, now_ms: int
    ) -> tuple[Outcome, str]:
        """What came of a step, and in a word: done, refused by the readings, or failed."""
        if isinstance(subject, ForecastError):
            return Outcome(str(subject)), "refused"
        try:
            return await maker.step(what, subject, now_ms), "done"
        except ForecastError as error:
            return Outcome(str(error)), "refused"
        except Exception as error:
            _log.exception("scheduled analytics failed", kind=what.kind, program=subject.program)
            return Outcome(f"failed: {error!r}"[:500]), "failed"

    async def _alarmed(self, program: str, scope: str, slot_ms: int, raised: tuple[Raised, ...]) -> None:
        self._alarms.labels(program=program, scope=scope).set(len(raised))
        for each in raised:
            _log.warning("forecasts drifted", program=program, scope=scope, watch=each.watch, why=each.text)
        await self._mark(program, f"drift-{scope}", slot_ms, f"{len(raised)} alarms", raised)

    async def _mark(self, program: str, kind: str, slot_ms: int, outcome: str, alarms: tuple[Raised, ...] = ()) -> None:
        done_ms = self._vtn.clock.now_ms()
        await self._marks.put(
            Mark(program=program, kind=kind, slot_ms=slot_ms, done_ms=done_ms, outcome=outcome, alarms=alarms)
        )
