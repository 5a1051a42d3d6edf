"""Who this home is to its VTN and on the ledger, as enrolment left it."""

from __future__ import annotations

from datetime import date

import msgspec

from forecasting.calendar import SiteCalendar
from ven.account.wallet import MAIN
from ven.errors import NotEnrolled
from ven.home.store import Notes

_NOTE = "identity"
_POLICY_NOTE = "policy"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment. `ledger_url` and `party` are empty at a VTN without contracts; `channel` is where its contracts
    live; `site_zone` is the IANA zone of the site; `holidays` are ISO dates,
    `weekend` the days of the week on which people rest, Monday 0."""

    ven_name: str
    ven_id: str | None
    openadr2_url: str
    vtn_url: str = ""
    ledger_url: str = ""
    channel: str = MAIN
    party: str = ""
    sponsor: str = ""
    area: str = ""
    program: str = ""
    site_zone: str = "UTC"
    holidays: tuple[str, ...] = ()
    weekend: tuple[int, ...] = (5, 6)

    def calendar(self, holidays: tuple[str, ...] = ()) -> SiteCalendar:
        """The site's calendar with further holidays. Raises ValueError for an unknown zone or a wrong date."""
        dates = frozenset(date.fromisoformat(day) for day in (*self.holidays, *holidays))
        return SiteCalendar(self.site_zone, dates, frozenset(self.weekend))


def read_identity(notes: Notes) -> Identity:
    """Raises NotEnrolled."""
    found = notes.read(_NOTE, Identity)
    if found is None:
        raise NotEnrolled("this home is not enrolled: run `dr-ven enrol --invitation FILE --data-dir DIR`")
    return found


def is_enrolled(notes: Notes) -> bool:
    return notes.read_bytes(_NOTE) is not None


def write_identity(notes: Notes, identity: Identity, policy: bytes) -> None:
    notes.write_bytes(_POLICY_NOTE, policy)
    notes.write(_NOTE, identity)


def read_policy(notes: Notes) -> bytes:
    """The trust file the home was enrolled with; empty if there was none."""
    return notes.read_bytes(_POLICY_NOTE) or b""
