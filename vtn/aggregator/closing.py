"""After the event: settle, complete and close on the ledger. A need has ended when its last payment is final."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from contracts.core.commands import CloseRequest, Command, DRCompletion, SettleDR
from contracts.demand_response.contract import ContractRecord, Status
from contracts.demand_response.needs import NeedRecord
from ledger.client import LedgerClient, Refused
from runtime.clock import Clock
from runtime.logs import get_logger

#: refusals that only say that somebody else was faster, or that it is a moment too early
_NOT_YET = ("too_early", "illegal_transition", "children_open", "need_closed")
_ENDED = (Status.COMPLETED, Status.REJECTED, Status.EXPIRED)

_FINAL_LOOKS = 10
_FINAL_LOOK_S = 0.1

_log = get_logger("vtn.closing")


async def close(ledger: LedgerClient, clock: Clock, need: NeedRecord, contracts: Sequence[ContractRecord]) -> bool:
    """One step toward the end of a need: SettleDR, DRCompletion, CloseRequest, whichever is due. True when it is closed
    and all of it is final: a payment counts when a quorum of the ledger's members cosigned it."""
    if need.closed:
        return await _is_final(ledger)
    for contract in contracts:
        while (command := _due(contract, clock.now_ms())) is not None and await _submit(ledger, command):
            contract = await ledger.record(ContractRecord, contract.contract_id) or contract
    left = [await ledger.record(ContractRecord, contract.contract_id) for contract in contracts]
    if any(contract is not None and contract.status not in _ENDED for contract in left):
        return False
    return await _submit(ledger, CloseRequest(need_id=need.request.need_id)) and await _is_final(ledger)


async def _is_final(ledger: LedgerClient) -> bool:
    """Is everything final that the ledger holds now? Waits a moment for it; the next turn asks again."""
    height = (await ledger.status())["height"]
    for _ in range(_FINAL_LOOKS):
        if (await ledger.status())["final_height"] >= height:
            return True
        await asyncio.sleep(_FINAL_LOOK_S)
    _log.warning("not final yet", height=height)
    return False


def _due(contract: ContractRecord, now_ms: int) -> Command | None:
    match contract.status:
        case Status.ACTIVE | Status.SETTLING if now_ms >= contract.terms.settle_after_ms:
            return SettleDR(contract_id=contract.contract_id)
        case Status.SETTLED | Status.COMPLETING:
            return DRCompletion(contract_id=contract.contract_id)
        case _:
            return None


async def _submit(ledger: LedgerClient, command: Command) -> bool:
    try:
        await ledger.submit(command)
    except Refused as error:
        if error.code not in _NOT_YET:
            _log.error("closing step refused", step=type(command).__name__, code=error.code)
        return False
    return True
