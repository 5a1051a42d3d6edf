"""A ledger in memory for tests of the rules: records in a dict, a time that stands still, signatures by a toy scheme.

Every submission checks that a refusal leaves no trace. `journal` keeps what was executed, so that a test can replay it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

import msgspec

from contracts import rules
from contracts.baseline import TEN_OF_TEN, LikeDay, commit
from contracts.core import commands as c
from contracts.core.codec import digest, read
from contracts.core.context import Context
from contracts.core.envelope import Transaction, seal, transaction_id
from contracts.core.facts import Fact
from contracts.core.parties import Role
from contracts.core.state import Writes
from contracts.demand_response.contract import ContractRecord
from contracts.tokens import Account
from tests.builders import START_MS

HOUR_MS = 3_600_000
EVENT_MS = START_MS + 5 * HOUR_MS
END_MS = EVENT_MS + HOUR_MS
SETTLE_MS = END_MS + 900_000
BASELINE = commit(
    TEN_OF_TEN,
    [LikeDay(date=f"2025-12-{day:02d}", event_wh=(600,) * 4, window_wh=(500,) * 12) for day in range(10, 20)],
    EVENT_MS,
)
FOUNDERS = (("utl", Role.UTILITY), ("agg", Role.AGGREGATOR), ("rival", Role.AGGREGATOR), ("aud", Role.AUDITOR))


def key_of(party: str) -> str:
    """The public key of a party."""
    return "ed25519:" + hashlib.sha256(party.encode()).hexdigest()


def sign(key: str, message: bytes) -> bytes:
    """A signature that anyone can make, but only of this key and message."""
    return hashlib.sha512(key.encode() + message).digest()


def verify(key: str, message: bytes, signature: bytes) -> bool:
    """The check that belongs to `sign`."""
    return signature == sign(key, message)


def an_enrolment(party: str, role: Role, sponsor: str, area: str = "F1", key: str | None = None) -> c.Enrolment:
    """A party's wish to join."""
    return c.Enrolment(party=party, role=role, key=key or key_of(party), sponsor=sponsor, area=area)


def an_enrol_party(enrolment: c.Enrolment, signed_with: str | None = None) -> c.EnrolParty:
    """The sponsor's command, with the proof by the new key."""
    proof = sign(signed_with or enrolment.key, c.enrolment_bytes(enrolment))
    return c.EnrolParty(enrolment=enrolment, proof=proof.hex())


def a_request(**given: Any) -> c.RequestReduction:
    """A need of 1 kWh a quarter hour for an hour at 400 minor units/kWh."""
    defaults: dict[str, Any] = {
        "need_id": "need-1", "aggregator": "agg", "area": "F1", "start_ms": EVENT_MS, "interval_s": 900,
        "target_wh": (1000,) * 4, "energy_price_minor_per_mwh": 400_000, "budget_minor": 5000,
    }  # fmt: skip
    return c.RequestReduction(**{**defaults, **given})


def group_terms(**given: Any) -> c.Terms:
    """Terms of an SC1 over the whole need."""
    defaults: dict[str, Any] = {
        "need_id": "need-1", "dr_event_id": "evt-1", "dr_event_digest": "0" * 64, "start_ms": EVENT_MS,
        "interval_s": 900, "obligation_wh": (1000,) * 4, "energy_price_minor_per_mwh": 300_000,
        "penalty_price_minor_per_mwh": 100_000, "tolerance_percent": 20, "cap_percent": 120, "success_percent": 95,
        "partial_percent": 60, "minimum_percent": 70, "deposit_minor": 100, "meter_limit_wh": 10_000,
        "accept_by_ms": START_MS + 600_000, "activate_by_ms": START_MS + 1_200_000, "settle_after_ms": SETTLE_MS,
        "baseline_preset": TEN_OF_TEN.name, "baseline": None, "assisting": (),
    }  # fmt: skip
    return c.Terms(**{**defaults, **given})


def home_terms(**given: Any) -> c.Terms:
    """Terms of an SC2 for 250 Wh a quarter hour under `group_terms()`."""
    defaults: dict[str, Any] = {
        "obligation_wh": (250,) * 4, "energy_price_minor_per_mwh": 200_000, "tolerance_percent": 50,
        "deposit_minor": 20, "baseline": BASELINE,
    }  # fmt: skip
    return group_terms(**{**defaults, **given})


def an_offer(terms: c.Terms, **given: Any) -> c.Offer:
    """An offer of `vn` to `agg` that fits `terms` exactly."""
    defaults: dict[str, Any] = {
        "need_id": terms.need_id, "aggregator": "agg", "virtual_node": "vn", "start_ms": terms.start_ms,
        "interval_s": terms.interval_s, "profile_wh": terms.obligation_wh,
        "energy_price_minor_per_mwh": terms.energy_price_minor_per_mwh, "valid_until_ms": terms.start_ms,
    }  # fmt: skip
    return c.Offer(**{**defaults, **given})


def a_group_setup(
    terms: c.Terms | None = None,
    contract_id: str = "s1",
    payee: str = "vn",
    offer: c.Offer | None = None,
    signed_by: str | None = None,
) -> c.SetupDR:
    """SetupDR of an SC1 with the signed offer of its payee."""
    terms = terms or group_terms()
    offer = offer or an_offer(terms, virtual_node=payee)
    signature = sign(key_of(signed_by or payee), c.offer_bytes(offer)).hex()
    return c.SetupDR(
        contract_id=contract_id, parent=None, payee=payee, terms=terms, offer=offer, offer_signature=signature
    )


def a_home_setup(device: str = "d0", terms: c.Terms | None = None, parent: str = "s1", **given: Any) -> c.SetupDR:
    """SetupDR of an SC2 named s2-<device>."""
    defaults: dict[str, Any] = {
        "contract_id": f"s2-{device}", "parent": parent, "payee": device, "terms": terms or home_terms(),
        "offer": None, "offer_signature": None,
    }  # fmt: skip
    return c.SetupDR(**{**defaults, **given})


class World:
    """One channel with a utility, two aggregators, an auditor, the virtual nodes vn and vn2, and devices d0, d1, ..."""

    def __init__(
        self,
        devices: int = 4,
        funds_minor: int = 500,
        *,
        channel: str = "main",
        members: Iterable[c.Member] = (),
        parent: rules.ParentChannel | None = None,
    ) -> None:
        self.time_ms = START_MS
        self.height = 1
        self.channel = channel
        self.records: dict[tuple[str, str], bytes] = {}
        self.journal: list[tuple[rules.Tick | Transaction, Context, rules.Outcome]] = []
        self._keys: dict[str, list[str]] = {}
        self._nonce = 0
        founders = tuple(an_enrolment(name, role, name, "portfolio") for name, role in FOUNDERS)
        self.origin = f"test/{channel}"
        self.founding = rules.Genesis(
            channel=channel, origin=self.origin, created_ms=START_MS, contracts_root="0" * 64, parties=founders,
            members=tuple(members), parent=parent,
        )  # fmt: skip
        self.first = rules.genesis(self.founding)
        self.take(self.first)
        self.devices = [f"d{n}" for n in range(devices)]
        for name in ("vn", "vn2"):
            self.run("agg", an_enrol_party(an_enrolment(name, Role.VIRTUAL_NODE, "agg")))
        for name in self.devices:
            self.run("agg", an_enrol_party(an_enrolment(name, Role.DEVICE, "agg")))
        if parent is not None:
            return  # its money comes over the bridge
        self.run("utl", c.Issue(to="utl", amount_minor=100_000, reference=""))
        self.run("utl", c.Issue(to="agg", amount_minor=100_000, reference=""))
        for name in ("vn", "vn2", *self.devices) if funds_minor else ():
            self.run("agg", c.Transfer(to=name, amount_minor=funds_minor, reference=""))

    # ---- Reader

    def get(self, kind: str, key: str) -> bytes | None:
        return self.records.get((kind, key))

    def scan(self, kind: str, first: str, last: str, limit: int) -> list[tuple[str, bytes]]:
        keys = self._keys.get(kind, [])
        found = keys[bisect_left(keys, first) : bisect_left(keys, last)][:limit]
        return [(key, self.records[kind, key]) for key in found]

    def take(self, writes: Writes) -> None:
        for (kind, key), data in writes.items():
            known = (kind, key) in self.records
            if data is None and known:
                del self.records[kind, key]
                self._keys[kind].remove(key)
            elif data is not None:
                self.records[kind, key] = data
                if not known:
                    insort(self._keys.setdefault(kind, []), key)

    # ---- driving

    def submit(self, sender: str, command: c.Command, **header: Any) -> rules.Outcome:
        """Executes a command signed by `sender` (or by `signed_by`) and takes its writes."""
        self._nonce += 1
        signer = key_of(header.pop("signed_by", sender))
        given: dict[str, Any] = {
            "channel": self.channel, "contract": c.CONTRACT_OF[type(command)], "sender": sender,
            "nonce": f"n{self._nonce}", "not_after_ms": self.time_ms + HOUR_MS,
        }  # fmt: skip
        salt = self._nonce.to_bytes(32, "big")
        return self.execute(seal(command, salt=salt, sign=lambda data: sign(signer, data), **{**given, **header}))

    def execute(self, item: Transaction | rules.Tick) -> rules.Outcome:
        """Executes an item as it is."""
        name = transaction_id(item.header) if isinstance(item, Transaction) else ""
        context = Context(
            channel=self.channel, height=self.height, time_ms=self.time_ms, transaction_id=name, verify=verify
        )
        outcome = rules.apply(self, item, context)
        if outcome.code != rules.OK:
            assert not outcome.writes, "a refusal leaves no trace"
            assert not outcome.facts, "a refusal leaves no trace"
        self.journal.append((item, context, outcome))
        self.take(outcome.writes)
        return outcome

    def run(self, sender: str, command: c.Command) -> tuple[Fact, ...]:
        """Executes a command that must succeed; its facts."""
        outcome = self.submit(sender, command)
        assert outcome.code == rules.OK, (outcome.code, outcome.detail, command)
        return outcome.facts

    def refused(self, sender: str, command: c.Command, **header: Any) -> str:
        """Executes a command that must be refused; the code."""
        outcome = self.submit(sender, command, **header)
        assert outcome.code != rules.OK, command
        return outcome.code

    def advance(self, time_ms: int) -> list[Fact]:
        """Moves to `time_ms` and works off what fell due, as the blocks of a ledger would."""
        self.time_ms = max(self.time_ms, time_ms)
        happened: list[Fact] = []
        while rules.due(self, self.time_ms):
            outcome = self.execute(rules.Tick())
            assert outcome.code == rules.OK, outcome.detail
            happened += outcome.facts
        return happened

    # ---- stages of an event

    def request(self, **given: Any) -> None:
        """The utility's need."""
        self.run("utl", a_request(**given))

    def accept(self, contract_id: str) -> tuple[Fact, ...]:
        """The payee accepts the terms as they stand."""
        contract = self.contract(contract_id)
        return self.run(contract.payee, self.acceptance(contract_id))

    def acceptance(self, contract_id: str) -> c.AcceptReduction:
        """The acceptance of a contract's terms as they stand."""
        return c.AcceptReduction(contract_id=contract_id, terms_digest=digest(self.contract(contract_id).terms))

    def group(self, **terms: Any) -> None:
        """A need and an accepted SC1 s1."""
        self.request()
        self.run("agg", a_group_setup(group_terms(**terms)))
        self.accept("s1")

    def homes(self, *devices: str, **terms: Any) -> None:
        """Accepted SC2s under s1."""
        for device in devices:
            self.run("vn", a_home_setup(device, home_terms(**terms)))
            self.accept(f"s2-{device}")

    def meter(self, device: str, *delivered_wh: int, window_wh: Iterable[int] = (500,) * 12) -> None:
        """After the event: readings of a home that delivered so much an interval, and of its adjustment window."""
        self.advance(END_MS)
        self.run(device, readings(BASELINE.adjustment_start_ms, *window_wh, device=device))
        if delivered_wh:
            self.run(device, readings(EVENT_MS, *(600 - each for each in delivered_wh), device=device))

    def settle(self, contract_id: str = "s1", sender: str = "agg") -> tuple[Fact, ...]:
        """SettleDR at the first moment it may be."""
        self.advance(SETTLE_MS)
        return self.run(sender, c.SettleDR(contract_id=contract_id))

    def complete(self, contract_id: str = "s1", sender: str = "agg") -> tuple[Fact, ...]:
        """DRCompletion."""
        return self.run(sender, c.DRCompletion(contract_id=contract_id))

    def close(self, need_id: str = "need-1") -> tuple[Fact, ...]:
        """CloseRequest."""
        return self.run("utl", c.CloseRequest(need_id=need_id))

    # ---- looking

    def contract(self, contract_id: str) -> ContractRecord:
        return read(self.records["contract", contract_id], ContractRecord)

    def account(self, name: str) -> Account:
        data = self.records.get(("account", name))
        return Account() if data is None else read(data, Account)

    def accounts(self) -> dict[str, Account]:
        return {name: self.account(name) for name in self._keys.get("account", [])}

    def free(self, name: str) -> int:
        """Free funds of an account; a party is named without its prefix."""
        found = self.account(name if "/" in name or name == "issuance" else f"party/{name}")
        return found.credits_posted - found.debits_posted - found.debits_pending

    def status(self, contract_id: str) -> str:
        return str(self.contract(contract_id).status)


def readings(start_ms: int, *energy_wh: int, device: str = "d0", interval_s: int = 900) -> c.RecordMeasurements:
    """A device's readings from `start_ms` on."""
    return c.RecordMeasurements(device=device, start_ms=start_ms, interval_s=interval_s, energy_wh=energy_wh)


def changed(struct: Any, **given: Any) -> Any:
    """The struct with other values."""
    return msgspec.structs.replace(struct, **given)
