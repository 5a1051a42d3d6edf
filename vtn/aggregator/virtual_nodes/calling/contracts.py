"""The contracts with homes that follow from a choice of members, each with the event of its own window.

choice: homes a, b for all of the event, c for an hour       evt-n-0-0           a, b
                                                             evt-n-0-0-w4x4      c: 4 intervals from the 5th on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.core.commands import BaselineCommitment
from contracts.core.units import MS_PER_S
from contracts.demand_response.contract import ContractRecord, terms_end_ms
from openadr.model import DrEvent
from vtn.aggregator.dispatch import Choice
from vtn.aggregator.records import DevicePlan
from vtn.aggregator.terms import device_terms, dr_event
from vtn.aggregator.virtual_nodes.members.candidacy import Evaluation
from vtn.services.programs import Program


@dataclass(frozen=True)
class Calling:
    """One round of a contract: what its events and contracts have in common. `start_ms`: of the round's first interval;
    `event_id`: of who is called for all of it, the beginning of the others' ids."""

    program: Program
    group: str
    contract: ContractRecord
    number: int
    event_id: str
    start_ms: int
    accept_by_ms: int

    def window(self, choice: Choice) -> tuple[int, int]:
        """From when (ms) and for how many intervals a choice is called."""
        step_ms = self.contract.terms.interval_s * MS_PER_S
        whole = (terms_end_ms(self.contract.terms) - self.start_ms) // step_ms
        return self.start_ms + choice.start * step_ms, choice.count or whole

    def event(self, choice: Choice) -> DrEvent:
        """The event of a choice; the same for all that have its window."""
        from_ms, count = self.window(choice)
        own = f"-w{choice.start}x{choice.count}" if choice.count else ""
        end_ms = from_ms + count * self.contract.terms.interval_s * MS_PER_S
        return dr_event(self.program, self.event_id + own, self.group, from_ms, end_ms)


def device_plans(
    calling: Calling,
    chosen: Sequence[Choice],
    evaluations: Sequence[Evaluation],
    own_baselines: Mapping[str, BaselineCommitment],
) -> list[DevicePlan]:
    """SC2s for the members chosen, each on its own committed baseline: of the whole event as evaluated, of a window of
    its own from `own_baselines` (ven_id -> commitment). Who has none for its window is not called."""
    by_id = {each.candidate.candidate: each for each in evaluations}
    contract, plans = calling.contract, []
    for position, choice in enumerate(chosen):
        member = by_id[choice.candidate.candidate]
        baseline = own_baselines.get(member.member.ven_id) if choice.count else member.baseline
        if baseline is None:
            continue
        _, count = calling.window(choice)
        obligation_wh = choice.obligation_wh[choice.start : choice.start + count]
        event = calling.event(choice)
        terms = device_terms(
            calling.program, contract.terms, event, obligation_wh, baseline, calling.accept_by_ms
        )  # fmt: skip
        plans.append(
            DevicePlan(
                contract_id=f"sc2-{contract.contract_id.removeprefix('sc1-')}-{calling.number}-{position:03d}",
                sc1=contract.contract_id,
                round=calling.number,
                device=member.member.party,
                ven_id=member.member.ven_id,
                terms=terms,
                reliability_bp=member.candidate.reliability_bp,
            )
        )
    return plans
