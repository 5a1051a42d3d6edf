"""Who is lost: opted out, silent for too long, or silent together with too many others for chance.

    one home      opted out                                          at once
                  no reading in two intervals                        its baseline is too noisy to judge it by delivery
                  no reading in one, and it missed three polls       two witnesses for one interval
                  the latest reading cannot be true                  what it does is not known
    many at once  more missed three polls than chance explains       at once, in the running interval
                  more of those of whose polls nothing is known
                  sent no reading than chance explains               after one interval

Chance: of those who accepted a contract hours ago, so many are out of reach at any moment anyway (`OUT_OF_REACH`). A
home that is heard again is counted on again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import comb

from vtn.aggregator.virtual_nodes.evidence.watched import Watched, running

SILENT_INTERVALS = 2
RELEASED, OPTED_OUT = "released", "opted out"
#: part of the homes that no event explains; how rare a coincidence must be to count as none
OUT_OF_REACH, BY_CHANCE = 0.02, 0.01


def lost(watched: Sequence[Watched], closed_until_ms: int, now_ms: int) -> dict[str, str]:
    """Contract id -> why its home is not counted on any more."""
    found = {each.contract_id: reason for each in watched if (reason := _alone(each, closed_until_ms))}
    within = [each for each in watched if running(each.terms, now_ms) and found.get(each.contract_id) not in _LEFT]
    polling = [each for each in within if each.unheard is not None]
    gone = [each for each in polling if each.unheard]
    if together(len(gone), len(polling)):
        reason = f"{len(gone)} of {len(polling)} homes missed their polls at once"
        found = {each.contract_id: reason for each in gone} | found
    # Who polls and does not report is late rather than gone.
    reporting = [each for each in within if each.unheard is None and each.expected(closed_until_ms)]
    reporting = [each for each in reporting if each.contract_id not in found]
    mute = [each for each in reporting if each.silent(closed_until_ms)]
    if together(len(mute), len(reporting)):
        reason = f"{len(mute)} of {len(reporting)} homes sent no reading at once"
        found |= {each.contract_id: reason for each in mute}
    return found


def together(gone: int, of: int) -> bool:
    """Are so many of so many gone that chance does not explain it?"""
    p = OUT_OF_REACH
    at_least = 1 - sum(comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(gone))
    return gone > 1 and at_least < BY_CHANCE


_LEFT: Collection[str] = (RELEASED, OPTED_OUT)


def _alone(each: Watched, closed_until_ms: int) -> str:
    if each.released:
        return RELEASED
    if each.opted_out:
        return OPTED_OUT
    silent = each.silent(closed_until_ms)
    if silent and each.expected(closed_until_ms)[-1] in each.readings_wh:
        return "readings beyond what its connection carries"
    if silent >= SILENT_INTERVALS:
        return f"no reading for {SILENT_INTERVALS} intervals"
    return "no reading for an interval, and it missed its polls" if silent and each.unheard else ""
