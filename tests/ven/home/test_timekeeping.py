"""A clock that is wrong, ahead or behind, and what is not done by it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runtime.clock import ManualClock
from tests.builders import START_MS
from tests.ven import homes
from tests.ven.homes import a_store
from ven.home.timekeeping import LEDGER, VTN, Timekeeper
from ven.metrics import Metrics

MINUTE_MS = 60_000
TOLERANCE_S = 30.0


class Keeping:
    """A timekeeper on clocks that the test moves: `set` moves the one that people set, `pass_s` both."""

    def __init__(self, folder) -> None:
        self.store = a_store(folder)
        self.clock = ManualClock(START_MS)
        self.running = 0.0
        self.found_wrong = 0
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.keeper = self.again()

    def again(self) -> Timekeeper:
        keeper = Timekeeper(
            self.clock,
            self.store.notes,
            self.metrics,
            home="H1",
            tolerance_s=TOLERANCE_S,
            running_s=lambda: self.running,
        )
        keeper.became_wrong = self._wrong
        return keeper

    def _wrong(self) -> None:
        self.found_wrong += 1

    def pass_s(self, seconds: float) -> None:
        self.running += seconds
        self.clock.advance(int(seconds * 1000))

    def set(self, ms: int) -> None:
        self.clock._now_ms += ms
        self.keeper.look()

    def hear(self, skew_ms: int, source=LEDGER) -> None:
        now_ms = self.clock.now_ms()
        self.keeper.compare(source, now_ms - skew_ms, now_ms - 200, now_ms)


@pytest.fixture
def keeping(tmp_path):
    return Keeping(tmp_path)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """For all examples: what is remembered of the clock decides nothing."""
    kept = Keeping(tmp_path_factory.mktemp("clock"))
    homes.opened.remove(kept.store)  # the others are closed after each test
    yield kept
    kept.store.close()


@pytest.mark.parametrize("skew_ms", [0, 29_000, -29_000])
def test_a_clock_within_the_tolerance_is_right(keeping, skew_ms):
    keeping.hear(skew_ms)
    assert (keeping.keeper.verdict.state, keeping.keeper.verdict.right_ms) == ("right", START_MS)
    assert keeping.keeper.withholding is None


@pytest.mark.parametrize(("skew_ms", "told"), [(61_000, "60 s ahead of"), (-61_000, "61 s behind")])
def test_a_clock_beyond_the_tolerance_is_wrong_and_the_owner_is_told_by_how_much(keeping, skew_ms, told):
    keeping.hear(skew_ms)
    assert keeping.keeper.wrong
    assert told in (keeping.keeper.withholding or "")
    assert keeping.found_wrong == 1
    assert keeping.registry.get_sample_value("gridpact_ven_homes_clock_wrong") == 1
    assert abs(keeping.registry.get_sample_value("gridpact_ven_clock_skew_seconds") - skew_ms / 1000) < 1
    keeping.hear(skew_ms)
    assert keeping.found_wrong == 1


def test_the_ledger_is_believed_before_the_vtn(keeping):
    keeping.hear(3_600_000, VTN)
    assert keeping.keeper.wrong
    keeping.hear(0)
    assert keeping.keeper.verdict.state == "right"


def test_a_source_that_contradicts_itself_says_nothing(keeping):
    keeping.hear(0, VTN)
    keeping.hear(-3_600_000, VTN)
    assert keeping.keeper.verdict.state == "unknown"


def test_blocks_show_a_clock_that_is_behind_and_own_transactions_one_that_is_ahead(keeping):
    now_ms = keeping.clock.now_ms()
    keeping.keeper.block(now_ms - 3 * MINUTE_MS, None)  # an old block says little
    assert keeping.keeper.verdict.state == "unknown"
    keeping.keeper.block(now_ms - 1000, now_ms - 1500)
    assert keeping.keeper.verdict.state == "right"
    keeping.keeper.block(now_ms + 10 * MINUTE_MS, None)
    assert not keeping.keeper.wrong  # it contradicts what was heard a moment ago
    keeping.pass_s(7200)
    keeping.keeper.block(keeping.clock.now_ms() + 10 * MINUTE_MS, keeping.clock.now_ms() - 100)
    assert keeping.keeper.wrong


def test_after_the_clock_was_set_nothing_is_stamped_until_somebody_says_that_it_is_right(keeping):
    keeping.hear(0)
    keeping.pass_s(60)
    keeping.set(3_600_000)
    assert "was set" in (keeping.keeper.withholding or "")
    keeping.pass_s(60)
    keeping.hear(3_600_000)
    assert keeping.keeper.wrong
    assert keeping.keeper.verdict.right_ms == START_MS
    keeping.set(-3_600_000)
    keeping.hear(0)
    assert keeping.keeper.withholding is None
    assert keeping.registry.get_sample_value("gridpact_ven_homes_clock_wrong") == 0


def test_a_home_that_nobody_tells_the_time_believes_a_clock_that_was_set_after_a_day(keeping):
    keeping.set(3_600_000)
    keeping.pass_s(86_000)
    assert keeping.keeper.withholding is not None
    keeping.pass_s(500)
    assert keeping.keeper.withholding is None


def test_when_it_was_last_right_is_remembered_over_a_restart(keeping):
    keeping.hear(0)
    keeping.pass_s(600)
    keeping.hear(0)
    assert keeping.again().verdict.right_ms == START_MS + 600_000


@settings(deadline=None, max_examples=60)
@given(
    skew_ms=st.integers(-200_000, 200_000),
    heard=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), min_size=1, max_size=6),
)
def test_an_honest_source_never_makes_a_right_clock_wrong_or_a_wrong_one_right(one, skew_ms, heard):
    keeping = one
    keeping.keeper = keeping.again()
    for way_ms, back_ms in heard:
        keeping.pass_s(1)
        now_ms = keeping.clock.now_ms()
        keeping.keeper.compare(LEDGER, now_ms - skew_ms - back_ms, now_ms - back_ms - way_ms, now_ms)
    if abs(skew_ms) <= TOLERANCE_S * 1000:
        assert not keeping.keeper.wrong
    else:
        assert keeping.keeper.verdict.state != "right"
