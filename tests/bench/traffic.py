"""Signed demand-response traffic, the same for the same arguments: what a utility, an aggregator, virtual nodes and
their homes send from a need to the payment, with real keys.

    need ─ SC1 ─ accept ─ SC2 x homes ─ accept x homes ─ window readings ─ event's ─ settle ─ complete
    0 h                                           4 h               6 h       6 h 15

An event is a list of stages, each due at a domain time: readings of an interval that is not over are refused. The
parties come either with the state they stand on (`population`, for growth without a million transactions) or as the
transactions that enrol and fund them (`enrolment`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

from contracts.baseline import TEN_OF_TEN, window_start_ms
from contracts.core import commands as c
from contracts.core.codec import digest, encode
from contracts.core.envelope import seal
from contracts.core.parties import Party, PartyKey, PartyStatus, Role
from contracts.core.state import Record, Writes
from contracts.tokens import ISSUANCE, Account, party_account
from ledger.client import party_id
from runtime.keys import PrivateKey
from tests.builders import a_key

UTILITY, AGGREGATOR = a_key(101), a_key(102)
"""The founders of tests.ledger.running."""
UTILITY_ID = party_id(Role.UTILITY, UTILITY.public)
AGGREGATOR_ID = party_id(Role.AGGREGATOR, AGGREGATOR.public)

HOMES: Final = 26
INTERVAL_S: Final = 900
INTERVALS: Final = 4
HOUR_MS: Final = 3_600_000
LEAD_MS: Final = 5 * HOUR_MS
"""From the need to its start."""

_STEP_MS: Final = INTERVAL_S * 1000
_WINDOW: Final = TEN_OF_TEN.window_s // INTERVAL_S
_FUNDS_MINOR: Final = 10**9
_HOME_WH: Final = 250
_YEAR_MS: Final = 365 * 24 * HOUR_MS
_TRANSFER_EVERY: Final = 4


@dataclass(frozen=True, slots=True, order=True)
class Stage:
    """Transactions (canonical bytes) that may be sent from `due_ms` on, in this order."""

    due_ms: int
    event: int
    name: str
    transactions: tuple[bytes, ...]


@dataclass(frozen=True)
class Group:
    """A virtual node with its homes."""

    number: int
    homes_count: int

    @cached_property
    def key(self) -> PrivateKey:
        return _key(f"virtual node {self.number}")

    @cached_property
    def party(self) -> str:
        return party_id(Role.VIRTUAL_NODE, self.key.public)

    @cached_property
    def homes(self) -> tuple[tuple[str, PrivateKey], ...]:
        keys = [_key(f"home {self.number}/{home}") for home in range(self.homes_count)]
        return tuple((party_id(Role.DEVICE, key.public), key) for key in keys)


class Traffic:
    """accounts: how many parties hold money; the first `groups` virtual nodes and their homes act, the rest only exist.

    epoch_ms: domain time of the first need. Event n starts `spacing_ms` after event n - 1; a group's events lie at
    least `LEAD_MS` + 2 h apart, so that its homes' windows and engagements do not overlap. batch: readings that a home
    sends at once (1, 2 or 4): 1 as homes do, each interval as it closes, 12 before the event and 4 in it."""

    def __init__(
        self,
        *,
        accounts: int,
        epoch_ms: int,
        groups: int = 64,
        homes: int = HOMES,
        batch: int = 1,
        channel: str = "main",
    ) -> None:
        self.channel = channel
        self.accounts = accounts
        self.epoch_ms = epoch_ms
        self.batch = batch
        self.groups = [Group(number, homes) for number in range(max(1, min(groups, accounts // (homes + 1))))]
        apart = -(-(LEAD_MS + 2 * HOUR_MS) // len(self.groups))
        self.spacing_ms = -(-apart // 1000) * 1000

    # ---- parties

    def founders(self) -> tuple[c.Enrolment, ...]:
        """Who must be in the genesis."""
        roles = ((Role.UTILITY, UTILITY_ID, UTILITY), (Role.AGGREGATOR, AGGREGATOR_ID, AGGREGATOR))
        return tuple(
            c.Enrolment(party=party, role=role, key=key.public, sponsor=party, area="portfolio")
            for role, party, key in roles
        )

    def population(self) -> Writes:
        """The records of all parties but the founders, funded out of issuance, and the founders' accounts."""
        writes: Writes = {}
        acting = [(group.party, group.key.public, Role.VIRTUAL_NODE) for group in self.groups]
        acting += [(party, key.public, Role.DEVICE) for group in self.groups for party, key in group.homes]
        for party, public, role in [*acting, *_idle(self.accounts - len(acting))]:
            _put(writes, party, _party(party, public, role))
            _put(writes, public, PartyKey(party=party))
            _put(writes, party_account(party), Account(credits_posted=_FUNDS_MINOR))
        for party in (UTILITY_ID, AGGREGATOR_ID):
            _put(writes, party_account(party), Account(credits_posted=_FUNDS_MINOR * 1000))
        total = _FUNDS_MINOR * (max(self.accounts, len(acting)) + 2000)
        _put(writes, ISSUANCE, Account(debits_posted=total))
        return writes

    def enrolment(self) -> Iterator[bytes]:
        """The transactions that enrol and fund the acting parties on a founded ledger, in order."""
        for to in (UTILITY_ID, AGGREGATOR_ID):
            issue = c.Issue(to=to, amount_minor=10**14, reference="")
            yield self._sealed(UTILITY_ID, UTILITY, issue, f"issue-{to}")
        for group in self.groups:
            joining = [(group.party, group.key, Role.VIRTUAL_NODE)]
            joining += [(party, key, Role.DEVICE) for party, key in group.homes]
            for party, key, role in joining:
                wish = c.Enrolment(party=party, role=role, key=key.public, sponsor=AGGREGATOR_ID, area="F1")
                command = c.EnrolParty(enrolment=wish, proof=key.sign(c.enrolment_bytes(wish)).hex())
                yield self._sealed(AGGREGATOR_ID, AGGREGATOR, command, f"enrol-{party}")
                funds = c.Transfer(to=party, amount_minor=_FUNDS_MINOR, reference="")
                yield self._sealed(AGGREGATOR_ID, AGGREGATOR, funds, f"fund-{party}")

    # ---- events

    def stages(self, events: int, first: int = 0) -> Iterator[Stage]:
        """The stages of these events in order of time."""
        return heapq.merge(*(self.event(number) for number in range(first, first + events)))

    def event(self, number: int) -> list[Stage]:
        """One need with its contracts, from its request to its close."""
        group = self.groups[number % len(self.groups)]
        now_ms = self.epoch_ms + number * self.spacing_ms
        grid_ms = -(-(now_ms + LEAD_MS) // _STEP_MS) * _STEP_MS
        plan = _Event(self, group, number, start_ms=grid_ms)
        end_ms = grid_ms + INTERVALS * _STEP_MS
        step_ms = self.batch * _STEP_MS
        return [
            Stage(now_ms, number, "propose", tuple(plan.proposal())),
            Stage(now_ms + 60_000, number, "contract", tuple(plan.setups())),
            Stage(now_ms + 120_000, number, "accept", tuple(plan.acceptances())),
            *(
                Stage(start_ms + step_ms, number, name, tuple(plan.readings(start_ms, self.batch)))
                for name, first_ms, last_ms in (
                    ("window", plan.window_ms, plan.window_ms + _WINDOW * _STEP_MS),
                    ("event", grid_ms, end_ms),
                )
                for start_ms in range(first_ms, last_ms, step_ms)
            ),
            Stage(end_ms + 900_000, number, "settle", tuple(plan.settlement())),
        ]

    def _sealed(self, sender: str, key: PrivateKey, command: c.Command, nonce: str) -> bytes:
        made = seal(
            command,
            channel=self.channel,
            contract=c.CONTRACT_OF[type(command)],
            sender=sender,
            nonce=sha256(nonce.encode()).hexdigest()[:32],
            not_after_ms=self.epoch_ms + 10 * _YEAR_MS,
            salt=sha256(f"salt {nonce}".encode()).digest(),
            sign=key.sign,
        )
        return encode(made)


class _Event:
    """The commands of one event."""

    def __init__(self, traffic: Traffic, group: Group, number: int, start_ms: int) -> None:
        self.group, self.number, self.start_ms = group, number, start_ms
        self.window_ms = window_start_ms(TEN_OF_TEN, start_ms)
        self.need_id, self.sc1 = f"need-{number}", f"sc1-{number}"
        self._traffic = traffic
        self._terms_of: dict[str, c.Terms] = {}

    def proposal(self) -> Iterator[bytes]:
        homes = len(self.group.homes)
        profile, price = (_HOME_WH * homes,) * INTERVALS, 200_000
        place: dict[str, Any] = {"need_id": self.need_id, "start_ms": self.start_ms, "interval_s": INTERVAL_S}
        request = c.RequestReduction(
            aggregator=AGGREGATOR_ID, area="F1", target_wh=profile, energy_price_minor_per_mwh=price,
            budget_minor=2 * sum(profile) * price // 1_000_000, **place,
        )  # fmt: skip
        yield self._sealed(UTILITY_ID, UTILITY, request)
        offer = c.Offer(
            aggregator=AGGREGATOR_ID, virtual_node=self.group.party, profile_wh=profile,
            energy_price_minor_per_mwh=140_000, valid_until_ms=self.start_ms, **place,
        )  # fmt: skip
        terms = self._terms(self.sc1, profile, 150_000, tolerance_percent=20, deposit_minor=500)
        signature = self.group.key.sign(c.offer_bytes(offer)).hex()
        setup = c.SetupDR(
            contract_id=self.sc1, parent=None, payee=self.group.party, terms=terms, offer=offer,
            offer_signature=signature,
        )  # fmt: skip
        yield self._sealed(AGGREGATOR_ID, AGGREGATOR, setup)
        yield self._accept(self.sc1, self.group.party, self.group.key)

    def setups(self) -> Iterator[bytes]:
        for home, (party, _) in enumerate(self.group.homes):
            baseline = c.BaselineCommitment(
                preset=TEN_OF_TEN.name, preset_version=TEN_OF_TEN.version,
                history_digest=sha256(f"{self.number}/{home}".encode()).hexdigest(),
                curve_wh=tuple(600 + (home * 37 + n * 11) % 90 for n in range(INTERVALS)),
                adjustment_start_ms=self.window_ms,
                adjustment_wh=tuple(500 + (home * 29 + n * 7) % 80 for n in range(_WINDOW)),
                adjustment_cap_percent=TEN_OF_TEN.cap_percent,
            )  # fmt: skip
            name = self._sc2(home)
            terms = self._terms(
                name, (_HOME_WH,) * INTERVALS, 100_000, tolerance_percent=50, deposit_minor=50, baseline=baseline
            )
            setup = c.SetupDR(
                contract_id=name, parent=self.sc1, payee=party, terms=terms, offer=None, offer_signature=None
            )
            yield self._sealed(self.group.party, self.group.key, setup)

    def acceptances(self) -> Iterator[bytes]:
        for home, (party, key) in enumerate(self.group.homes):
            yield self._accept(self._sc2(home), party, key)

    def readings(self, start_ms: int, count: int) -> Iterator[bytes]:
        """Each home's batch, and with the event's first of every fourth home a transfer to its virtual node."""
        for home, (party, key) in enumerate(self.group.homes):
            level = 500 if start_ms < self.start_ms else 360
            values = tuple(level + (home * 31 + n * 13 + self.number) % 60 for n in range(count))
            command = c.RecordMeasurements(device=party, start_ms=start_ms, interval_s=INTERVAL_S, energy_wh=values)
            yield self._sealed(party, key, command)
            if start_ms == self.start_ms and home % _TRANSFER_EVERY == 0:
                gift = c.Transfer(to=self.group.party, amount_minor=1, reference=f"fee {self.number}/{home}")
                yield self._sealed(party, key, gift)

    def settlement(self) -> Iterator[bytes]:
        for command in (c.SettleDR(contract_id=self.sc1), c.DRCompletion(contract_id=self.sc1)):
            yield self._sealed(self.group.party, self.group.key, command)
        yield self._sealed(UTILITY_ID, UTILITY, c.CloseRequest(need_id=self.need_id))

    def _sc2(self, home: int) -> str:
        return f"sc2-{self.number}-{home}"

    def _accept(self, contract_id: str, party: str, key: PrivateKey) -> bytes:
        terms = self._terms_of[contract_id]
        return self._sealed(party, key, c.AcceptReduction(contract_id=contract_id, terms_digest=digest(terms)))

    def _terms(self, name: str, obligation_wh: tuple[int, ...], price: int, **given: Any) -> c.Terms:
        end_ms = self.start_ms + len(obligation_wh) * _STEP_MS
        defaults: dict[str, Any] = {
            "need_id": self.need_id, "dr_event_id": f"evt-{self.number}",
            "dr_event_digest": sha256(self.sc1.encode()).hexdigest(), "start_ms": self.start_ms,
            "interval_s": INTERVAL_S, "obligation_wh": obligation_wh, "energy_price_minor_per_mwh": price,
            "penalty_price_minor_per_mwh": 50_000, "cap_percent": 120, "success_percent": 90, "partial_percent": 60,
            "minimum_percent": 70, "meter_limit_wh": 5_750, "accept_by_ms": self.start_ms - HOUR_MS,
            "activate_by_ms": self.start_ms - HOUR_MS, "settle_after_ms": end_ms + 900_000,
            "baseline_preset": TEN_OF_TEN.name, "baseline": None, "assisting": (),
        }  # fmt: skip
        terms = self._terms_of[name] = c.Terms(**{**defaults, **given})
        return terms

    def _sealed(self, sender: str, key: PrivateKey, command: c.Command) -> bytes:
        what = getattr(command, "contract_id", "") or getattr(command, "start_ms", "")
        nonce = f"{self.number}/{type(command).__name__}/{sender}/{what}"
        return self._traffic._sealed(sender, key, command, nonce)


def blocks(stages: Iterator[Stage], size: int) -> Iterator[tuple[int, list[bytes]]]:
    """The transactions of stages in blocks of at most `size`, each with a time at which all of its stages are due."""
    contents: list[bytes] = []
    time_ms = 0
    for stage in stages:
        time_ms = max(time_ms, stage.due_ms)
        for content in stage.transactions:
            contents.append(content)
            if len(contents) == size:
                yield time_ms, contents
                contents = []
    if contents:
        yield time_ms, contents


def _key(name: str) -> PrivateKey:
    return PrivateKey.from_seed(sha256(f"traffic/{name}".encode()).digest())


def _idle(count: int) -> Iterator[tuple[str, str, Role]]:
    """Parties that never sign: their keys are random points."""
    for number in range(count):
        public = "ed25519:" + sha256(b"idle %d" % number).hexdigest()
        yield f"dev-{sha256(public.encode()).hexdigest()[:16]}", public, Role.DEVICE


def _party(party: str, public: str, role: Role) -> Party:
    return Party(party=party, role=role, key=public, sponsor=AGGREGATOR_ID, area="F1", status=PartyStatus.ACTIVE)


def _put(writes: Writes, key: str, record: Record) -> None:
    writes[record.KIND, key] = encode(record)
