"""Random parties move money over the bridges of two children, prove too much and too often: it is never two places."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts import rules
from contracts.core import commands as c
from contracts.core.facts import BridgeBurned, BridgeLocked, BridgeMinted, BridgeReleased, Fact
from contracts.core.proofs import FactProof
from tests.contracts.channels.net import Logged, Net, a_burn, a_lock
from tests.contracts.world import HOUR_MS, changed

CHANNELS = st.sampled_from(("vn-1", "vn-2"))
ANY = st.sampled_from(("main", "vn-1", "vn-2"))
PARTIES = st.sampled_from(("utl", "agg", "vn", "d0", "aud", "nobody"))
AMOUNTS = st.integers(-1, 3000) | st.just(10**15)
NUMBER = st.integers(0, 30)


class Bridges(RuleBasedStateMachine):
    """`proofs` holds what anybody saw: any of them may be shown anywhere, any number of times."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net("vn-1", "vn-2")
        self.total = -self.net.main.free("issuance")
        self.proofs: list[FactProof] = []

    # ---- what parties do

    @rule(by=PARTIES, channel=ANY, recipient=PARTIES, amount=AMOUNTS, wait=st.integers(-1, 2))
    def lock(self, by: str, channel: str, recipient: str, amount: int, wait: int) -> None:
        if amount < 0:
            return
        main = self.net.main
        command = a_lock(main, amount, channel, recipient, mint_by_ms=main.time_ms + wait * HOUR_MS)
        if main.submit(by, command).code == "ok":
            self._see("main", channel, BridgeLocked)

    @rule(by=PARTIES, channel=CHANNELS, recipient=PARTIES, amount=st.integers(0, 3000), wait=st.integers(-1, 2))
    def burn(self, by: str, channel: str, recipient: str, amount: int, wait: int) -> None:
        child = self.net[channel]
        command = a_burn(child, amount, recipient, release_by_ms=child.time_ms + wait * HOUR_MS)
        if self.net[channel].submit(by, command).code == "ok":
            self._see(channel, "main", BridgeBurned)

    @rule(by=PARTIES, channel=CHANNELS, number=NUMBER)
    def mint(self, by: str, channel: str, number: int) -> None:
        if self.proofs:
            proof = self.proofs[number % len(self.proofs)]
            self._mint(by, channel, proof)

    @rule(by=PARTIES, channel=CHANNELS, number=NUMBER)
    def release(self, by: str, channel: str, number: int) -> None:
        if self.proofs:
            self._release(by, channel, self.proofs[number % len(self.proofs)])

    @rule(number=NUMBER, cut=st.integers(0, 3), amount=st.integers(0, 10**15))
    def forge(self, number: int, cut: int, amount: int) -> None:
        """Somebody edits a proof he saw: from now on it is shown too."""
        if not self.proofs:
            return
        proof = self.proofs[number % len(self.proofs)]
        head, _, tail = proof.fact.partition('"amount_minor":')
        fact = f'{head}"amount_minor":{amount}{tail[tail.index(",") :]}'
        forged = [
            changed(proof, fact=fact),
            changed(proof, path=proof.path[:-1]),
            changed(proof, index=proof.index + 1),
            changed(proof, header=changed(proof.header, nonce="other")),
        ]
        self.proofs.append(forged[cut])

    @rule(by=PARTIES, to=PARTIES, channel=ANY, amount=st.integers(0, 500))
    def transfer(self, by: str, to: str, channel: str, amount: int) -> None:
        self.net[channel].submit(by, c.Transfer(to=to, amount_minor=amount, reference=""))

    @rule(channel=ANY, amount=st.integers(1, 500))
    def issue(self, channel: str, amount: int) -> None:
        if self.net[channel].submit("utl", c.Issue(to="utl", amount_minor=amount, reference="")).code == "ok":
            assert channel == "main"
            self.total += amount

    @rule(channel=ANY, hours=st.integers(1, 2))
    def wait(self, channel: str, hours: int) -> None:
        self.net[channel].advance(self.net[channel].time_ms + hours * HOUR_MS)

    @rule(channel=CHANNELS)
    def revoke(self, channel: str) -> None:
        self.net[channel].submit("agg", c.RevokeParty(party="d0", reason=""))

    # ---- what always holds

    @invariant()
    def what_main_holds_for_a_child_is_there_or_on_its_way(self) -> None:
        for name in self.net.children:
            on_the_way = self._sum("main", BridgeLocked, name) - self._crossed(name)
            on_the_way += self._sum(name, BridgeBurned, "main") - self._paid_out(name)
            assert on_the_way >= 0
            assert self.net.escrow(name) == self.net.supply(name) + on_the_way, name

    @invariant()
    def there_is_as_much_money_as_was_issued(self) -> None:
        main = self.net.main
        assert sum(main.free(name) for name in main.accounts() if name != "issuance") == self.total
        for child in self.net.children.values():
            assert sum(child.free(name) for name in child.accounts()) == 0
            assert all(child.free(name) >= 0 for name in child.accounts() if name != "issuance")

    # ---- when all is over

    def teardown(self) -> None:
        """Whatever is honest and on its way arrives: nothing is stuck for want of a step somebody else must take, and
        nothing goes to and fro."""
        for world in (self.net.main, *self.net.children.values()):
            world.time_ms += 10 * HOUR_MS
        for name in self.net.children:
            for proof in list(self.proofs):
                self._mint("aud", name, proof)
            for proof in list(self.proofs):
                self._release("aud", name, proof)
            for proof in list(self.proofs):  # burnt for nobody: its way back ends here
                self._mint("aud", name, proof)
            assert self.net.escrow(name) == self.net.supply(name)

    # ---- inside

    def _mint(self, by: str, channel: str, proof: FactProof) -> None:
        child = self.net[channel]
        if child.submit(by, c.BridgeMint(proof=proof)).code == "ok" and self._last_is(child, BridgeBurned):
            self._see(channel, "main", BridgeBurned)

    def _release(self, by: str, channel: str, proof: FactProof) -> None:
        main = self.net.main
        command = c.BridgeRelease(channel=channel, proof=proof)
        if main.submit(by, command).code == "ok" and self._last_is(main, BridgeLocked):
            self._see("main", channel, BridgeLocked)

    def _see(self, origin: str, to: str, fact: type[Fact]) -> None:
        self.proofs.append(self.net.shown(origin, to, fact))

    def _last_is(self, world: Logged, kind: type[Fact]) -> bool:
        return any(isinstance(fact, kind) for fact in world.journal[-1][2].facts)

    def _facts(self, channel: str) -> list[Fact]:
        return [fact for _, _, outcome in self.net[channel].journal for fact in outcome.facts]

    def _sum(self, channel: str, kind: type[BridgeLocked | BridgeBurned | BridgeReleased], other: str) -> int:
        found = [fact for fact in self._facts(channel) if isinstance(fact, kind)]
        return sum(fact.amount_minor for fact in found if fact.channel == other)

    def _crossed(self, channel: str) -> int:
        """Locks that the child used up: minted, or sent back."""
        return sum(
            fact.amount_minor
            for fact in self._facts(channel)
            if isinstance(fact, BridgeMinted) or (isinstance(fact, BridgeBurned) and fact.lock_id is not None)
        )

    def _paid_out(self, channel: str) -> int:
        """Burns that main used up: released, or given back."""
        given_back = [
            fact.amount_minor
            for fact in self._facts("main")
            if isinstance(fact, BridgeLocked) and fact.channel == channel and fact.burn_id is not None
        ]
        return self._sum("main", BridgeReleased, channel) + sum(given_back)


TestBridges = Bridges.TestCase
TestBridges.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_replay_of_all_channels_gives_the_same_records() -> None:
    net = Net()
    net.mint(net.lock(100))
    net.release(net.burn(40))
    for world in (net.main, net["vn-1"]):
        again = Logged.__new__(Logged)
        again.records, again._keys = {}, {}
        again.take(world.first)
        for item, context, outcome in world.journal:
            assert rules.apply(again, item, context) == outcome
            again.take(outcome.writes)
        assert again.records == world.records
