"""A home's parts for tests, with the numbers that make arithmetic easy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contracts.core.codec import digest as terms_digest
from contracts.core.commands import Terms
from forecasting.calendar import SiteCalendar
from openadr.model import DrEvent, digest
from tests.builders import START_MS, a_dr_event, device_terms
from ven.devices.home_spec import Appliance, HomeSpec, OwnerLimits
from ven.devices.household import Household
from ven.devices.profile import Profile
from ven.home.store import Contract, ContractState, Store, StoredEvent

DAY_MS = 86_400_000
STEP_MS = 900_000
UTC = SiteCalendar("UTC")


opened: list[Store] = []


def a_store(folder: Path) -> Store:
    store = Store(folder / "ven.sqlite")
    opened.append(store)
    return store


def a_household(*, days_before: int = 30, days_after: int = 2, load_wh: int = 500, home_id: str = "H1") -> Household:
    """A home of `load_wh` a quarter of an hour, of which 800 permille can be shed at once, without snapback."""
    count = (days_before + days_after) * 96
    profile = Profile(home_id, START_MS - days_before * DAY_MS, 900, (load_wh,) * count, (0,) * count)
    spec = HomeSpec(
        response_delay_s=0,
        appliances=(Appliance("heater", 800, 1, 0, 3600),),
        limits=OwnerLimits(max_shed_w=1500, max_duration_s=6 * 3600, comfort_wh=20_000, rest_s=3600),
    )
    return Household(profile, spec)


def a_stored_contract(contract_id: str = "sc2-1", terms: Terms | None = None, **given: Any) -> Contract:
    """A contract as a home keeps it, accepted."""
    terms = device_terms() if terms is None else terms
    defaults: dict[str, Any] = {
        "parent": "sc1-1",
        "payer": "vn-1",
        "received_ms": terms.accept_by_ms - 3_600_000,
        "terms": terms,
        "terms_digest": terms_digest(terms),
        "state": ContractState.ACCEPTED,
    }
    return Contract(contract_id=contract_id, **{**defaults, **given})


def a_stored_event(event: DrEvent | None = None, **given: Any) -> StoredEvent:
    """An event as a home keeps it, not answered."""
    event = a_dr_event() if event is None else event
    defaults: dict[str, Any] = {
        "digest": digest(event),
        "offset_s": 0,
        "request_id": "request-1",
        "gone": False,
        "opt": None,
        "opt_code": 200,
        "opt_reason": "",
        "sent": None,
        "received_ms": event.start_ms - 7_200_000,
    }
    return StoredEvent(event=event, **{**defaults, **given})
