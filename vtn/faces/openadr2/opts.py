"""EiOpt: create and cancel."""

from __future__ import annotations

from openadr.v2 import EiResponse, OadrCanceledOpt, OadrCancelOpt, OadrCreatedOpt, OadrCreateOpt
from vtn.errors import NotAllowed, VtnError
from vtn.faces.openadr2.answers import failure
from vtn.services.opts import Opt, Opts, OptSchedule
from vtn.services.vens import Ven


class Opting:
    """The service on the VTN's opts."""

    def __init__(self, opts: Opts) -> None:
        self._opts = opts

    async def create(self, message: OadrCreateOpt, ven: Ven) -> OadrCreatedOpt:
        """Keep the opt; for an event it decides over later oadrCreatedEvent (rule 206). 462 for another VEN's."""
        others = [each.value for each in message.targets if each.kind == "ven" and each.value != ven.ven_id]
        if others:
            error = NotAllowed("target_mismatch", f"{ven.ven_id} does not opt for {', '.join(others)}")
            return OadrCreatedOpt(failure(error, message.request_id), message.opt_id)
        opt = Opt(
            ven_id=ven.ven_id,
            opt_id=message.opt_id,
            opt_type=message.opt_type,
            opt_reason=message.opt_reason,
            event_id=message.event_id,
            modification_number=message.modification_number,
            schedule=OptSchedule(
                availability=tuple((each.start_ms, each.duration_s) for each in message.availability),
                targets=message.targets,
                device_classes=message.device_classes,
                market_context=message.market_context,
            ),
        )
        try:
            await self._opts.create(opt)
        except VtnError as error:
            return OadrCreatedOpt(failure(error, message.request_id), message.opt_id)
        return OadrCreatedOpt(EiResponse(request_id=message.request_id), message.opt_id)

    async def cancel(self, message: OadrCancelOpt, ven: Ven) -> OadrCanceledOpt:
        """Withdraw the opt."""
        try:
            await self._opts.cancel(ven.ven_id, message.opt_id)
        except VtnError as error:
            return OadrCanceledOpt(failure(error, message.request_id), message.opt_id)
        return OadrCanceledOpt(EiResponse(request_id=message.request_id), message.opt_id)
