"""Founds a local consortium: keys, certificates, one genesis for all, tables, and settings for each member.

    certificates ─▶ each member makes its keys ─▶ one genesis of all ─▶ each member joins ─▶ tables ─▶ cluster.json

cluster.json is written last. Until then a mark stands in the folder, and whatever a founding that was cut short left is
removed by the next one: nobody can have used it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.core.commands import Enrolment
from contracts.core.parties import Role
from ledger.client import party_id
from ledger.cluster.certificates import CERTIFICATE_DAYS, ETCD_PEER, Authority, local_names
from ledger.cluster.layout import CHANNEL, LOOPBACK, ORIGIN, ClusterError, Layout, Member
from ledger.cluster.order import found_order
from ledger.config import LedgerSettings
from ledger.founding import consortium, contracts_root, create_member, found, found_consortium
from ledger.verify.note import VerifierKey
from runtime.database import upgrade
from runtime.keys import PrivateKey
from runtime.postgres import postgres

#: who founds a consortium whose founders are not named: local keys, for trying things out
_ROLES = (Role.UTILITY, Role.AGGREGATOR, Role.AUDITOR)


@dataclass(frozen=True)
class Founders:
    """Public keys by role; a role without any gets a key of its own in the folder `keys`."""

    keys: Mapping[Role, Sequence[str]]

    def enrolments(self, keys_dir: Path) -> list[Enrolment]:
        """The founding parties, with local keys where none were given."""
        found = []
        for role in _ROLES:
            given = self.keys.get(role) or [_local_key(keys_dir / f"{role.value}.key")]
            for public in given:
                party = party_id(role, public)
                found.append(Enrolment(party=party, role=role, key=public, sponsor=party, area="portfolio"))
        return found


@dataclass(frozen=True)
class Witnessed:
    """External witnesses: the lines that name them, by how many each checkpoint must be cosigned to be final, and the
    PEM authorities of their certificates."""

    lines: bytes = b""
    keys: Sequence[VerifierKey] = ()
    required: int = 0
    ca: bytes = b""


async def prepare(
    layout: Layout,
    founders: Founders,
    *,
    created_ms: int,
    days: int = CERTIFICATE_DAYS,
    witnessed: Witnessed | None = None,
) -> None:
    """Founds the consortium. Raises ClusterError where the folder holds something else, GenesisInvalid."""
    witnessed = witnessed or Witnessed()
    _clear(layout)
    layout.founding_mark.touch()
    for path, content in ((layout.witness_file, witnessed.lines), (layout.witness_ca, witnessed.ca)):
        path.unlink(missing_ok=True)  # of a founding that was cut short
        if content:
            path.write_bytes(content)
    if layout.tls or layout.api_tls:
        issue_certificates(layout, days=days)
    for member in layout.members:
        member.folder.mkdir(parents=True, exist_ok=True)
        write_settings(layout, member)
    _found(layout, founders.enrolments(layout.keys_dir), created_ms, witnessed)
    try:
        async with asyncio.TaskGroup() as tasks:
            if layout.orderer == "etcd":
                tasks.create_task(found_order(layout))
            for member in layout.members:
                tasks.create_task(migrate(member))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    layout.write()
    layout.founding_mark.unlink()


def issue_certificates(layout: Layout, *, only: Member | None = None, days: int = CERTIFICATE_DAYS) -> list[Path]:
    """The authority (kept, if there is one), and for each member (or `only` one) certificates of its replica and its
    etcd (keys are kept). Returns what was written. Running processes read them at their next start."""
    authority = Authority.load(layout.ca_dir) if layout.ca.exists() else Authority.create(layout.ca_dir)
    written = []
    for member in [only] if only is not None else layout.members:
        written.append(authority.issue(member.replica_pair, member.name, local_names(), days=days).chain)
        if layout.orderer == "etcd":
            hosts = (*local_names(), ETCD_PEER)
            written.append(authority.issue(member.etcd_pair, member.label, hosts, days=days).chain)
    return written


def write_settings(layout: Layout, member: Member) -> None:
    """The member's replica.toml, for `dr-ledger serve --config`."""
    settings: dict[str, object] = {
        "data_dir": str(member.ledger_dir),
        "host": LOOPBACK,
        "port": member.ports.api,
        "log_json": True,
    }
    if layout.api_tls:
        settings |= {
            "certificate": str(member.replica_pair.chain),
            "certificate_key": str(member.replica_pair.key),
        }
    for name, path in (("witness_file", layout.witness_file), ("witness_ca", layout.witness_ca)):
        if path.exists():
            settings[name] = str(path)
    if layout.orderer == "etcd":
        settings |= _shared_order(layout, member)
    lines = [f"# The replica of {member.name}: dr-ledger serve --config {member.config}"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    member.config.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shared_order(layout: Layout, member: Member) -> dict[str, object]:
    """Settings of a member that orders with others: how it is reached by them, and how it reaches etcd."""
    own_first = [member, *(each for each in layout.members if each.label != member.label)]
    settings: dict[str, object] = {
        "peer_host": LOOPBACK,
        "peer_port": member.ports.peer,
        "etcd_endpoints": ",".join(layout.etcd_url(each) for each in own_first),
        "etcd_user": member.label,
    }
    if layout.tls:
        settings |= {
            "peer_certificate": str(member.replica_pair.chain),
            "peer_certificate_key": str(member.replica_pair.key),
            "peer_ca": str(layout.ca),
            "etcd_ca": str(layout.ca),
            "etcd_certificate": str(member.replica_pair.chain),
            "etcd_certificate_key": str(member.replica_pair.key),
        }
    return settings


def settings_of(member: Member) -> LedgerSettings:
    """The settings the member's replica is served with. Raises SettingsError."""
    secrets_dir = member.secrets_dir if member.secrets_dir.exists() else None
    return LedgerSettings.load(config=member.config, secrets_dir=secrets_dir)


async def migrate(member: Member) -> None:
    """Brings the member's tables to the version of this program; its replica must not run."""
    settings = settings_of(member)
    async with postgres(settings.database_url, settings.postgres_dir, "ledger", attach=True) as url:
        await upgrade(url, "ledger")


def _found(layout: Layout, parties: Sequence[Enrolment], created_ms: int, witnessed: Witnessed) -> None:
    """Keys for each member, and the same genesis and policy in the folder of each."""
    if layout.orderer == "local":
        [alone] = layout.members
        found(
            settings_of(alone),
            parties=parties,
            channel=CHANNEL,
            origin=ORIGIN,
            member=alone.name,
            contracts_root=contracts_root(),
            created_ms=created_ms,
            peer_url=layout.peer_url(alone),
            witnesses=witnessed.keys,
            required=witnessed.required,
        )
        return
    made = [
        create_member(settings_of(member), name=member.name, peer_url=layout.peer_url(member), origin=ORIGIN)
        for member in layout.members
    ]
    agreed, policy = consortium(
        made,
        parties=parties,
        channel=CHANNEL,
        origin=ORIGIN,
        contracts_root=contracts_root(),
        created_ms=created_ms,
        witnesses=witnessed.keys,
        required=witnessed.required,
    )
    for member in layout.members:
        found_consortium(settings_of(member), agreed, policy)


def _clear(layout: Layout) -> None:
    """An empty folder, or one in which a founding was cut short."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    if layout.founding_mark.exists():
        for folder in (layout.folder / "members", layout.ca_dir, layout.keys_dir):
            shutil.rmtree(folder, ignore_errors=True)
        return
    strangers = [path.name for path in layout.folder.iterdir() if path not in (layout.run_dir, layout.logs_dir)]
    if strangers:
        raise ClusterError(
            f"{layout.folder} holds {strangers[0]} but no consortium: choose an empty folder with --data-dir"
        )


def _local_key(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = PrivateKey.load(path) if path.exists() else PrivateKey.create(path)
    return key.public
