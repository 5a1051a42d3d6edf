"""What the device should do: pure, from contracts, events and the owner's word, with the moment passed in."""

from ven.home.decision.actions import Abilities, Action, Charge, Level, Limit, Reduce
from ven.home.decision.availability import Availability
from ven.home.decision.demands import heeded, simple_signal
from ven.home.decision.plan import Decision, Known, action, next_change_ms, obligation_w, plan

__all__ = [
    "Abilities",
    "Action",
    "Availability",
    "Charge",
    "Decision",
    "Known",
    "Level",
    "Limit",
    "Reduce",
    "action",
    "heeded",
    "next_change_ms",
    "obligation_w",
    "plan",
    "simple_signal",
]
