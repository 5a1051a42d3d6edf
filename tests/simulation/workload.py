"""What clients send: real signed transactions from enrolment to payment, resent until their outcome is known.

founders    enrol a virtual node and homes, issue and hand out money
payers      transfers, alone and in batches; some sent twice at once, reused nonces, overdrafts, forgeries
story       a need, its contracts, acceptances (or none), readings, settlement, completion
closing     once faults have stopped: ends every contract that is left, as anybody may
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from random import Random
from typing import Any

from contracts.baseline import TEN_OF_TEN, window_start_ms
from contracts.core import commands as c
from contracts.core.codec import digest, encode, read
from contracts.core.envelope import seal
from contracts.core.parties import Role
from contracts.demand_response.contract import ContractRecord, Level, Status
from contracts.demand_response.needs import NeedRecord
from ledger.client import party_id
from ledger.cluster.proposal import Proposal
from ledger.errors import ReplicaError
from ledger.ordering.pool import TransactionResult
from ledger.ordering.transactions import parse
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_key
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID
from tests.simulation.cluster import CHANNEL, Cluster, Member, described
from tests.simulation.judge import Violation
from tests.simulation.models.network import Unreachable

INTERVAL_S = 900
STEP_MS = INTERVAL_S * 1000
HOMES_MAX = 3

_YEAR_MS = 365 * 86_400_000
_RETRIES_MAX = 400
_FUNDS_MINOR = 100_000
_HOPELESS = ("form_invalid", "bad_signature", "commitment_mismatch", "body_invalid", "transaction_expired")
ENDED = (Status.COMPLETED, Status.REJECTED, Status.EXPIRED)


@cache
def _key(name: str) -> PrivateKey:
    return a_key(int.from_bytes(sha256(name.encode()).digest()[:4], "big") + 10_000)


@cache
def keys() -> dict[str, PrivateKey]:
    """Party -> key."""
    found = {UTILITY_ID: UTILITY, AGGREGATOR_ID: AGGREGATOR, virtual_node(): _key("virtual node")}
    return found | {home(n): _key(f"home {n}") for n in range(HOMES_MAX)}


@cache
def virtual_node() -> str:
    return party_id(Role.VIRTUAL_NODE, _key("virtual node").public)


@cache
def home(number: int) -> str:
    return party_id(Role.DEVICE, _key(f"home {number}").public)


@lru_cache(20_000)
def sealed(sender: str, command: c.Command, nonce: str = "", not_after_ms: int = START_MS + _YEAR_MS) -> bytes:
    """The canonical bytes of a signed transaction, the same for the same arguments."""
    made = sha256(encode([sender, nonce, type(command).__name__]) + encode(command))
    transaction = seal(
        command,
        channel=CHANNEL,
        contract=c.CONTRACT_OF[type(command)],
        sender=sender,
        nonce=nonce or made.hexdigest()[:32],
        not_after_ms=not_after_ms,
        salt=made.digest(),
        sign=keys()[sender].sign,
    )
    return encode(transaction)


def enrolment(role: Role, name: str) -> bytes:
    """The aggregator enrols a party."""
    key = _key(name)
    wish = c.Enrolment(party=party_id(role, key.public), role=role, key=key.public, sponsor=AGGREGATOR_ID, area="F1")
    return sealed(AGGREGATOR_ID, c.EnrolParty(enrolment=wish, proof=key.sign(c.enrolment_bytes(wish)).hex()))


def transfer(number: int, amount_minor: int = 1, sender: str = AGGREGATOR_ID, nonce: str = "") -> bytes:
    """A payment to the utility."""
    return sealed(sender, c.Transfer(to=UTILITY_ID, amount_minor=amount_minor, reference=f"{number}"), nonce)


class Client:
    """Sends through one replica, and through another when that one does not answer."""

    def __init__(self, name: str, cluster: Cluster, random: Random) -> None:
        self.name = name
        self.cluster = cluster
        self.random = random
        self._at: Member | None = None

    async def settle(self, *contents: bytes) -> list[TransactionResult]:
        """Resend until the outcome of each is known. Raises Violation where that takes for ever."""
        outcome: dict[bytes, TransactionResult] = {}
        for attempt in range(_RETRIES_MAX):
            wanted = [content for content in contents if content not in outcome]
            if not wanted:
                return [outcome[content] for content in contents]
            for content, result in zip(wanted, await self.send(wanted), strict=False):
                if result.height is not None or result.code in _HOPELESS:
                    outcome[content] = result
            if len(outcome) < len(contents):
                await asyncio.sleep(0.05 + 0.2 * self.random.random() * min(attempt, 5))
        raise Violation(f"{self.name}: no outcome of {parse(contents[0]).id[:16]} after {_RETRIES_MAX} attempts")

    async def send(self, contents: Sequence[bytes], to: Member | None = None) -> list[TransactionResult]:
        """Once; what is not answered is missing at the end."""
        member = self._at = to or self._at or self.random.choice(self.cluster.members)
        judge = self.cluster.judge

        async def submit(replica: Any) -> list[TransactionResult]:
            results: list[TransactionResult] = await replica.submit(contents)
            judge.replied(member, results)
            return results

        try:
            results: list[TransactionResult] = await self._ask(member, submit)
        except (Unreachable, ReplicaError) as error:
            judge.counts[f"client met {type(error).__name__}"] += 1
            self._at = None
            return []
        for result in results:
            judge.answered(member.name, result)
        if any(result.status == "unknown" for result in results):
            judge.counts["client met unknown"] += 1
            self._at = None
        return results

    async def entrust(self, content: bytes, to: Member | None = None) -> None:
        """Send it once and never again: who answers "unknown" has it in its queue."""
        member = to or self.random.choice(self.cluster.members)
        process, replica = member.process, member.replica
        results = await self.send([content], member)
        unknown = [result.id for result in results if result.id is not None and result.status == "unknown"]
        if unknown and process is not None and process.alive and member.replica is replica:
            self.cluster.judge.taken(member, process, unknown[0])

    async def records(self, kind: str) -> list[tuple[str, bytes]]:
        """All records of a kind, as of now: read after everything that was ordered before."""

        async def read_current(replica: Any) -> Any:
            await replica.current()
            return await replica.records(kind, "", "", 1_000)

        while True:
            member = self.random.choice(self.cluster.members)
            try:
                return await self._ask(member, read_current)  # type: ignore[no-any-return]
            except (Unreachable, ReplicaError):
                await asyncio.sleep(0.1)

    async def _ask(self, member: Member, question: Callable[[Any], Awaitable[Any]]) -> Any:
        return await self.cluster.network.ask(self.name, member.name, question, timeout_s=2.0)

    async def until_ms(self, domain_ms: int) -> None:
        """Sleep until the true domain time."""
        await self.cluster.clock.sleep_until(domain_ms)


async def found(client: Client, homes: int) -> None:
    """Parties and money."""
    funding = [
        sealed(UTILITY_ID, c.Issue(to=to, amount_minor=10**9, reference="")) for to in (UTILITY_ID, AGGREGATOR_ID)
    ]
    joining = [enrolment(Role.VIRTUAL_NODE, "virtual node")]
    joining += [enrolment(Role.DEVICE, f"home {n}") for n in range(homes)]
    await client.settle(*funding, *joining)
    poor = [virtual_node(), *(home(n) for n in range(homes))]
    gifts = [c.Transfer(to=to, amount_minor=_FUNDS_MINOR, reference="gift") for to in poor]
    await client.settle(*(sealed(AGGREGATOR_ID, gift) for gift in gifts))


async def pay(client: Client, first: int, count: int, until_s: float) -> None:
    """Transfers at random times until `until_s`, with what hostile and hasty clients do."""
    random, loop = client.random, client.cluster.loop
    number, last = first, first + count
    while number < last:
        batch = min(random.choice((1, 1, 1, 2, 5)), last - number)
        contents = [transfer(n) for n in range(number, number + batch)]
        number += batch
        trick = random.random()
        if trick < 0.15:
            contents.append(transfer(number, 2, nonce=f"shared-{random.randrange(3)}"))
        elif trick < 0.25:
            contents.append(transfer(number, 10**12))
        elif trick < 0.35:
            contents.append(_forged(transfer(number, 3)))
        if trick > 0.7:
            other = Client(client.name, client.cluster, random)
            await asyncio.gather(client.settle(*contents), other.settle(*contents))
        else:
            await client.settle(*contents)
        left_s = max(until_s - loop.time(), 0.0)
        await asyncio.sleep(random.random() * 2 * left_s * batch / max(last - number, 1))


async def entrust(client: Client, first: int, until_s: float) -> None:
    """Transfers that are sent once: here and there, and to a proposer at the moment it loses its place."""
    numbers, process = itertools.count(first), client.cluster.loop.current()

    def rush(leader: Member) -> None:
        for _ in range(2):
            client.cluster.loop.spawn(process, client.entrust(transfer(next(numbers), 4), leader))

    client.cluster.rushed = rush
    while client.cluster.loop.time() < until_s:
        await client.entrust(transfer(next(numbers), 4))
        await asyncio.sleep(0.6 * client.random.random())


async def change_members(client: Client, until_s: float) -> None:
    """One more member joins; when it is one, a founder leaves."""
    cluster, random = client.cluster, client.random
    await asyncio.sleep(random.random() * until_s / 3)
    new = cluster.admit(cluster.shape.members)
    cluster.start(new)
    founders = [member for member in cluster.members if member is not new]
    signers = random.sample(founders, len(founders) // 2 + 1)
    await _changed(client, "add", new.name, described(new.number), [*signers, new])
    while new not in cluster.present():
        await client.settle(transfer(900_000 + cluster.newest().height))
        await asyncio.sleep(0.02)
    cluster.judge.note(f"{new.name} is a member")
    if random.random() < 0.7:
        gone = random.choice(founders)
        await _changed(client, "remove", gone.name, None, [member for member in cluster.members if member is not gone])


async def _changed(client: Client, change: Any, name: str, added: c.Member | None, signers: Sequence[Member]) -> None:
    """Submits the change again, for a later height, where its height came too near."""
    for _ in range(20):
        founded, height = signers[0].founded, client.cluster.newest().height
        proposal = Proposal(
            ledger=digest(founded.genesis), channel=CHANNEL, change=change, name=name, member=added,
            effective_height=height + 12 + client.random.randrange(4),
        )  # fmt: skip
        approvals = [proposal.approve(each.name, each.founded.cosigner_key) for each in signers]
        (result,) = await client.settle(sealed(AGGREGATOR_ID, proposal.command(approvals)))
        if result.code not in ("too_early", "change_pending"):
            client.cluster.judge.note(f"{change} {name} from {proposal.effective_height}: {result.code}")
            client.cluster.judge.counts[f"{change} member {result.code}"] += 1
            return


def _forged(content: bytes) -> bytes:
    at = content.index(b'"signature":"') + len('"signature":"')
    return content[:at] + (b"0" if content[at : at + 1] != b"0" else b"1") + content[at + 1 :]


class Story:
    """One need from its request to the moment its contracts can be settled; whoever stays silent is expired."""

    def __init__(self, client: Client, number: int, homes: int) -> None:
        self.client = client
        self.random = client.random
        self.homes = homes
        now_ms = client.cluster.clock.now_ms()
        self.need_id, self.sc1 = f"need-{number}", f"sc1-{number}"
        self.start_ms = -(-(now_ms + STEP_MS) // STEP_MS) * STEP_MS
        self.accept_by_ms = now_ms + (self.start_ms - now_ms) // 2
        self.place: dict[str, Any] = {"need_id": self.need_id, "start_ms": self.start_ms, "interval_s": INTERVAL_S}

    async def tell(self) -> None:
        """Until its readings are in."""
        settle, random = self.client.settle, self.random
        await settle(*self._proposal())
        terms = self._terms((1000,), 300_000, 100)
        if random.random() < 0.1:
            return  # SC1 expires
        await settle(sealed(virtual_node(), self._acceptance(self.sc1, terms)))
        homes = [home for home in range(self.homes) if random.random() < 0.9]
        await settle(*(sealed(virtual_node(), self._home_setup(home)) for home in homes))
        accepted = [home for home in homes if random.random() < 0.85]
        for number in accepted:
            accept = self._acceptance(self._sc2(number), self._home_terms())
            await settle(sealed(home(number), accept))
        for number in set(homes) - set(accepted):
            if random.random() < 0.5:
                reject = c.RejectReduction(contract_id=self._sc2(number), reason="")
                await settle(sealed(home(number), reject))
        window_ms = window_start_ms(TEN_OF_TEN, self.start_ms)
        await settle(*(self._readings(number, window_ms, (500,) * 12) for number in accepted))
        await self.client.until_ms(self.start_ms + STEP_MS)
        await settle(*(self._readings(number, self.start_ms, (random.randrange(100, 700),)) for number in accepted))

    def _proposal(self) -> list[bytes]:
        request = c.RequestReduction(
            aggregator=AGGREGATOR_ID, area="F1", target_wh=(1000,), energy_price_minor_per_mwh=400_000,
            budget_minor=5_000, **self.place,
        )  # fmt: skip
        offer = c.Offer(
            aggregator=AGGREGATOR_ID, virtual_node=virtual_node(), profile_wh=(1000,),
            energy_price_minor_per_mwh=300_000, valid_until_ms=self.start_ms, **self.place,
        )  # fmt: skip
        setup = c.SetupDR(
            contract_id=self.sc1, parent=None, payee=virtual_node(), terms=self._terms((1000,), 300_000, 100),
            offer=offer, offer_signature=keys()[virtual_node()].sign(c.offer_bytes(offer)).hex(),
        )  # fmt: skip
        return [sealed(UTILITY_ID, request), sealed(AGGREGATOR_ID, setup)]

    def _terms(self, obligation_wh: tuple[int, ...], price: int, deposit: int, **given: Any) -> c.Terms:
        defaults: dict[str, Any] = {
            "dr_event_id": "evt-1", "dr_event_digest": "0" * 64, "obligation_wh": obligation_wh,
            "energy_price_minor_per_mwh": price, "penalty_price_minor_per_mwh": 100_000, "tolerance_percent": 20,
            "cap_percent": 120, "success_percent": 95, "partial_percent": 60, "minimum_percent": 70,
            "deposit_minor": deposit, "meter_limit_wh": 10_000, "accept_by_ms": self.accept_by_ms,
            "activate_by_ms": self.start_ms, "settle_after_ms": self.start_ms + STEP_MS + 300_000,
            "baseline_preset": TEN_OF_TEN.name, "baseline": None, "assisting": (),
        }  # fmt: skip
        return c.Terms(**{**defaults, **self.place, **given})

    def _home_terms(self) -> c.Terms:
        baseline = c.BaselineCommitment(
            preset=TEN_OF_TEN.name, preset_version=TEN_OF_TEN.version, history_digest="0" * 64, curve_wh=(600,),
            adjustment_start_ms=window_start_ms(TEN_OF_TEN, self.start_ms), adjustment_wh=(500,) * 12,
            adjustment_cap_percent=TEN_OF_TEN.cap_percent,
        )  # fmt: skip
        return self._terms((300,), 200_000, 20, baseline=baseline)

    def _home_setup(self, number: int) -> c.SetupDR:
        return c.SetupDR(
            contract_id=self._sc2(number), parent=self.sc1, payee=home(number), terms=self._home_terms(), offer=None,
            offer_signature=None,
        )  # fmt: skip

    def _sc2(self, number: int) -> str:
        return f"{self.sc1}-home-{number}"

    def _acceptance(self, contract_id: str, terms: c.Terms) -> c.AcceptReduction:
        return c.AcceptReduction(contract_id=contract_id, terms_digest=digest(terms))

    def _readings(self, number: int, start_ms: int, energy_wh: tuple[int, ...]) -> bytes:
        command = c.RecordMeasurements(
            device=home(number), start_ms=start_ms, interval_s=INTERVAL_S, energy_wh=energy_wh
        )
        return sealed(home(number), command)


async def close(client: Client) -> None:
    """Ends what has begun: settles and completes what is active, waits for what expires, closes every need."""
    for round_ in range(200):
        contracts = [read(body, ContractRecord) for _, body in await client.records("contract")]
        needs = [read(body, NeedRecord) for _, body in await client.records("need")]
        open_ones = [each for each in contracts if each.level is Level.SC1 and each.status not in ENDED]
        if not open_ones and all(need.closed for need in needs):
            return
        for contract in open_ones:
            nonce = f"{contract.contract_id}-{round_}"
            if contract.status in (Status.ACTIVE, Status.SETTLING):
                await client.until_ms(contract.terms.settle_after_ms + 1)
                await client.settle(sealed(UTILITY_ID, c.SettleDR(contract_id=contract.contract_id), f"s-{nonce}"))
            if contract.status is not Status.PROPOSED and contract.status is not Status.ACCEPTED:
                complete = c.DRCompletion(contract_id=contract.contract_id)
                await client.settle(sealed(UTILITY_ID, complete, f"c-{nonce}"))
        for need in needs:
            if not need.closed and not need.open_contracts:
                need_id = need.request.need_id
                await client.settle(sealed(UTILITY_ID, c.CloseRequest(need_id=need_id), f"e-{need_id}-{round_}"))
        await asyncio.sleep(0.3)
    raise Violation(f"contracts that never end: {[(each.contract_id, each.status) for each in open_ones]}")
