"""`dr-ledger begin-order`: a new order for an old ledger, where etcd was lost for good (fault rule 13).

stop every member ─▶ new etcd cluster ─▶ begin-order by a member whose last block is final ─▶ start every member

Nobody rolls back: the order goes on behind the highest block that a quorum cosigned. A member that has less catches up
from the others; one that has more holds a block that no quorum vouched for, is refused, and is restored from a backup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.options import Config, DatabaseUrl, DataDir, Json, SecretsDir
from ledger.cli.output import UsageError, show
from ledger.config import LedgerSettings
from ledger.errors import GenesisInvalid
from ledger.verify import VerificationError, parse_policy, verify_checkpoint
from runtime import logs, service

if TYPE_CHECKING:
    from ledger.founding import Founded
    from ledger.genesis import Loaded


def begin_order(
    height: Annotated[int, typer.Option("--height", min=1, help="The last block of the old order: final, and ours.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: Config = None,
    secrets_dir: SecretsDir = None,
    json: Json = False,
) -> None:
    """Where etcd was lost for good: let the new one's order begin behind a block that a quorum cosigned."""
    from ledger.founding import load

    flags = {"data_dir": data_dir, "database_url": database_url}
    settings = LedgerSettings.load(config=config, secrets_dir=secrets_dir, flags=flags)
    logs.configure("dr-ledger", settings.log_json, settings.log_level)
    founded = load(settings)
    etcd = settings.etcd(founded.genesis.channel, founded.member)
    if etcd is None:
        raise UsageError("this member orders by itself (no setting etcd_endpoints): it needs no other order")

    async def work() -> None:
        from ledger.ordering.etcd.orderer import EtcdOrderer

        await _require_final(settings, founded, height)
        orderer = EtcdOrderer(etcd)
        try:
            await orderer.found(height)
        finally:
            await orderer.stop()

    service.run(work())
    show({"channel": founded.genesis.channel, "begins_after": height}, as_json=json)


async def _require_final(settings: LedgerSettings, founded: Founded, height: int) -> None:
    """Raises GenesisInvalid unless `height` is this member's last block, and is final; Diverged."""
    from ledger import genesis
    from ledger.store.postgres import PostgresStore
    from runtime.database import check_schema, create_engine
    from runtime.postgres import postgres

    async with postgres(
        settings.database_url, settings.postgres_dir, "ledger", binaries=settings.postgres_binaries, attach=True
    ) as url:
        engine = create_engine(url, application_name="dr-ledger begin-order")
        try:
            await check_schema(engine, "ledger")
            store = PostgresStore(engine, founded.genesis.channel)
            loaded = await genesis.load(store, founded)
            await store.close()
        finally:
            await engine.dispose()
    last = loaded.head.height
    final = last if _alone(founded, loaded) else 0 if loaded.final is None else loaded.final.height
    if last != height or final != height:
        raise GenesisInvalid(
            f"the order cannot begin after block {height}: this member's last block is {last}, its last final one "
            f"{final}. Ask every member (`dr-ledger status`), and run this on one whose last block is the highest "
            "final one"
        )


def _alone(founded: Founded, loaded: Loaded) -> bool:
    """Is this member's own signature a quorum of those who are members now, whoever founded?"""
    from ledger.founding import policy_of
    from ledger.genesis import members

    present, policy = loaded.roster.members, founded.policy
    if present and {each.name for each in present} != members(policy).keys():
        policy = policy_of(present, like=policy)
    try:
        return bool(verify_checkpoint(loaded.checkpoint, parse_policy(policy)).cosigned_at_s)
    except VerificationError:
        return False
