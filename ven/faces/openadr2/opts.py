"""EiOpt: the owner's opt schedules told to the VTN, and taken back.

    schedule, not told ── oadrCreateOpt ──▶ told ── cancelled by the owner ── oadrCancelOpt ──▶ done

An answer ends it, also one with an error: the home keeps to its owner's schedule whatever the VTN makes of it.
"""

from __future__ import annotations

from openadr.client.link import Link, demand_success, is_success
from openadr.client.registration import Registration, new_request_id
from openadr.errors import ResponseCode
from openadr.model import Target
from openadr.v2 import (
    Availability,
    OadrCanceledOpt,
    OadrCancelOpt,
    OadrCreatedOpt,
    OadrCreateOpt,
)
from runtime.logs import get_logger
from ven.home.store import Store
from ven.home.store.schedules import OptSchedule

_log = get_logger("ven.faces.openadr2.opts")


class OptDesk:
    """Tells the VTN what it does not know."""

    def __init__(self, link: Link, store: Store, *, home: str) -> None:
        self._link = link
        self._store = store
        self._home = home

    async def say(self, registration: Registration) -> None:
        """Sends what is not told. Raises VtnRefused, VtnUnreachable."""
        for schedule in self._store.schedules.untold():
            if schedule.cancelled:
                await self._send(OadrCancelOpt(new_request_id(), schedule.opt_id, registration.ven_id), schedule)
            else:
                await self._send(_message(schedule, registration), schedule)

    async def _send(self, message: OadrCreateOpt | OadrCancelOpt, schedule: OptSchedule) -> None:
        kind: type[OadrCreatedOpt | OadrCanceledOpt] = (
            OadrCreatedOpt if isinstance(message, OadrCreateOpt) else OadrCanceledOpt
        )
        answer = await self._link.ask_for(message, kind)
        if answer.response.response_code == ResponseCode.NOT_REGISTERED_OR_AUTHORIZED:
            demand_success(answer.response)
        if not is_success(answer.response):
            _log.warning(
                "opt schedule not taken",
                home=self._home,
                opt_id=schedule.opt_id,
                code=answer.response.response_code,
                why=answer.response.response_description,
            )
        self._store.schedules.mark_told(schedule.opt_id, cancelled=schedule.cancelled)


def _message(schedule: OptSchedule, registration: Registration) -> OadrCreateOpt:
    target = Target("ven", registration.ven_id) if schedule.resource is None else Target("resource", schedule.resource)
    return OadrCreateOpt(
        request_id=new_request_id(),
        opt_id=schedule.opt_id,
        opt_type=schedule.opt,
        opt_reason=schedule.reason,
        ven_id=registration.ven_id,
        created_ms=schedule.created_ms,
        market_context=schedule.market_context,
        availability=tuple(
            Availability(start_ms, (end_ms - start_ms) // 1000) for start_ms, end_ms in schedule.windows
        ),
        targets=(target,),
    )
