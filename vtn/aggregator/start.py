"""Puts an aggregator together on an open VTN."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial

from ledger.client import LedgerClient
from runtime.keys import PrivateKey
from runtime.logs import get_logger
from vtn.aggregator.cycle import Cycle
from vtn.aggregator.gateway import EnrolledMembers, ProgramEvents
from vtn.aggregator.records import AggregatorRecords
from vtn.aggregator.virtual_nodes.agent import Surroundings
from vtn.aggregator.virtual_nodes.calling.spreading import elsewhere
from vtn.aggregator.virtual_nodes.choosing import prepare
from vtn.aggregator.virtual_nodes.formation import Formation
from vtn.aggregator.virtual_nodes.groups.grouping import Grouping
from vtn.aggregator.virtual_nodes.groups.records import NodeRecords
from vtn.aggregator.virtual_nodes.groups.reviewing import Reviews
from vtn.aggregator.virtual_nodes.groups.surplus import surplus_wh
from vtn.aggregator.virtual_nodes.members.forecasts import home_forecasts
from vtn.aggregator.virtual_nodes.members.track import TrackRecord
from vtn.context import Vtn
from vtn.services.programs import Program

_PROGRAM_WAIT_S = 1.0

_log = get_logger("vtn.aggregator")


async def run(vtn: Vtn) -> None:
    """Works for the VTN's program until cancelled; waits for one where there is none yet."""
    while not (programs := await vtn.programs.list()):
        await asyncio.sleep(_PROGRAM_WAIT_S)
    program = programs[0]
    for other in programs[1:]:
        _log.warning(
            "only one program is served, homes of others are not called", served=program.name, not_served=other.name
        )
    _log.info("aggregator at work", program=program.name, party=vtn.party)
    clients: list[LedgerClient] = []
    await asyncio.to_thread(prepare, vtn.settings.dispatch)
    try:
        async with elsewhere(vtn.settings) as executor, asyncio.TaskGroup() as tasks:
            tasks.create_task(cycle(vtn, program, clients, executor).run())
            tasks.create_task(reviews(vtn, program).run())
    finally:
        for client in clients:
            await client.close()


def cycle(
    vtn: Vtn, program: Program, clients: list[LedgerClient], executor: Executor | None = None
) -> Cycle:  # fmt: skip
    """The cycle of one program; every ledger client it opens for a virtual node is appended to `clients`. `executor`:
    where large groups are chosen from, None: in this process."""
    settings = vtn.settings
    records = AggregatorRecords(vtn.database)
    around = Surroundings(
        members=EnrolledMembers(vtn.vens, vtn.telemetry, vtn.opts, vtn.contacts, program),
        events=ProgramEvents(vtn.dr_events, program.name),
        records=records,
        program=program,
        clock=vtn.clock,
        track=TrackRecord(program.terms.calendar, program.terms.derate_percent),
        method=settings.dispatch,
        limit_s=settings.dispatch_limit_s,
        executor=executor,
        forecasts=home_forecasts(vtn.database, settings, program),
    )

    def client_of(party: str, key: PrivateKey) -> LedgerClient:
        client = LedgerClient(settings.ledger_url, channel=settings.channel, key=key, party=party, clock=vtn.clock)
        clients.append(client)
        return client

    formation = Formation(
        keys=settings.data_dir / "virtual_nodes",
        ledger=vtn.ledger,
        client_of=client_of,
        vens=vtn.vens,
        around=around,
        nodes=NodeRecords(vtn.database, vtn.clock),
        grouping=grouping(vtn, program),
        float_minor=settings.virtual_node_float_minor,
    )
    return Cycle(
        vtn.ledger,
        records,
        formation,
        around,
        turn_s=settings.aggregator_turn_s,
        surplus_of=partial(surplus_wh, vtn.database, program.name),
    )


def reviews(vtn: Vtn, program: Program) -> Reviews:
    """The reviews of the groups of one program."""
    settings = vtn.settings
    return Reviews(
        nodes=NodeRecords(vtn.database, vtn.clock),
        grouping=grouping(vtn, program),
        vens=vtn.vens,
        ledger=vtn.ledger,
        records=AggregatorRecords(vtn.database),
        program=program,
        clock=vtn.clock,
        keys=settings.data_dir / "virtual_nodes",
        days=settings.virtual_node_review_days,
        seed=settings.virtual_node_seed,
        metric=settings.virtual_node_metric,
    )


def grouping(vtn: Vtn, program: Program) -> Grouping:
    """Who goes with whom, from what homes of one program reported."""
    members = EnrolledMembers(vtn.vens, vtn.telemetry, vtn.opts, vtn.contacts, program)
    return Grouping(members, program, vtn.settings, vtn.clock, vtn.settings.virtual_node_homes_min)
