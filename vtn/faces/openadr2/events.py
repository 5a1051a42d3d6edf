"""EiEvent: every answer carries ALL applicable events; opt states are taken event by event."""

from __future__ import annotations

import secrets
from collections.abc import Set

from sqlalchemy.ext.asyncio import AsyncConnection

from openadr.v2 import (
    EiResponse,
    EventResponse,
    OadrCreatedEvent,
    OadrDistributeEvent,
    OadrRequestEvent,
    OadrResponse,
    distribute,
)
from runtime.clock import Clock
from runtime.logs import get_logger
from vtn.errors import VtnError
from vtn.faces.openadr2.answers import failure
from vtn.records.database import Database
from vtn.services.deliveries import EventDelivery, hand_out, record_opt
from vtn.services.vens import Ven

_log = get_logger("vtn.openadr2.events")


class Events:
    """The service on the VTN's events."""

    def __init__(self, database: Database, clock: Clock, *, vtn_id: str) -> None:
        self._database = database
        self._clock = clock
        self._vtn_id = vtn_id

    async def request(self, message: OadrRequestEvent, ven: Ven) -> OadrDistributeEvent:
        """All events of the VEN, also when there are none.

        `reply_limit` is not followed: an event that is left out would be cancelled by that (rule 58).
        """
        return await self.distribute(ven, EiResponse(request_id=message.request_id))

    async def distribute(self, ven: Ven, response: EiResponse | None = None) -> OadrDistributeEvent:
        """The message with all events of the VEN now; they are noted as delivered."""
        async with self._database.transaction() as connection:
            return await self.distribute_within(connection, ven, response)

    async def distribute_within(
        self,
        connection: AsyncConnection,
        ven: Ven,
        response: EiResponse | None = None,
        *,
        open_keys: Set[str] | None = None,
    ) -> OadrDistributeEvent:
        """As `distribute`, inside a transaction; `open_keys` as of `hand_out`."""
        now_ms = self._clock.now_ms()
        events = await hand_out(connection, ven.ven_id, now_ms, report_only=ven.report_only, open_keys=open_keys)
        # rule 41: the answers refer to this id
        request_id = f"dist-{secrets.token_hex(8)}"
        return distribute(
            events, vtn_id=self._vtn_id, request_id=request_id, now_ms=now_ms, response=response or EiResponse()
        )

    async def created(self, message: OadrCreatedEvent, ven: Ven) -> OadrResponse:
        """optIn and optOut, each event on its own (rule 19): 450 for another modification, 452 for an unknown event.

        An answer with an error code is an optOut, whatever it says besides: the VEN will not do it.
        """
        now_ms = self._clock.now_ms()
        request_id = message.response.request_id
        # One transaction, its rows locked in one order: an answer to thousands of events is one commit, and two that
        # overlap do not wait for each other for ever. What is refused has changed nothing.
        answers = sorted(enumerate(message.event_responses), key=lambda each: each[1].event_id)
        failures: dict[int, EiResponse] = {}
        taken: list[EventDelivery] = []
        async with self._database.transaction() as connection:
            for place, answer in answers:
                try:
                    delivery = await record_opt(
                        connection,
                        ven.ven_id,
                        answer.event_id,
                        answer.modification_number,
                        _meant(answer),
                        now_ms,
                    )
                except VtnError as error:
                    failures[place] = failure(error, request_id)
                    continue
                taken.append(delivery)
        for delivery in taken:
            _log.info("event answered", dr_event_id=delivery.event_id, ven_id=ven.ven_id, state=delivery.state)
        if not failures:
            return OadrResponse(EiResponse(request_id=request_id), ven.ven_id)
        refused = [failures[place] for place in sorted(failures)]
        description = "; ".join(each.response_description for each in refused)
        return OadrResponse(EiResponse(refused[0].response_code, description[:500], request_id), ven.ven_id)


def _meant(answer: EventResponse) -> str:
    if answer.response_code < 300:
        return answer.opt_type
    why = (answer.response_description or "")[:200]
    _log.warning("event refused by the VEN", dr_event_id=answer.event_id, code=answer.response_code, why=why)
    return "optOut"
