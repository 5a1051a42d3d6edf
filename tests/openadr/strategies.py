"""Events of every shape that keeps the rules, for property tests."""

import itertools
import unicodedata

from hypothesis import strategies as st

from openadr.conformance import SIGNAL_TYPES
from openadr.model import DrEvent, PowerAttributes, Signal, SignalInterval, Target, Unit

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=40)
IDS = (
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zs", "Zl", "Zp"]), min_size=1, max_size=30)
    .map(lambda text: unicodedata.normalize("NFC", text).strip())
    .filter(bool)
)
DECIMALS = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=6).map(str)
UNITS = st.one_of(
    st.none(),
    st.builds(
        Unit,
        st.sampled_from(["power_real", "power_apparent", "power_reactive"]),
        st.just("W"),
        st.sampled_from(["none", "k", "M", "micro"]),
        st.none() | st.builds(PowerAttributes, st.sampled_from(["50", "60.0"]), st.sampled_from(["230", "120"])),
    ).filter(lambda unit: unit.kind == "power_real"),
    st.builds(Unit, st.just("currency_per_kwh"), st.sampled_from(["EUR", "USD"])),
    st.builds(Unit, st.just("energy_real"), st.just("Wh"), st.sampled_from(["none", "k"])),
    st.builds(Unit, st.just("custom"), IDS, description=TEXT),
)
TARGETS = st.builds(Target, st.sampled_from(["ven", "group", "group_name", "resource", "party"]), IDS)


@st.composite
def signals(draw: st.DrawFn, signal_id: str, duration_s: int) -> Signal:
    """A signal whose intervals fill the active period (or are open-ended)."""
    name = draw(st.sampled_from(sorted(set(SIGNAL_TYPES) - {"SIMPLE"})))
    cuts = sorted(draw(st.sets(st.integers(1, 86_399), max_size=5)))
    if duration_s:
        edges = [0, *[cut for cut in cuts if cut < duration_s], duration_s]
        lengths = [after - before for before, after in itertools.pairwise(edges)]
    else:
        lengths = [*cuts, 0]
    return Signal(
        signal_id,
        name,
        draw(st.sampled_from(sorted(SIGNAL_TYPES[name]))),
        draw(UNITS),
        tuple(SignalInterval(length_s, draw(DECIMALS)) for length_s in lengths),
        tuple(draw(st.lists(IDS, max_size=2))),
    )


@st.composite
def events(draw: st.DrawFn, event_id: str | None = None) -> DrEvent:
    """A conformant event."""
    duration_s = draw(st.integers(0, 604_800))
    ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    seconds = st.integers(0, 10**6)
    return DrEvent(
        event_id=event_id or draw(IDS),
        program=draw(st.sampled_from(["http://programs.example/peak", "urn:grid:7", "MarketContext1"])),
        modification_number=draw(st.integers(0, 2**32 - 1)),
        priority=draw(st.integers(0, 2**32 - 1)),
        test_event=draw(st.booleans()),
        start_ms=draw(st.integers(0, 4_102_444_800_000)),
        duration_s=duration_s,
        signals=tuple(draw(signals(signal_id, duration_s)) for signal_id in ids),
        targets=tuple(draw(st.lists(TARGETS, max_size=4))),
        response_required=draw(st.booleans()),
        start_after_s=draw(seconds),
        notification_s=draw(seconds),
        ramp_up_s=draw(seconds),
        recovery_s=draw(seconds),
        vtn_comment=draw(TEXT),
        cancelled=draw(st.booleans()),
        created_ms=draw(st.integers(0, 4_102_444_800_000)),
    )
