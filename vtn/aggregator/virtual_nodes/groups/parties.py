"""What makes a group a party: a name of its own, a key file, an enrolment on the ledger; and its money, while it ends.

Every step looks first whether it was done: after kill -9 between any two of them the next turn goes on.

    row in virtual_nodes ──▶ key file ──▶ EnrolParty ──▶ contracts ──▶ no contract runs ──▶ funds back ──▶ ended
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

import msgspec

from contracts.core.commands import Enrolment, EnrolParty, Transfer, enrolment_bytes
from contracts.core.parties import Party, Role
from contracts.core.units import Id
from contracts.demand_response.contract import ContractRecord, EngagementRecord, Status, terms_end_ms
from contracts.tokens import Account, party_account
from ledger.client import LedgerClient, Refused, party_id
from runtime.errors import KeyFileError
from runtime.keys import PrivateKey
from vtn.aggregator.records import AggregatorRecords

OVER = (Status.COMPLETED, Status.REJECTED, Status.EXPIRED)
_FILE_NAME_MAX = 180


def first_name(area: str) -> str:
    """The name of the first virtual node of a feeder."""
    return f"vn-{area}"


def free_name(area: str, taken: Collection[str], areas: Collection[str]) -> str:
    """A name nobody has: vn-F1, then vn-F1-2 and so on, but none that is the first name of another feeder."""
    reserved = {first_name(each) for each in areas if each != area}
    number, name = 1, first_name(area)
    while name in taken or name in reserved:
        number += 1
        name = f"{first_name(area)}-{number}"
    return name


def key_file(keys: Path, name: str) -> str:
    """The file of a virtual node's key within the folder: its name, or the name made safe where it is no file name. A
    key that is there under the plain name stays where it is."""
    plain = f"{name}.key"
    with contextlib.suppress(OSError, ValueError):  # no name of a file at all: too long, or with a NUL in it
        path = keys / plain
        if path.resolve().is_relative_to(keys.resolve()) and path.is_file():
            return plain
    safe = quote(name, safe="")
    if len(safe) > _FILE_NAME_MAX:
        safe = f"{safe[:_FILE_NAME_MAX]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{safe}.key"


def ledger_takes(area: str) -> bool:
    """Is this a feeder's name a party can be enrolled with?"""
    try:
        msgspec.convert(area, Id)
    except msgspec.ValidationError:
        return False
    return True


def own_key(path: Path) -> PrivateKey:
    """The key of a virtual node, made where there is none yet. Raises KeyFileError."""
    if path.exists():
        return PrivateKey.load(path)
    try:
        return PrivateKey.create(path)
    except KeyFileError:
        if not path.exists():
            raise
        return PrivateKey.load(path)  # another process was faster


async def enrolled(ledger: LedgerClient, key: PrivateKey, area: str) -> str:
    """The party of a virtual node's key, enrolled by the aggregator where it is not. Raises LedgerError."""
    party = party_id(Role.VIRTUAL_NODE, key.public)
    if await ledger.record(Party, party) is None:
        sponsor = ledger.party or ""
        enrolment = Enrolment(party=party, role=Role.VIRTUAL_NODE, key=key.public, sponsor=sponsor, area=area)
        proof = key.sign(enrolment_bytes(enrolment)).hex()
        try:
            await ledger.submit(EnrolParty(enrolment=enrolment, proof=proof))
        except Refused as error:
            if error.code != "party_exists":
                raise
    return party


async def running(ledger: LedgerClient, records: AggregatorRecords, party: str) -> list[str]:
    """Contracts of open needs that bind this virtual node and are not over."""
    found = []
    for request in await records.open_needs():
        for prefix in (f"sc1-{request.need_id}-", f"sc2-{request.need_id}-"):
            for key, contract in await ledger.records(ContractRecord, prefix):
                if party in (contract.payer, contract.payee) and contract.status not in OVER:
                    found.append(key)
    return found


async def bound(ledger: LedgerClient, records: AggregatorRecords, now_ms: int) -> dict[str, str]:
    """Devices that are under contract, or planned for a need that runs, with the reason: they stay where they are."""
    found = {
        key.split("/")[0]: f"under contract {engagement.contract_id}"
        for key, engagement in await ledger.records(EngagementRecord)
        if engagement.end_ms > now_ms
    }
    for request in await records.open_needs():
        for group in await records.group_plans(request.need_id):
            for plan in await records.device_plans(group.contract_id):
                if terms_end_ms(plan.terms) > now_ms:
                    found.setdefault(plan.device, f"planned for the need {request.need_id}")
    return found


async def funds_returned(ledger: LedgerClient, to: str) -> bool:
    """Sends all free funds of the client's party to the aggregator; True once nothing is left, free or held. Raises
    LedgerError."""
    account = await ledger.record(Account, party_account(ledger.party or "")) or Account()
    free = account.credits_posted - account.debits_posted - account.debits_pending
    if free > 0:
        # The nonce names the state that was seen: repeated after a lost answer it is the same transfer.
        nonce = f"return-{account.credits_posted}-{account.debits_posted}-{account.debits_pending}"
        transfer = Transfer(to=to, amount_minor=free, reference="the virtual node ends")
        try:
            await ledger.submit(transfer, nonce=nonce)
        except Refused as error:
            if error.code != "nonce_reused":
                raise
        account = await ledger.record(Account, party_account(ledger.party or "")) or Account()
    return account.credits_posted == account.debits_posted and not account.debits_pending
