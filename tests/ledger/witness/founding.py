"""A ledger of one member whose policy names external witnesses."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.core.parties import Role
from ledger.config import LedgerSettings
from ledger.founding import Founded, contracts_root, found
from ledger.verify.note import VerifierKey
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, UTILITY, an_enrolment

MEMBER = "member.example/1"


def founded(settings: LedgerSettings, witnesses: Sequence[VerifierKey], required: int) -> Founded:
    """Found it in the settings' folder, as tests.ledger.running continues it."""
    return found(
        settings,
        parties=[an_enrolment(Role.UTILITY, UTILITY), an_enrolment(Role.AGGREGATOR, AGGREGATOR)],
        channel="main",
        origin="ledger.example/main",
        member=MEMBER,
        contracts_root=contracts_root(),
        created_ms=START_MS,
        witnesses=witnesses,
        required=required,
    )
