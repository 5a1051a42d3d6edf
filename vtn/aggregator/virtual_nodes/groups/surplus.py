"""Where an event is to absorb surplus: virtual nodes that have one of their own, so that their members are asked first.

An event of the policy `renewable` moves load into hours with too much generation. What a virtual node has too much is
used inside by its own members before those of others take it from the feeder.
"""

from __future__ import annotations

from contracts.core.commands import RequestReduction
from contracts.core.units import MS_PER_S
from runtime.logs import get_logger
from vtn.aggregator.virtual_nodes.groups.grouping import installed
from vtn.errors import NotFound
from vtn.records.database import Database

RENEWABLE = "renewable"
_DAY_MS = 86_400_000

_log = get_logger("vtn.surplus")


async def surplus_wh(database: Database, program: str, request: RequestReduction) -> dict[str, int]:
    """Virtual node -> Wh its homes are forecast to have too much of, all together, on the day of a need that was
    proposed to absorb surplus; empty for every other need, and where nothing is known. Never raises: a need is not to
    wait for it."""
    if not installed():
        return {}
    try:
        return await _surplus_wh(database, program, request)
    except NotFound:
        return {}
    except Exception:
        _log.exception("virtual nodes are asked in merit order alone", need=request.need_id)
        return {}


async def _surplus_wh(database: Database, program: str, request: RequestReduction) -> dict[str, int]:
    from vtn.analytics.proposing.records import find
    from vtn.analytics.runs import VIRTUAL_NODES, Runs

    async with database.reading() as connection:
        found = await find(connection, request.need_id.replace("need-", "event-", 1))
    proposed = found.proposal
    if proposed.request.need_id != request.need_id or proposed.policy != RENEWABLE:
        return {}
    first_ms = proposed.from_ms
    end_ms = first_ms + len(proposed.change_wh) * request.interval_s * MS_PER_S
    latest: dict[tuple[str, int], tuple[int, float]] = {}
    for run in await Runs(database).runs(program, VIRTUAL_NODES, first_ms - 2 * _DAY_MS, end_ms):
        for row, name in enumerate(run.series):
            for position, net in enumerate(run.values[row]):
                at_ms = run.start_ms + position * run.interval_s * MS_PER_S
                known = latest.get((name, at_ms))
                if net is not None and first_ms <= at_ms < end_ms and (known is None or known[0] <= run.issued_at_ms):
                    latest[name, at_ms] = (run.issued_at_ms, net)
    surplus: dict[str, int] = {}
    for (name, _), (_, net) in latest.items():
        surplus[name] = surplus.get(name, 0) + max(0, -round(net))
    return {name: wh for name, wh in surplus.items() if wh}
