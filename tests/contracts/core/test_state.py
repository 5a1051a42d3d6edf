"""The write set over a reader: what a contract sees of what it wrote."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from contracts.core.state import State
from contracts.measurements import Measurement
from tests.contracts.world import World

KEYS = st.sampled_from(("a", "b", "b/1", "b/2", "c", "d"))
EDITS = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 99)), max_size=12)


@given(EDITS, EDITS, EDITS, KEYS, KEYS, st.integers(0, 6))
@example([("a", 1), ("b", 2)], [("a", None)], [], "a", "c", 1)
def test_a_scan_over_stacked_writes_gives_what_one_table_would(
    stored: list[tuple[str, int | None]],
    written: list[tuple[str, int | None]],
    nested: list[tuple[str, int | None]],
    first: str,
    last: str,
    limit: int,
) -> None:
    world, table = World(devices=0), dict[str, int]()
    below = State(world)
    above = State(below)
    for state, edits in ((State(world), stored), (below, written), (above, nested)):
        for key, value in edits:
            if value is None:
                state.drop(Measurement, key)
                table.pop(key, None)
            else:
                state.put(key, Measurement(interval_s=900, energy_wh=value))
                table[key] = value
        if edits is stored:
            world.take(state.writes)
    expected = [(key, table[key]) for key in sorted(table) if first <= key < last][:limit]
    assert [(key, row.energy_wh) for key, row in above.rows(Measurement, first, last, limit)] == expected
    for key in ("a", "b", "c"):
        found = above.find(Measurement, key)
        assert (None if found is None else found.energy_wh) == table.get(key)
    below.merge(above)
    assert below.rows(Measurement, "", "~", 99) == above.rows(Measurement, "", "~", 99)


def test_nothing_reaches_the_reader_before_it_is_taken() -> None:
    world = World(devices=0)
    before = dict(world.records)
    state = State(world)
    state.put("a", Measurement(interval_s=900, energy_wh=1))
    state.drop(Measurement, "b")
    assert world.records == before
