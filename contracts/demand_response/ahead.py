"""What a step of a contract will read beside its own record: a hint for loading records in few queries, nothing else.

Each round needs what the round before has found; a caller loads the keys of one round for all commands of a block at
once. Leaving one out, or asking for one too many, costs a query and changes no result.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from contracts.core.commands import AcceptReduction, Command, DRCompletion, RejectReduction, SettleDR, measurement_key
from contracts.core.state import R
from contracts.core.units import MS_PER_S
from contracts.demand_response.completion import CASCADE_MAX
from contracts.demand_response.contract import (
    ChildRecord,
    ContractRecord,
    child_key,
    deposit_transfer,
    escrow_transfer,
)
from contracts.tokens import contract_account, need_account, party_account

Keys = Sequence[tuple[str, str]]
READING_AHEAD: Final = (AcceptReduction, RejectReduction, SettleDR, DRCompletion)
"""The commands that have rounds."""


class Find(Protocol):
    """Gives a record that is there."""

    def __call__(self, kind: type[R], key: str, /) -> R | None: ...


def rounds(command: Command, find: Find) -> Iterator[Keys]:
    """(kind, key) of records to load, round by round; `find` gives those that are loaded."""
    match command:
        case AcceptReduction() | RejectReduction():
            contract = find(ContractRecord, command.contract_id)
            if contract is not None:
                yield _of_contract(contract)
        case SettleDR() | DRCompletion():
            contract = find(ContractRecord, command.contract_id)
            if contract is None:
                return
            last = min(contract.children, contract.cursor + CASCADE_MAX)
            places = [child_key(contract.contract_id, position) for position in range(contract.cursor, last)]
            yield [("child", place) for place in places]
            rows = [find(ChildRecord, place) for place in places]
            named = [row.contract_id for row in rows if row is not None]
            yield [("contract", contract_id) for contract_id in named]
            found = [find(ContractRecord, contract_id) for contract_id in named]
            children = [child for child in found if child is not None]
            if isinstance(command, SettleDR):
                yield [key for child in children for key in _readings(child)]
            else:
                yield [key for child in (contract, *children) for key in _of_contract(child)]
        case _:
            return


def _of_contract(contract: ContractRecord) -> Keys:
    above = contract.parent or contract.contract_id
    keys = [
        ("transfer", escrow_transfer(contract.contract_id)),
        ("transfer", deposit_transfer(contract.contract_id)),
        ("account", party_account(contract.payee)),
        ("account", contract_account(above)),
    ]
    if contract.parent is not None:
        keys.append(("contract", contract.parent))
    else:
        keys += [("need", contract.terms.need_id), ("account", need_account(contract.terms.need_id))]
        keys.append(("account", party_account(contract.payer)))
    return keys


def _readings(contract: ContractRecord) -> Keys:
    terms = contract.terms
    step = terms.interval_s * MS_PER_S
    starts = [terms.start_ms + n * step for n in range(len(terms.obligation_wh))]
    if terms.baseline is not None:
        starts += [terms.baseline.adjustment_start_ms + n * step for n in range(len(terms.baseline.adjustment_wh))]
    return [("measurement", measurement_key(contract.payee, start_ms)) for start_ms in starts]
