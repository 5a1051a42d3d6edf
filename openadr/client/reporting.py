"""What a VEN says about its reports, whatever it acts for, and the answers it must get."""

from __future__ import annotations

from openadr.client.errors import VtnRefused, VtnUnreachable
from openadr.client.link import Link, demand_success
from openadr.client.registration import NOT_REGISTERED, Registration, new_request_id
from openadr.v2 import (
    OadrRegisteredReport,
    OadrRegisterReport,
    OadrReport,
    OadrResponse,
    OadrUpdatedReport,
    OadrUpdateReport,
)


async def offer(link: Link, reports: tuple[OadrReport, ...], registration: Registration) -> OadrRegisteredReport:
    """Says what can be reported; the answer may ask for some of it. Raises VtnRefused, VtnUnreachable."""
    message = OadrRegisterReport(new_request_id(), reports, registration.ven_id)
    answer = await link.ask_for(message, OadrRegisteredReport)
    demand_success(answer.response)
    if isinstance(answer, OadrResponse):
        raise VtnUnreachable("the VTN answered oadrRegisterReport with OadrResponse")
    return answer


async def deliver(link: Link, report: OadrReport, registration: Registration) -> OadrUpdatedReport | OadrResponse:
    """Sends values; the answer says whether they were taken. Raises VtnUnreachable, and VtnRefused where the VTN does
    not know this VEN."""
    message = OadrUpdateReport(new_request_id(), (report,), registration.ven_id)
    answer = await link.ask_for(message, OadrUpdatedReport)
    if answer.response.response_code == NOT_REGISTERED:
        raise VtnRefused(NOT_REGISTERED, answer.response.response_description)
    return answer
