"""The ten steps of architecture over real processes, on three members: one assertion a step, and what must not work.

Measured delivery is printed beside the simulated truth and not asserted (a group of 26 homes has a baseline error of
about 20 %); payments are asserted to the cent, recomputed from signed readings by tests/e2e/arithmetic.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.core.commands import (
    AcceptReduction,
    CloseRequest,
    DRCompletion,
    Issue,
    RecordMeasurements,
    SettleDR,
    Transfer,
)
from contracts.core.parties import Party
from contracts.tokens import Account
from demo.data.series import EVENT_START_MS
from demo.stage import Stage
from ledger.client import LedgerClient
from runtime.clock import clock_from_file
from runtime.keys import PrivateKey
from tests.e2e.arithmetic import expected_payments
from tests.e2e.conftest import Evening, play_once

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(600)]

SPEED = 240.0


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Evening:
    folder = tmp_path_factory.mktemp("evening") / "demo"
    return play_once(folder, 1, SPEED, members=3, ask=_try_what_must_not_work)


def test_every_member_executed_the_same_and_the_outcome_is_final(evening: Evening) -> None:
    """As many replicas as were asked for, ordered by etcd, and cosignatures of the policy's quorum."""
    ledger = evening.summary["ledger"]
    assert (len(ledger["members"]), ledger["orderer"]) == (3, "etcd")
    assert ledger["why_one_member"] is None
    closed_at = max(record["height"] for record in evening.facts if record["fact"]["fact"] == "RequestClosed")
    assert min(each["height"] for each in ledger["replicas"].values()) >= closed_at
    assert len(ledger["final"]["cosigners"]) >= ledger["final"]["quorum"] == 2


def test_step_1_the_need_is_signed_by_the_utility_and_its_budget_in_escrow(evening: Evening) -> None:
    [need] = evening.of("ReductionRequested")
    assert need["utility"].startswith("utl-")
    assert evening.step(1)["ids"] == [need["need_id"]]
    budget = [fact for fact in evening.of("TransferPosted") if fact["transfer_id"] == f"need/{need['need_id']}/budget"]
    assert [fact["amount_minor"] for fact in budget] == [need["budget_minor"]]


def test_step_2_every_candidate_has_cost_forecast_reliability_rank_and_reason(evening: Evening) -> None:
    choices = [line["choice"] for line in evening.needs["choices"]]
    assert len({choice["candidate"]["candidate"] for choice in choices}) >= 2 + 2 * 20
    for choice in choices:
        assert choice["reason"]
        assert choice["candidate"]["excluded"] or (
            choice["rank"] > 0
            and choice["candidate"]["price_minor_per_mwh"] > 0
            and choice["candidate"]["reliability_bp"] > 0
        )


def test_step_3_every_group_contract_stands_on_an_offer_of_its_virtual_node(evening: Evening) -> None:
    assert set(evening.step(3)["ids"]) == {each["plan"]["virtual_node"] for each in evening.needs["groups"]}
    for each in evening.needs["groups"]:
        assert all(
            asked <= offered
            for asked, offered in zip(
                each["plan"]["terms"]["obligation_wh"], each["plan"]["offer"]["profile_wh"], strict=True
            )
        )


def test_step_4_group_contracts_cover_the_need(evening: Evening) -> None:
    groups = [fact for fact in evening.of("DRSetUp") if fact["parent"] is None]
    assert [fact["contract_id"] for fact in groups] == evening.step(4)["ids"]
    assert {fact["payer"][:4] for fact in groups} == {"agg-"}
    obliged = sum(sum(fact["terms"]["obligation_wh"]) for fact in groups)
    assert obliged >= evening.summary["event"]["obligation_wh"] * 99 // 100


def test_step_5_devices_accepted_before_the_group_became_active(evening: Evening) -> None:
    """Accepted contracts carry the digest of one of the published events; those who opted out rejected."""
    order = [
        record["fact"] for record in evening.facts if record["fact"]["fact"] in ("ReductionAccepted", "DRActivated")
    ]
    for group in (each["id"] for each in evening.summary["contracts"]["SC1"] if each["state"] == "completed"):
        mine = [fact for fact in order if group in (fact["contract_id"], fact.get("parent"))]
        kinds = [fact["fact"] for fact in mine]
        assert kinds[0] == "ReductionAccepted"
        assert kinds[: kinds.index("DRActivated")].count("ReductionAccepted") > 1
    rejected = {each["payee"] for each in evening.summary["contracts"]["SC2"] if each["state"] == "rejected"}
    assert rejected <= set(evening.summary["faults"]["opt_out"])


def test_step_6_homes_under_contract_really_shed(evening: Evening) -> None:
    print(f"delivered {evening.summary['delivered_wh']} Wh, simulated {evening.summary['delivered_simulated_wh']} Wh")
    assert evening.summary["delivered_simulated_wh"] > evening.summary["event"]["obligation_wh"] // 2


def test_step_7_the_killed_device_was_noticed_and_others_called(evening: Evening) -> None:
    """A device silent for two intervals is lost, if it was under contract; a further round was planned for it."""
    killed = evening.summary["faults"]["killed"]
    contracted = {each["payee"] for each in evening.summary["contracts"]["SC2"] if each["state"] == "completed"}
    assert killed in contracted, f"the seed must pick a home that is called: {killed} is not among {sorted(contracted)}"
    assert evening.summary["redispatched"]
    rounds = [each for group in evening.needs["groups"] for each in group["rounds"]]
    noticed = [each["planned_ms"] for each in rounds if "no reading" in each["reason"]]
    assert noticed, "the silent device was never missed"
    late = [each for each in evening.summary["redispatched"] if each["planned_ms"] >= min(noticed)]
    assert late, "nobody was called for it"


def test_step_8_each_device_recorded_its_own_readings_and_forged_ones_were_refused(evening: Evening) -> None:
    forged = evening.summary["faults"]["forged"]
    assert evening.summary["rejected_measurements"] > 0
    assert {each["code"] for each in evening.refusals} <= {"commitment_mismatch", "bad_signature"}
    [contract] = [each for each in evening.statements if each["name"] == forged and each["status"] == "completed"]
    assert contract["missing"] > 0
    assert contract["amount_minor"] < 0, "nothing it signed arrived: it earns nothing and pays out of its deposit"


def test_step_9_delivery_was_settled_for_every_accepted_contract(evening: Evening) -> None:
    recorded = evening.recorded
    with_devices = {recorded.parent[each] for each in recorded.accepted}
    due = {each for each in recorded.accepted if recorded.parent[each] is not None or each in with_devices}
    assert {fact["contract_id"] for fact in evening.of("DRSettled")} == due


def test_step_10_every_payment_follows_from_signed_readings_to_the_cent(evening: Evening) -> None:
    recorded = evening.recorded
    expected = expected_payments(recorded)
    assert expected.keys() == recorded.completed.keys()
    for contract_id, wanted in expected.items():
        fact = recorded.completed[contract_id]
        found = (
            fact["energy_minor"],
            fact["penalty_minor"],
            fact["amount_minor"],
            fact["delivered_wh"],
            fact["paid_wh"],
        )
        assert found == (
            wanted.energy_minor, wanted.penalty_minor, wanted.amount_minor, wanted.delivered_wh, wanted.paid_wh,
        ), contract_id  # fmt: skip


def test_money_is_conserved_and_no_escrow_is_left(evening: Evening) -> None:
    """What the utility paid is what everybody got: budget - returned = sum of payments."""
    recorded = evening.recorded
    paid = recorded.need["budget_minor"] - recorded.closed["returned_minor"]
    assert evening.summary["sum_of_payments_minor"] == paid
    assert evening.summary["escrow_left_minor"] == 0


def test_a_missing_interval_never_earned(evening: Evening) -> None:
    """The killed device and the one behind the forging proxy have unsigned intervals and are penalised for them."""
    gaps = [each for each in evening.statements if each["level"] == "SC2" and each["missing"]]
    assert {each["name"] for each in gaps} == {evening.summary["faults"]["killed"], evening.summary["faults"]["forged"]}
    assert all(each["shortfall_wh"] > 0 and each["penalty_minor"] > 0 for each in gaps)


def test_three_payments_were_proved_offline(evening: Evening) -> None:
    assert evening.summary["proofs_verified"] == 3


def test_the_whole_ledger_verifies(evening: Evening) -> None:
    assert evening.verified["height"] >= evening.summary["ledger"]["height"]


def test_illegal_calls_are_refused_and_change_nothing(evening: Evening) -> None:
    assert evening.answers["codes"] == evening.answers["wanted"]
    assert evening.answers["accounts_before"] == evening.answers["accounts_after"]


def test_a_replayed_message_gets_its_first_result(evening: Evening) -> None:
    first, again = evening.answers["replayed"]
    assert first == again
    assert first["status"] == "committed"


async def _try_what_must_not_work(stage: Stage) -> dict[str, Any]:
    """Calls of parties that may not make them, after the event; and one message sent twice."""
    clock = clock_from_file(Path(stage.environment["GRIDPACT_CLOCK"]))
    summary = json.loads((stage.folder / "summary.json").read_text())
    group = summary["contracts"]["SC1"][0]["id"]
    utility = PrivateKey.load(stage.utility_key)
    device = PrivateKey.load(next(stage.folder.glob("crowd-*/*/ven.key")))
    async with LedgerClient(stage.ledger_url, key=utility, party=stage.utility, clock=clock) as as_utility:
        parties = {party.key: key for key, party in await _parties(as_utility)}
        before = await _accounts(as_utility)
        own = parties[device.public]
        async with LedgerClient(stage.ledger_url, key=device, party=own, clock=clock) as as_device:
            tomorrow_ms = clock.now_ms() // 900_000 * 900_000 + 86_400_000
            foreign = RecordMeasurements(device=stage.utility, start_ms=EVENT_START_MS, interval_s=900, energy_wh=(0,))
            future = RecordMeasurements(device=own, start_ms=tomorrow_ms, interval_s=900, energy_wh=(0,))
            too_much = Transfer(to=stage.utility, amount_minor=10**9, reference="more than I have")
            tries = [
                (as_device, Issue(to=own, amount_minor=1_000, reference="money of my own"), "role_not_allowed"),
                (as_device, too_much, "funds_insufficient"),
                (as_device, SettleDR(contract_id=group), "illegal_transition"),
                (as_device, CloseRequest(need_id=summary["event"]["id"]), "role_not_allowed"),
                (as_utility, SettleDR(contract_id=group), "illegal_transition"),
                (as_utility, DRCompletion(contract_id=group), "illegal_transition"),
                (as_device, AcceptReduction(contract_id=group, terms_digest="0" * 64), "not_party"),
                (as_device, foreign, "not_party"),
                (as_device, future, "measurement_future"),
            ]
            codes = [(await client.send([client.seal(command)]))[0].code for client, command, _ in tries]
            after = await _accounts(as_utility)
            payment = as_utility.seal(Transfer(to=own, amount_minor=1, reference="once"))
            [first] = await as_utility.send([payment])
            [again] = await as_utility.send([payment])
    return {
        "codes": codes,
        "wanted": [wanted for _, _, wanted in tries],
        "accounts_before": before,
        "accounts_after": after,
        "replayed": [
            {"id": each.id, "status": each.status, "height": each.height, "index": each.index}
            for each in (first, again)
        ],
    }


async def _parties(client: LedgerClient) -> list[tuple[str, Any]]:
    return list(await client.records(Party))


async def _accounts(client: LedgerClient) -> dict[str, Any]:
    return {key: str(account) for key, account in await client.records(Account)}
