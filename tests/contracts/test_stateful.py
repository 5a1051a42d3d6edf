"""Random parties do random things in a random order: what must hold after every step, and when all is over."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts import rules
from contracts.core import commands as c
from contracts.core.codec import read
from contracts.demand_response import completion
from contracts.demand_response.contract import Status
from contracts.demand_response.needs import NeedRecord
from contracts.tokens import TransferRecord, TransferState
from tests.contracts.world import (
    BASELINE,
    END_MS,
    EVENT_MS,
    SETTLE_MS,
    World,
    a_group_setup,
    a_home_setup,
    a_request,
    an_offer,
    changed,
    group_terms,
    home_terms,
    readings,
)

ENDED = {Status.COMPLETED, Status.REJECTED, Status.EXPIRED}
GROUPS, NEEDS, DEVICES = ("s1", "s2", "s3"), ("need-1", "need-2"), ("d0", "d1", "d2")
HOMES = tuple(f"{group}.{device}" for group in GROUPS for device in DEVICES)
PARTIES = st.sampled_from(("utl", "agg", "rival", "aud", "vn", "vn2", *DEVICES, "nobody"))
MOSTLY_RIGHT = st.sampled_from((True,) * 9 + (False,))
MINOR = st.integers(0, 3000)


class Ledger(RuleBasedStateMachine):
    """Two needs, three group contracts, nine device contracts; CASCADE_MAX is 2 so that cascades come in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(devices=3)
        self.issued = 200_000
        self.cascade_max = completion.CASCADE_MAX
        completion.CASCADE_MAX = 2  # type: ignore[misc]

    def teardown(self) -> None:
        try:
            self._end_everything()
        finally:
            completion.CASCADE_MAX = self.cascade_max  # type: ignore[misc]

    # ---- what parties do

    @initialize(
        budget=st.integers(2400, 6000), cap=st.integers(95, 150), minimum=st.integers(0, 60),
        members=st.lists(st.sampled_from(DEVICES), unique=True),
    )  # fmt: skip
    def begin(self, budget: int, cap: int, minimum: int, members: list[str]) -> None:
        self.world.request(budget_minor=budget)
        self.world.submit("agg", a_group_setup(group_terms(cap_percent=cap, minimum_percent=minimum)))
        if ("contract", "s1") in self.world.records:
            self.world.accept("s1")
        for device in members:
            self.sign_up(device=device, group="s1", wh=200, deposit=20, price=150_000)

    @rule(need=st.sampled_from(NEEDS), budget=MINOR, price=st.integers(0, 500_000), by=PARTIES, right=MOSTLY_RIGHT)
    def request(self, need: str, budget: int, price: int, by: str, right: bool) -> None:
        command = a_request(need_id=need, budget_minor=budget, energy_price_minor_per_mwh=price)
        self.world.submit("utl" if right else by, command)

    @rule(
        name=st.sampled_from(GROUPS), need=st.sampled_from(NEEDS), payee=st.sampled_from(("vn", "vn2")),
        obligation=st.lists(st.integers(0, 1500), min_size=4, max_size=4), price=st.integers(0, 400_000),
        deposit=st.integers(0, 200), minimum=st.integers(0, 100), by=PARTIES, right=MOSTLY_RIGHT,
    )  # fmt: skip
    def propose_group(
        self, name: str, need: str, payee: str, obligation: list[int], price: int, deposit: int, minimum: int,
        by: str, right: bool,
    ) -> None:  # fmt: skip
        terms = group_terms(
            need_id=need, obligation_wh=tuple(obligation), energy_price_minor_per_mwh=price, deposit_minor=deposit,
            minimum_percent=minimum, **self._deadlines(),
        )  # fmt: skip
        offer = an_offer(terms, virtual_node=payee, energy_price_minor_per_mwh=0)
        command = a_group_setup(terms, contract_id=name, payee=payee, offer=offer)
        self.world.submit("agg" if right else by, command)

    @rule(
        group=st.sampled_from(GROUPS), device=st.sampled_from(DEVICES), first=st.integers(0, 3),
        obligation=st.lists(st.integers(0, 600), min_size=1, max_size=4), price=st.integers(0, 400_000),
        penalty=st.integers(0, 400_000), tolerance=st.integers(0, 300), deposit=st.integers(0, 200),
        limit=st.sampled_from((0, 1000, 10_000, 10**12)), by=PARTIES, right=MOSTLY_RIGHT,
    )  # fmt: skip
    def propose_home(
        self, group: str, device: str, first: int, obligation: list[int], price: int, penalty: int, tolerance: int,
        deposit: int, limit: int, by: str, right: bool,
    ) -> None:  # fmt: skip
        need = "need-1"
        payer = by
        if ("contract", group) in self.world.records and right:
            parent = self.world.contract(group)
            payer, need = parent.payee, parent.terms.need_id
            price = min(price, parent.terms.energy_price_minor_per_mwh)
        first = min(first, 4 - len(obligation)) if right else first
        terms = home_terms(
            need_id=need, start_ms=EVENT_MS + first * 900_000, obligation_wh=tuple(obligation), deposit_minor=deposit,
            energy_price_minor_per_mwh=price, penalty_price_minor_per_mwh=penalty, tolerance_percent=tolerance,
            baseline=changed(BASELINE, curve_wh=(600,) * len(obligation)), meter_limit_wh=limit, **self._deadlines(),
        )  # fmt: skip
        self.world.submit(payer, a_home_setup(device, terms, parent=group, contract_id=f"{group}.{device}"))

    @rule(
        device=st.sampled_from(DEVICES), group=st.sampled_from(GROUPS), wh=st.integers(1, 500),
        deposit=st.integers(0, 100), price=st.integers(0, 200_000),
    )  # fmt: skip
    def sign_up(self, device: str, group: str, wh: int, deposit: int, price: int) -> None:
        """A node does what it should: proposes to a home, which accepts."""
        if ("contract", group) not in self.world.records:
            return
        parent = self.world.contract(group)
        name = f"{group}.{device}"
        terms = home_terms(
            need_id=parent.terms.need_id, obligation_wh=(wh,) * 4, deposit_minor=deposit,
            energy_price_minor_per_mwh=min(price, parent.terms.energy_price_minor_per_mwh),
            penalty_price_minor_per_mwh=price, **self._deadlines(),
        )  # fmt: skip
        if self.world.submit(parent.payee, a_home_setup(device, terms, parent=group, contract_id=name)).code == "ok":
            self.world.submit(device, self.world.acceptance(name))

    @rule(data=st.data(), by=PARTIES, right=MOSTLY_RIGHT, accept=MOSTLY_RIGHT)
    def answer(self, data: st.DataObject, by: str, right: bool, accept: bool) -> None:
        known = [key for kind, key in self.world.records if kind == "contract"]
        name = data.draw(st.sampled_from(sorted(known) or ["s9"]))
        if not known:
            assert self.world.submit(by, c.RejectReduction(contract_id=name, reason="")).code != "ok"
            return
        command: c.Command = c.RejectReduction(contract_id=name, reason="")
        if accept:
            command = self.world.acceptance(name)
        self.world.submit(self.world.contract(name).payee if right else by, command)

    @rule(
        device=st.sampled_from(DEVICES), window=st.booleans(), by=PARTIES, right=MOSTLY_RIGHT,
        values=st.lists(st.integers(-500, 1500) | st.just(10**8), min_size=1, max_size=12),
    )  # fmt: skip
    def record(self, device: str, window: bool, values: list[int], by: str, right: bool) -> None:
        start_ms = BASELINE.adjustment_start_ms if window else EVENT_MS
        self.world.submit(device if right else by, readings(start_ms, *values, device=device))

    @precondition(lambda self: self.world.time_ms >= END_MS)
    @rule(device=st.sampled_from(DEVICES), window=st.integers(300, 700), delivered=st.integers(-300, 600))
    def meter(self, device: str, window: int, delivered: int) -> None:
        """A device does what it should."""
        self.world.submit(device, readings(BASELINE.adjustment_start_ms, *(window,) * 12, device=device))
        self.world.submit(device, readings(EVENT_MS, *(600 - delivered,) * 4, device=device))

    @precondition(lambda self: self.world.time_ms >= SETTLE_MS)
    @rule(name=st.sampled_from(GROUPS), by=st.sampled_from(("agg", "vn", "utl", "aud", *DEVICES)))
    def carry_on(self, name: str, by: str) -> None:
        """Anyone takes the next part of a cascade."""
        self.world.submit(by, c.SettleDR(contract_id=name))
        self.world.submit(by, c.DRCompletion(contract_id=name))

    @rule(name=st.sampled_from(GROUPS + HOMES), by=PARTIES, complete=st.booleans())
    def end(self, name: str, by: str, complete: bool) -> None:
        command = c.DRCompletion(contract_id=name) if complete else c.SettleDR(contract_id=name)
        self.world.submit(by, command)

    @rule(need=st.sampled_from(NEEDS), by=PARTIES)
    def close(self, need: str, by: str) -> None:
        self.world.submit(by, c.CloseRequest(need_id=need))

    @precondition(lambda self: len(self.world.journal) > 40)
    @rule(device=st.sampled_from(DEVICES), by=PARTIES)
    def revoke(self, device: str, by: str) -> None:
        engaged = self._engaged(device)
        if self.world.submit(by, c.RevokeParty(party=device, reason="")).code == "ok":
            assert by == device or (by == "agg" and not engaged)

    @rule(by=PARTIES, to=PARTIES, amount=MINOR)
    def transfer(self, by: str, to: str, amount: int) -> None:
        self.world.submit(by, c.Transfer(to=to, amount_minor=amount, reference=""))

    @rule(by=PARTIES, to=PARTIES, amount=MINOR)
    def issue(self, by: str, to: str, amount: int) -> None:
        if self.world.submit(by, c.Issue(to=to, amount_minor=amount, reference="")).code == "ok":
            assert by == "utl"
            self.issued += amount

    @rule(minutes=st.integers(1, 6))
    def wait(self, minutes: int) -> None:
        self.world.advance(self.world.time_ms + minutes * 60_000)

    @precondition(lambda self: len(self.world.journal) > 40 and self.world.time_ms < SETTLE_MS)
    @rule(goal=st.sampled_from((EVENT_MS, END_MS, SETTLE_MS)))
    def leap(self, goal: int) -> None:
        self.world.advance(goal)

    # ---- what always holds

    @invariant()
    def debits_equal_credits(self) -> None:
        accounts = self.world.accounts().values()
        assert sum(a.debits_posted for a in accounts) == sum(a.credits_posted for a in accounts)
        assert sum(a.debits_pending for a in accounts) == sum(a.credits_pending for a in accounts)

    @invariant()
    def no_account_but_issuance_is_below_zero(self) -> None:
        for name in self.world.accounts():
            assert name == "issuance" or self.world.free(name) >= 0, name
        assert self.world.free("issuance") == -self.issued

    @invariant()
    def pending_counters_are_the_pending_transfers(self) -> None:
        pending = [t for t in self._all(TransferRecord) if t.state is TransferState.PENDING]
        for name, account in self.world.accounts().items():
            assert account.debits_pending == sum(t.amount_minor for t in pending if t.debit == name)
            assert account.credits_pending == sum(t.amount_minor for t in pending if t.credit == name)

    @invariant()
    def a_need_counts_its_open_contracts(self) -> None:
        contracts = [self.world.contract(key) for kind, key in self.world.records if kind == "contract"]
        for need in self._all(NeedRecord):
            name = need.request.need_id
            open_now = [k for k in contracts if k.parent is None and k.terms.need_id == name and k.status not in ENDED]
            assert need.open_contracts == len(open_now)

    @invariant()
    def each_waiting_contract_has_one_deadline(self) -> None:
        contracts = {key: self.world.contract(key) for kind, key in self.world.records if kind == "contract"}
        waiting = [
            name
            for name, k in contracts.items()
            if k.status is Status.PROPOSED or (k.parent is None and k.status is Status.ACCEPTED)
        ]
        due = [key.split("/")[2] for kind, key in self.world.records if kind == "expiry"]
        assert sorted(due) == sorted(waiting)

    # ---- when all is over

    def _end_everything(self) -> None:
        world = self.world
        world.advance(END_MS)
        world.submit("d0", readings(EVENT_MS, *(400,) * 4, device="d0"))
        world.submit("d0", readings(BASELINE.adjustment_start_ms, *(500,) * 12, device="d0"))
        world.advance(SETTLE_MS)
        for _, key in [row for row in world.records if row[0] == "contract"]:
            contract = world.contract(key)
            while contract.parent is None and contract.status not in ENDED:
                settled = contract.status in (Status.SETTLED, Status.COMPLETING)
                world.run("aud", (c.DRCompletion if settled else c.SettleDR)(contract_id=key))
                contract = world.contract(key)
        for need in self._all(NeedRecord):
            if not need.closed:
                world.run("aud", c.CloseRequest(need_id=need.request.need_id))
        assert all(world.contract(key).status in ENDED for kind, key in world.records if kind == "contract")
        assert not [key for kind, key in world.records if kind in ("expiry", "engagement")]
        assert not [t for t in self._all(TransferRecord) if t.state is TransferState.PENDING]
        for name in world.accounts():
            assert name.startswith("party/") or name == "issuance" or world.free(name) == 0, name
        assert sum(world.free(name) for name in world.accounts() if name.startswith("party/")) == self.issued
        self._replay_gives_the_same()

    def _replay_gives_the_same(self) -> None:
        again = World.__new__(World)
        again.records, again._keys = {}, {}
        again.take(self.world.first)
        for item, context, outcome in self.world.journal:
            assert rules.apply(again, item, context) == outcome
            again.take(outcome.writes)
        assert again.records == self.world.records

    def _all(self, kind: Any) -> list[Any]:
        return [read(data, kind) for (name, _), data in self.world.records.items() if name == kind.KIND]

    def _engaged(self, device: str) -> bool:
        contracts = [self.world.contract(key) for kind, key in self.world.records if kind == "contract"]
        return any(k.payee == device and k.status is Status.ACCEPTED for k in contracts)

    def _deadlines(self) -> dict[str, int]:
        accept = min(self.world.time_ms + 600_000, EVENT_MS)
        return {"accept_by_ms": accept, "activate_by_ms": min(accept + 600_000, EVENT_MS)}


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
