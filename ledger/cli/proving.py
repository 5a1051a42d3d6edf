"""Commands that take proofs home: three files each, checked before they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.tokens import Account, party_account
from ledger.cli.options import DEFAULT_URL, DEFAULT_WAIT_S, Ca, Channel, Json, ReadKey, Url, Wait, reading
from ledger.cli.output import UsageError, show, write_whole
from ledger.client import LedgerClient, ProofBundle
from ledger.verify import verify_balance, verify_proof

_BALANCE = "balance"

Trusted = Annotated[
    Path | None, typer.Option("--policy", help="Whom to believe; without it the ledger's own word is taken for it.")
]


def proof(
    output: Annotated[Path, typer.Option("--output", "-o", help="Name of the files without their endings.")],
    transaction: Annotated[str | None, typer.Option("--transaction", help="Id of the transaction.")] = None,
    at: Annotated[
        int | None,
        typer.Option("--at", min=0, help="Place in the log instead: deadlines have no id (`facts` shows it)."),
    ] = None,
    fact: Annotated[int | None, typer.Option("--fact", min=0, help="Number of the fact to open, from 0.")] = None,
    policy: Trusted = None,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Write proof, opening and policy of a transaction or deadline, checked: .tlog-proof, .opening.json and .policy.

    A policy fetched with the proof shows that the files fit; trust needs one from somebody you believe."""
    if (transaction is None) == (at is None):
        raise UsageError("give either --transaction or --at")

    given = None if policy is None else policy.read_bytes()

    async def work(client: LedgerClient) -> tuple[ProofBundle, bytes]:
        if at is not None:
            return await client.proof_at(at, fact), await client.policy() if given is None else given
        return await client.proof(transaction or "", fact), await client.policy() if given is None else given

    bundle, believed = reading(url, channel, ca, wait, key, work)
    verified = verify_proof(bundle.proof, believed, bundle.opening, strict=True)
    shown: dict[str, Any] = _write(output, bundle, believed)
    shown |= {"index": verified.index, "size": verified.attestation.checkpoint.size, "fact": verified.fact}
    show(shown, as_json=json)


def balance(
    party: Annotated[str | None, typer.Option("--party", help="Whose account.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Or which: need/ID, contract/ID, issuance.")] = None,
    prove: Annotated[
        Path | None, typer.Option("--prove", help="Folder for balance.tlog-proof, .opening.json and .policy.")
    ] = None,
    policy: Trusted = None,
    url: Url = DEFAULT_URL,
    channel: Channel = "main",
    key: ReadKey = None,
    ca: Ca = None,
    wait: Wait = DEFAULT_WAIT_S,
    json: Json = False,
) -> None:
    """Show what an account holds, in minor units, as a quorum of members vouches for it; the proof is checked here.

    An account that the ledger proves not to exist holds zero."""
    if (party is None) == (account is None):
        raise UsageError("give either --party or --account")
    name = account if account is not None else party_account(party or "")

    given = None if policy is None else policy.read_bytes()

    async def work(client: LedgerClient) -> tuple[ProofBundle, bytes]:
        return await client.record_proof(Account, name), await client.policy() if given is None else given

    bundle, believed = reading(url, channel, ca, wait, key, work)
    proved = verify_balance(bundle.proof, believed, bundle.opening)
    shown: dict[str, Any] = {
        "account": proved.account,
        "free_minor": proved.free_minor,
        "credits_posted": proved.credits_posted,
        "credits_pending": proved.credits_pending,
        "debits_posted": proved.debits_posted,
        "debits_pending": proved.debits_pending,
        "height": proved.height,
        "time_ms": proved.time_ms,
        "members": list(proved.members),
    }
    show(shown | ({} if prove is None else _write(prove / _BALANCE, bundle, believed)), as_json=json)


def _write(stem: Path, bundle: ProofBundle, policy: bytes) -> dict[str, str]:
    files = {
        "proof": (stem.with_name(stem.name + ".tlog-proof"), bundle.proof),
        "opening": (stem.with_name(stem.name + ".opening.json"), bundle.opening),
        "policy": (stem.with_name(stem.name + ".policy"), policy),
    }
    for path, data in files.values():
        write_whole(path, data)
    return {name: str(path) for name, (path, _) in files.items()}
