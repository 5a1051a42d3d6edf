"""Virtual nodes as operators make, change, end and look at them; each refusal says why and changes nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from contracts.core.commands import RequestReduction
from contracts.demand_response.contract import EngagementRecord
from contracts.tokens import Account, party_account
from openadr.model import Reading
from runtime.clock import ManualClock
from tests.builders import device_terms
from tests.vtn.aggregator.groups.feeders import DAY_MS, NIGHT, Feeders
from tests.vtn.aggregator.test_cycle import a_contract
from tests.vtn.aggregator.test_records import PLAN, REQUEST
from tests.vtn.opened import fund
from vtn.aggregator.records import AggregatorRecords, DevicePlan, Round
from vtn.auth.permissions import Role
from vtn.errors import Conflict, InvalidInput, NotAllowed, NotFound, VtnError
from vtn.flexibility.envelope import Device
from vtn.records.wakeups import Wakeups
from vtn.services.vens import Resource
from vtn.services.virtual_nodes.figures import Figures
from vtn.services.virtual_nodes.operations import VirtualNodes

HOUR_MS = 3_600_000


def operations(world: Feeders) -> VirtualNodes:
    return VirtualNodes(world.opened.vtn, world.program)


def as_json(value: object) -> dict[str, object]:
    return msgspec.json.decode(msgspec.json.encode(value))  # type: ignore[no-any-return]


async def test_an_operator_puts_homes_together_and_they_stay_together(world: Feeders) -> None:
    homes = await world.homes("e", 42, peak=None)
    formation = world.formation()
    await formation.form()
    made = await operations(world).create("south side", [f"e-{n}" for n in range(21)])
    assert (made.name, made.label, made.area, made.homes, made.quality.flags) == ("vn-F1-2", "south side", "F1", 21, ())
    [node] = await formation.form()
    assert (node.name, node.party) == ("vn-F1-2", made.party)
    assert await world.members("vn-F1-2") == set(homes[:21])
    [entry] = await world.opened.vtn.audit.entries(subject="vn-F1-2")
    assert (entry.act, entry.detail["homes"], entry.detail["label"]) == ("virtual_node_created", 21, "south side")
    assert (await operations(world).find("south side")).name == "vn-F1-2"


async def test_too_few_homes_are_a_virtual_node_with_a_flag_and_those_they_leave_are_named(world: Feeders) -> None:
    await world.homes("e", 20, peak=None)
    await world.formation().form()
    made = await operations(world).create("few", ["e-0", "e-1"])
    assert made.quality.flags[0].startswith("2 homes where 20 are wanted")
    assert made.notes[0].startswith("vn-F1 is left with 18 homes")
    [former] = await operations(world).query(["vn-F1"])
    assert former.quality.flags[0].startswith("18 homes where 20 are wanted")


@pytest.mark.parametrize(
    ("label", "homes", "error", "reason"),
    [
        ("x", ["a-0", "b-0"], InvalidInput, "crosses no feeder"),
        ("x", [], InvalidInput, "a virtual node has homes"),
        ("x", ["nobody"], NotFound, "no home of evening is called nobody"),
        ("", ["a-0"], InvalidInput, "printable"),
        ("vn-F1", ["a-0"], Conflict, "is called vn-F1 already"),
    ],
)
async def test_a_group_that_cannot_be_is_refused_with_its_reason(
    world: Feeders, label: str, homes: list[str], error: type[VtnError], reason: str
) -> None:
    await world.homes("a", 20, peak=None)
    await world.homes("b", 1, area="F2", peak=None)
    await world.formation().form()
    with pytest.raises(error, match=reason):
        await operations(world).create(label, homes)
    assert [row.name for row in await world.nodes.nodes()] == ["vn-F1"]


async def test_homes_come_and_go_by_name_but_none_under_contract_and_never_all(
    world: Feeders, clock: ManualClock
) -> None:
    ids = await world.homes("e", 22, peak=None)
    await world.homes("other", 1, area="F2", peak=None)
    formation = world.formation()
    await formation.form()
    nodes = operations(world)
    await nodes.create("mine", ["e-0"])
    changed = await nodes.maintain("mine", add=["e-1"], label="ours")
    assert (changed.homes, changed.label) == (2, "ours")
    with pytest.raises(InvalidInput, match="not on F1"):
        await nodes.maintain("ours", add=["other-0"])
    with pytest.raises(InvalidInput, match="not in vn-F1-2"):
        await nodes.maintain("ours", remove=["e-5"])
    with pytest.raises(InvalidInput, match="delete it instead"):
        await nodes.maintain("ours", remove=["e-0", "e-1"])
    party = (await world.opened.vtn.vens.get(ids[1])).party
    engaged = EngagementRecord(contract_id="sc2-n-0-0-1", end_ms=clock.now_ms() + HOUR_MS)
    world.ledger.put("engagement", f"{party}/{clock.now_ms()}", engaged)
    for refused in (nodes.maintain("ours", remove=["e-1"]), nodes.create("theirs", ["e-1"])):
        with pytest.raises(NotAllowed, match=r"e-1 \(under contract sc2-n-0-0-1\)"):
            await refused
    await nodes.maintain("ours", remove=["e-0"])
    await formation.form()
    assert (await world.opened.vtn.vens.get(ids[0])).virtual_node == "vn-F1", "grouped anew, not into this one"


async def test_a_home_an_operator_took_out_of_its_only_group_stays_out_until_it_is_added(world: Feeders) -> None:
    [home, *_] = await world.homes("e", 21, peak=None)
    formation = world.formation()
    await formation.form()
    nodes = operations(world)
    await nodes.maintain("vn-F1", remove=["e-0"])
    await formation.form()
    assert (await world.opened.vtn.vens.get(home)).virtual_node is None
    assert "an operator took them out of vn-F1" in formation.waiting["F1"]
    [waiting] = await nodes.waiting()
    assert (waiting.area, waiting.homes, waiting.reason) == ("F1", 1, "taken out by an operator")
    await nodes.maintain("vn-F1", add=["e-0"])
    assert (await nodes.query(["vn-F1"]))[0].homes == 21


async def test_a_deleted_virtual_node_returns_its_money_and_frees_its_homes(world: Feeders) -> None:
    ids = await world.homes("e", 40, peak=None)
    fund(world.ledger, 5_000)
    formation = world.formation()
    await formation.form()
    nodes = operations(world)
    made = await nodes.create("mine", ids[:20])
    await formation.form()
    await formation.keep_funded()

    async def free_minor(party: str) -> int:
        account = await world.opened.vtn.ledger.record(Account, party_account(party)) or Account()
        return account.credits_posted - account.debits_posted

    assert await free_minor(made.party or "") == 1_000
    ended = await nodes.delete("mine")
    assert (ended.state, ended.homes) == ("ended", 0)
    assert "its money is back with the aggregator" in ended.notes
    assert await free_minor(made.party or "") == 0
    assert await free_minor(world.opened.vtn.party) == 4_000
    await formation.form()
    assert [node.name for node in formation.nodes.values()] == ["vn-F1"]
    assert await world.members("vn-F1") == set(ids)
    await formation.keep_funded()
    assert await free_minor(made.party or "") == 0, "nobody pays it a float any more"
    with pytest.raises(NotAllowed, match="has ended"):
        await nodes.delete("vn-F1-2")


async def test_a_virtual_node_with_a_contract_is_not_deleted_and_one_killed_half_way_is_ended_by_the_aggregator(
    world: Feeders, clock: ManualClock
) -> None:
    ids = await world.homes("e", 20, peak=None)
    fund(world.ledger, 5_000)
    formation = world.formation()
    [node] = await formation.form()
    await formation.keep_funded()
    request = RequestReduction(
        need_id="n", aggregator="agg", area="F1", start_ms=clock.now_ms(), interval_s=3600, target_wh=(1_000,),
        energy_price_minor_per_mwh=1, budget_minor=1,
    )  # fmt: skip
    records = AggregatorRecords(world.opened.vtn.database)
    await records.add_need(request, clock.now_ms())
    world.ledger.put("contract", "sc1-n-0", a_contract("sc1-n-0", "n", payee=node.party))
    with pytest.raises(NotAllowed, match="sc1-n-0 run"):
        await operations(world).delete("vn-F1")
    assert await world.members("vn-F1") == set(ids)
    await records.close_need("n")
    await world.nodes.change("vn-F1", state="ending")  # as far as a process came that was killed then
    await formation.form()
    assert [row.state for row in await world.nodes.nodes(ended=True) if row.name == "vn-F1"] == ["ended"]
    account = await world.opened.vtn.ledger.record(Account, party_account(node.party))
    assert account.credits_posted == account.debits_posted == 1_000


async def test_a_query_has_the_names_of_the_standard(world: Feeders) -> None:
    await world.homes("e", 20, peak=None)
    await world.formation().form()
    [found] = await operations(world).query(moves=1)
    group = as_json(found)["EndDeviceGroup"]
    assert (group["mRID"], group["Names"], len(group["EndDevices"])) == ("vn-F1", [{"name": "vn-F1"}], 20)
    assert {"mRID", "Names"} == group["EndDevices"][0].keys()
    assert found.moves[0].kind == "formed"


async def test_capability_is_the_sum_of_what_homes_say_they_can_do(world: Feeders) -> None:
    ids = await world.homes("e", 20, peak=None)
    battery = Resource(flexible_w=3_000, devices=(Device(kind="battery", power_w=3_000, energy_wh=6_000),))
    async with world.opened.vtn.database.transaction() as connection:
        from vtn.services.vens import change_ven

        await change_ven(connection, ids[0], resource=msgspec.json.encode(battery))
    await world.formation().form()
    found = await Figures(operations(world)).capability("vn-F1")
    assert found.down_w == 19 * 1_500 + 3_000
    assert found.up_w == 3_000
    assert found.energy_wh == 19 * 6_000 + 3_000
    down, up = as_json(found)["EndDeviceGroup"]["DERMonitorableParameter"]
    assert (down["DERParameter"], down["flowDirection"], down["yUnitInstalledMax"]) == (
        "activePower",
        "reverse",
        31_500,
    )
    assert (up["flowDirection"], up["yUnitInstalledMax"]) == ("forward", 3_000)


async def test_status_says_who_is_silent_and_what_was_used_inside(world: Feeders, clock: ManualClock) -> None:
    """Ten homes feed in what the others use; one home has been silent for a day."""
    ids = await world.homes("e", 20, days=2)
    await world.formation().form()
    vtn, at_ms = world.opened.vtn, clock.now_ms() - HOUR_MS
    for number, ven_id in enumerate(ids):
        energy = -300 if number < 10 else 200
        await vtn.telemetry.store(ven_id, [Reading("energy", at_ms, 3600, energy, "ok")])
    [silent] = await world.homes("late", 1, peak=None)
    await world.formation().form()
    found = await Figures(operations(world)).status("vn-F1", hours=2)
    last = found.balance[-1]
    assert (last.used_inside_wh, last.import_wh, last.export_wh) == (2_000, 0, -1_000)
    assert (found.load_w, found.load_ms) == (-1_000, at_ms)
    assert (found.homes, found.connected, found.silent, found.in_event) == (21, 20, ("late-0",), 0)
    party = (await vtn.vens.get(silent)).party
    engaged = EngagementRecord(contract_id="c", end_ms=clock.now_ms() + HOUR_MS)
    world.ledger.put("engagement", f"{party}/{clock.now_ms()}", engaged)
    assert (await Figures(operations(world)).status("vn-F1")).in_event == 1


async def test_a_sum_of_four_homes_is_nobodys_to_see(world: Feeders) -> None:
    await world.homes("e", 4, days=2)
    nodes = operations(world)
    await nodes.create("four", [f"e-{n}" for n in range(4)])
    found = await Figures(nodes).status("four")
    assert (found.load_w, found.balance, found.note) == (None, (), "sums are shown of at least 5 homes")


async def test_a_sum_before_and_after_a_move_does_not_tell_what_the_home_that_moved_used(
    world: Feeders, clock: ManualClock
) -> None:
    ids = await world.homes("e", 20, days=2)
    await world.formation().form()
    nodes, at_ms = operations(world), clock.now_ms() - HOUR_MS
    for ven_id in ids:
        await world.opened.vtn.telemetry.store(ven_id, [Reading("energy", at_ms, 3600, 200, "ok")])
    assert (await Figures(nodes).status("vn-F1", hours=2)).load_ms == at_ms
    clock.advance(60_000)
    await nodes.maintain("vn-F1", remove=["e-3"])
    after = await Figures(nodes).status("vn-F1", hours=2)
    assert (after.load_w, after.balance) == (None, ())
    assert "would tell of them" in after.note
    clock.advance(HOUR_MS)
    for ven_id in ids:
        await world.opened.vtn.telemetry.store(ven_id, [Reading("energy", at_ms + HOUR_MS, 3600, 200, "ok")])
    clock.advance(HOUR_MS)
    for ven_id in ids:
        await world.opened.vtn.telemetry.store(ven_id, [Reading("energy", at_ms + 2 * HOUR_MS, 3600, 300, "ok")])
    seen = await Figures(nodes).status("vn-F1", hours=3)
    assert [line.start_ms for line in seen.balance] == [at_ms + 2 * HOUR_MS], "what came after the move is shown"


async def test_members_are_asked_to_take_a_surplus_before_others_of_the_feeder(
    world: Feeders, clock: ManualClock
) -> None:
    mine, others = await world.homes("m", 6, days=2), await world.homes("o", 6, days=2)
    nodes = operations(world)
    await nodes.create("mine", mine)
    vtn, at_ms = world.opened.vtn, clock.now_ms() - HOUR_MS
    from vtn.services.vens import change_ven

    async with vtn.database.transaction() as connection:
        for ven_id, power_w in ((mine[0], 500), (others[0], 5_000)):
            battery = Resource(flexible_w=0, devices=(Device(kind="battery", power_w=power_w, energy_wh=9_000),))
            await change_ven(connection, ven_id, resource=msgspec.json.encode(battery))
    for number, ven_id in enumerate(mine):
        await vtn.telemetry.store(ven_id, [Reading("energy", at_ms, 3600, -1_300 if number < 2 else 400, "ok")])
    found = await Figures(nodes).absorption("mine", at_ms)
    assert found.balance.export_wh == -1_000
    assert found.asked.members_wh == {"m-0": 500}
    assert found.asked.others_wh == {"o-0": 500}
    assert found.asked.left_wh == 0


async def test_a_dispatch_is_looked_at_for_one_virtual_node_of_a_feeder(world: Feeders, clock: ManualClock) -> None:
    evening = await world.homes("e", 21, days=30)
    await world.homes("n", 24, peak=NIGHT, days=30)
    await world.formation().form()
    node = (await world.opened.vtn.vens.get(evening[0])).virtual_node or ""
    found = await Figures(operations(world)).dispatch(node, clock.now_ms() + 18 * HOUR_MS, [1_000])
    assert found.preview.homes == 21
    assert {name.split("-")[0] for name in found.preview.names.values()} == {"e"}
    assert found.preview.calls > 0
    [curve] = as_json(found)["EndDeviceGroup"]["DERMonitorableParameter"]
    assert curve["flowDirection"] == "reverse"
    assert curve["DispatchSchedule"]["DERCurveData"][0]["nominalYValue"] == 1_000


async def test_a_forecast_has_a_band_and_what_is_used_inside(world: Feeders) -> None:
    from vtn.services.virtual_nodes.outlook import Outlook

    await world.homes("e", 20, days=40)
    await world.formation().form()
    found = await Outlook(operations(world)).forecast("vn-F1", hours=24)
    assert len(found.intervals) == 24
    assert all(each.least_wh <= each.net_wh <= each.most_wh for each in found.intervals)
    assert all(each.used_inside_wh == 0 for each in found.intervals), "nobody feeds in"
    evening = max(found.intervals, key=lambda each: each.net_wh)
    assert 17 <= (evening.start_ms // HOUR_MS) % 24 <= 21
    told = as_json(found)
    assert told["predictionCreationDate"].endswith("Z")
    curve = told["EndDeviceGroup"]["DERMonitorableParameter"][0]["DispatchSchedule"]
    assert (curve["numberOfIntervals"], curve["timeIntervalDuration"], curve["confidence"]) == (24, 3600, 80)
    assert {"intervalNumber", "timeStamp", "nominalYValue", "minYValue", "maxYValue"} == curve["DERCurveData"][0].keys()


async def test_a_customers_profile_is_shown_to_whom_the_consent_names(world: Feeders) -> None:
    from vtn.services.virtual_nodes.outlook import Outlook

    evening, _ = await world.homes("e", 20, days=20), await world.homes("n", 20, peak=NIGHT, days=20)
    await world.formation().form()
    outlook = Outlook(operations(world))
    with pytest.raises(NotAllowed, match="none consented"):
        await outlook.profiles(name="vn-F1")
    vtn = world.opened.vtn
    until_ms = vtn.clock.now_ms() + DAY_MS
    await vtn.consents.record_paper(evening[0], Role.AGGREGATOR, "advice", until_ms, "folder 1")
    node = (await vtn.vens.get(evening[0])).virtual_node
    found = await outlook.profiles(name=node)
    [home] = found.homes
    assert (home.ven_id, home.segment, found.withheld) == (evening[0], "evening", 19)
    assert home.why.startswith("17 to 22 h is")
    assert max(range(24), key=lambda hour: home.working_day_wh[hour] or 0) in range(17, 22)
    assert home.days[0] > home.days[1] > 0


async def test_a_home_planned_for_a_need_that_runs_stays_until_that_is_over(world: Feeders, clock: ManualClock) -> None:
    """Its contract is not on the ledger yet: the plan alone binds it."""
    ids = await world.homes("e", 20, peak=None)
    [node] = await world.formation().form()
    records = AggregatorRecords(world.opened.vtn.database)
    terms = device_terms(need_id="need-1", start_ms=clock.now_ms() + HOUR_MS)
    plan = msgspec.structs.replace(PLAN, virtual_node=node.party, terms=terms)
    await records.add_need(REQUEST, clock.now_ms())
    await records.add_group_plans([plan], [], [100], "need-1", clock.now_ms())
    planned = Round(
        sc1=plan.contract_id, round=0, reason="first", dr_event_id="evt", target_wh=(100,), lacking_wh=(0,),
        planned_ms=clock.now_ms(),
    )  # fmt: skip
    device = DevicePlan(
        contract_id="sc2-need-1-0-0-000", sc1=plan.contract_id, round=0, device="dev-e-3", ven_id=ids[3], terms=terms,
        reliability_bp=9_000,
    )  # fmt: skip
    await records.add_round(planned, [device], [], "need-1")
    with pytest.raises(NotAllowed, match=r"e-3 \(planned for the need need-1\)"):
        await operations(world).maintain("vn-F1", remove=["e-3"])
    clock.advance(DAY_MS)
    assert (await operations(world).maintain("vn-F1", remove=["e-3"])).homes == 19


async def test_workers_hear_of_every_home_that_moved(world: Feeders) -> None:
    ids = await world.homes("e", 20, peak=None)
    heard: set[str] = set()
    listening, complete = asyncio.Event(), asyncio.Event()

    async def begun() -> None:
        listening.set()

    def note(key: str) -> None:
        heard.add(key)
        if heard == set(ids):
            complete.set()

    wakeups = Wakeups(world.opened.vtn.database_url, begun)
    wakeups.on("ven", note)
    task = asyncio.create_task(wakeups.run())
    try:
        async with asyncio.timeout(60):
            await listening.wait()
            await world.formation().form()
            await complete.wait()
    finally:
        task.cancel()
    assert heard == set(ids)
