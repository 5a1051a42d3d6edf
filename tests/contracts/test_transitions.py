"""The state machine in full, and who may sign what."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from contracts.core import commands as c
from contracts.core.envelope import Transaction, commitment, seal, signing_bytes
from contracts.core.errors import Refusal
from contracts.core.parties import Role
from contracts.demand_response import completion
from contracts.demand_response.contract import ContractRecord, Level, Status, Step, step
from tests.contracts.channels.logs import A_STATEMENT, a_fact_proof, an_anchor
from tests.contracts.world import (
    EVENT_MS,
    SETTLE_MS,
    World,
    a_group_setup,
    a_home_setup,
    a_request,
    an_enrol_party,
    an_enrolment,
    group_terms,
    key_of,
    readings,
    sign,
)

#: the published table, written down once more: level, from, step, to
LEGAL = {
    tuple(line.split()[:3]): line.split()[3]
    for line in """
    SC1 proposed accept accepted
    SC1 proposed reject rejected
    SC1 proposed expire expired
    SC1 accepted activate active
    SC1 accepted expire expired
    SC1 active settle_part settling
    SC1 active settle settled
    SC1 settling settle_part settling
    SC1 settling settle settled
    SC1 settled complete_part completing
    SC1 settled complete completed
    SC1 completing complete_part completing
    SC1 completing complete completed
    SC2 proposed accept accepted
    SC2 proposed reject rejected
    SC2 proposed expire expired
    SC2 accepted settle settled
    SC2 settled complete completed
    """.strip().splitlines()
}


@pytest.mark.parametrize(("level", "status", "move"), list(product(Level, Status, Step)))
def test_each_step_moves_as_the_table_says_or_is_refused(level: Level, status: Status, move: Step) -> None:
    contract = ContractRecord(
        contract_id="s1", level=level, parent=None, payer="agg", payee="vn", terms=group_terms(),
        terms_digest="0" * 64, status=status,
    )  # fmt: skip
    expected = LEGAL.get((level, status, move))
    if expected is None:
        with pytest.raises(Refusal, match="illegal_transition"):
            step(contract, move)
    else:
        assert step(contract, move) == msgspec.structs.replace(contract, status=Status(expected))


def sc1_at(status: str) -> World:
    """A world in which s1 stands at `status`, with three devices and two a transaction."""
    world = World(devices=3)
    world.request()
    world.run("agg", a_group_setup(group_terms(minimum_percent=75)))
    if status == "rejected":
        world.run("vn", c.RejectReduction(contract_id="s1", reason="no"))
    if status in ("proposed", "rejected"):
        return world
    if status == "expired":
        world.advance(START_EXPIRY_MS)
        return world
    world.accept("s1")
    if status == "accepted":
        return world
    world.homes("d0", "d1", "d2")
    for move, name in ((world.settle, "settling"), (world.settle, "settled"), (world.complete, "completing")):
        if world.status("s1") != status:
            move()
            assert status in ("active", "completed") or world.status("s1") in (name, status)
    if status == "completed":
        world.complete()
    return world


START_EXPIRY_MS = group_terms().accept_by_ms

COMMANDS_ALLOWED = {
    "proposed": {"AcceptReduction", "RejectReduction"},
    "accepted": set(),
    "active": {"SettleDR"},
    "settling": {"SettleDR"},
    "settled": {"DRCompletion"},
    "completing": {"DRCompletion"},
    "completed": set(),
    "rejected": set(),
    "expired": set(),
}


def steps_on(world: World, contract_id: str) -> list[tuple[str, c.Command]]:
    payee = world.contract(contract_id).payee
    return [
        (payee, world.acceptance(contract_id)),
        (payee, c.RejectReduction(contract_id=contract_id, reason="")),
        ("agg", c.SettleDR(contract_id=contract_id)),
        ("aud", c.DRCompletion(contract_id=contract_id)),
    ]


@pytest.mark.parametrize("status", COMMANDS_ALLOWED)
def test_a_group_contract_takes_the_commands_of_its_status_alone(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "CASCADE_MAX", 2)
    for position in range(4):
        world = sc1_at("active" if status == "active" else status) if status != "active" else active()
        assert world.status("s1") == status
        if status not in ("proposed", "accepted", "rejected", "expired"):
            world.advance(SETTLE_MS)
        sender, command = steps_on(world, "s1")[position]
        before = dict(world.records)
        if type(command).__name__ in COMMANDS_ALLOWED[status]:
            world.run(sender, command)
            assert world.records != before
        else:
            # a late acceptance is told of its deadline first
            late = isinstance(command, c.AcceptReduction) and world.time_ms > START_EXPIRY_MS
            early = isinstance(command, c.SettleDR) and world.time_ms < SETTLE_MS
            expected = "deadline_passed" if late else "too_early" if early else "illegal_transition"
            assert world.refused(sender, command) == expected
            assert world.records == before


def active() -> World:
    world = World(devices=3)
    world.group(minimum_percent=75)
    world.homes("d0", "d1", "d2")
    return world


@pytest.mark.parametrize("status", ["proposed", "accepted", "settled", "completed", "rejected", "expired"])
def test_a_device_contract_takes_acceptance_or_rejection_once_and_is_ended_from_above(status: str) -> None:
    world = World()
    world.group(minimum_percent=25)
    world.homes("d1")
    world.run("vn", a_home_setup("d0"))
    if status == "rejected":
        world.run("d0", c.RejectReduction(contract_id="s2-d0", reason=""))
    elif status == "expired":
        world.advance(START_EXPIRY_MS)
    elif status != "proposed":
        world.accept("s2-d0")
    if status in ("settled", "completed"):
        world.settle()
    if status == "completed":
        world.complete()
    assert world.status("s2-d0") == status
    for sender, command in steps_on(world, "s2-d0"):
        if status == "proposed" and not isinstance(command, c.SettleDR | c.DRCompletion):
            continue
        before = dict(world.records)
        late = isinstance(command, c.AcceptReduction) and world.time_ms > START_EXPIRY_MS
        assert world.refused(sender, command) == ("deadline_passed" if late else "illegal_transition")
        assert world.records == before


# ---- who may sign what

R = Role
MAY_SIGN = {
    "EnrolParty": {R.UTILITY, R.AGGREGATOR},
    "RevokeParty": set(Role),
    "Issue": {R.UTILITY},
    "Transfer": {R.UTILITY, R.AGGREGATOR, R.VIRTUAL_NODE, R.DEVICE},
    "RequestReduction": {R.UTILITY},
    "CloseRequest": {R.UTILITY, R.AGGREGATOR, R.AUDITOR},
    "SetupDR": {R.AGGREGATOR, R.VIRTUAL_NODE},
    "AcceptReduction": {R.VIRTUAL_NODE, R.DEVICE},
    "RejectReduction": {R.VIRTUAL_NODE, R.DEVICE},
    "RecordMeasurements": {R.DEVICE},
    "ForgetReadings": {R.AGGREGATOR, R.DEVICE},
    "SettleDR": set(Role),
    "DRCompletion": set(Role),
    "ChangeMembership": set(Role),
    "ReportEquivocation": set(Role),
    "OpenChannel": {R.UTILITY, R.AGGREGATOR},
    "AnchorCheckpoint": set(Role),
    "BridgeLock": {R.UTILITY, R.AGGREGATOR, R.VIRTUAL_NODE, R.DEVICE},
    "BridgeMint": set(Role),
    "BridgeBurn": {R.UTILITY, R.AGGREGATOR, R.VIRTUAL_NODE, R.DEVICE},
    "BridgeRelease": set(Role),
}
SENDER = {R.UTILITY: "utl", R.AGGREGATOR: "agg", R.VIRTUAL_NODE: "vn", R.DEVICE: "d0", R.AUDITOR: "aud"}
EXAMPLES: dict[str, c.Command] = {
    type(example).__name__: example
    for example in (
        an_enrol_party(an_enrolment("new", Role.AUDITOR, "utl")),
        c.RevokeParty(party="d1", reason=""),
        c.Issue(to="agg", amount_minor=1, reference=""),
        c.Transfer(to="d1", amount_minor=1, reference=""),
        a_request(),
        c.CloseRequest(need_id="need-1"),
        a_group_setup(),
        c.AcceptReduction(contract_id="s1", terms_digest="0" * 64),
        c.RejectReduction(contract_id="s1", reason=""),
        readings(0, 1),
        c.ForgetReadings(device="d0", before_ms=0),
        c.SettleDR(contract_id="s1"),
        c.DRCompletion(contract_id="s1"),
        c.ChangeMembership(change="remove", name="m", effective_height=11, approvals=()),
        c.ReportEquivocation(member="m", first=A_STATEMENT, second=A_STATEMENT, path=()),
        c.OpenChannel(channel="vn-1", origin="test/vn-1", genesis="0" * 64, members=(), quorum=1),
        an_anchor(),
        c.BridgeLock(channel="vn-1", recipient="d0", amount_minor=1, mint_by_ms=0),
        c.BridgeMint(proof=a_fact_proof()),
        c.BridgeBurn(recipient="d0", amount_minor=1, release_by_ms=0),
        c.BridgeRelease(channel="vn-1", proof=a_fact_proof()),
    )
}


def test_the_table_of_signers_knows_every_command() -> None:
    assert set(MAY_SIGN) == set(EXAMPLES) == {kind.__name__ for kind in c.CONTRACT_OF}


@pytest.mark.parametrize(("name", "role"), list(product(MAY_SIGN, Role)))
def test_a_command_is_open_to_its_roles_alone(name: str, role: Role) -> None:
    world = World(devices=2)
    before = dict(world.records)
    command = EXAMPLES[name]
    if (name, role) == ("EnrolParty", R.AGGREGATOR):
        command = an_enrol_party(an_enrolment("new", R.DEVICE, "agg"))
    code = world.submit(SENDER[role], command).code
    assert (code != "role_not_allowed") == (role in MAY_SIGN[name])
    assert code != "role_not_allowed" or world.records == before


@pytest.mark.parametrize("sponsor", Role)
@pytest.mark.parametrize("role", Role)
def test_a_party_is_enrolled_by_the_right_sponsor_alone(sponsor: Role, role: Role) -> None:
    allowed = {
        (R.UTILITY, R.AGGREGATOR), (R.UTILITY, R.AUDITOR), (R.AGGREGATOR, R.VIRTUAL_NODE), (R.AGGREGATOR, R.DEVICE)
    }  # fmt: skip
    code = World().submit(SENDER[sponsor], an_enrol_party(an_enrolment("new", role, SENDER[sponsor]))).code
    assert code == ("ok" if (sponsor, role) in allowed else "role_not_allowed")


def test_what_stands_before_a_contract_is_checked_in_turn() -> None:
    world = World()
    command = c.Transfer(to="d1", amount_minor=1, reference="")
    assert world.refused("d0", command, channel="other") == "wrong_channel"
    assert world.refused("d0", command, not_after_ms=world.time_ms - 1) == "transaction_expired"
    assert world.refused("d0", command, contract="parties") == "command_unknown"
    assert world.refused("nobody", command) == "party_unknown"
    assert world.refused("d0", command, signed_by="d1") == "bad_signature"
    assert world.submit("d0", command, not_after_ms=world.time_ms).code == "ok"
    world.run("d0", c.RevokeParty(party="d0", reason="stolen"))
    assert world.refused("d0", command) == "party_revoked"
    assert world.refused("agg", c.Transfer(to="d0", amount_minor=1, reference="")) == "party_revoked"


def test_a_body_that_is_not_the_commands_is_refused() -> None:
    world = World()

    def sealed(body: str) -> Transaction:
        base = seal(
            c.Issue(to="utl", amount_minor=5, reference=""), channel="main", contract="tokens", sender="utl",
            nonce="x", not_after_ms=EVENT_MS, salt=bytes(32), sign=lambda _: bytes(64),
        )  # fmt: skip
        header = msgspec.structs.replace(
            base.header, commitment=commitment(bytes(32), body.encode("utf-8", "surrogatepass"))
        )
        signature = sign(key_of("utl"), signing_bytes(header)).hex()
        return Transaction(header=header, signature=signature, salt=base.salt, body=body)

    good = sealed('{"amount_minor":5,"reference":"","to":"utl"}')
    assert world.execute(good).code == "ok"
    other = msgspec.structs.replace(good, body='{"amount_minor":6,"reference":"","to":"utl"}')
    assert world.execute(other).code == "commitment_mismatch"
    assert world.execute(msgspec.structs.replace(good, salt="1" * 64)).code == "commitment_mismatch"
    for body in ("", "{}", "[]", '{"amount_minor":5.0,"reference":"","to":"utl"}', '"\ud800"', "[" * 30_000):
        assert world.execute(sealed(body)).code == "body_invalid"
    assert world.execute(sealed(" " * 49_153)).code == "limit_exceeded"
