"""Where a local consortium keeps what: one folder, a part of it for each member, and a page for programs.

    cluster.json             what programs read: members, addresses, files (nothing secret)
    run/                     a lock for each process, held while it lives, with its process id
    ca/                      the consortium's authority
    keys/                    keys of the founding parties, where none were given
    members/1/ledger/        the replica's data folder: genesis, log keys, embedded PostgreSQL
    members/1/replica.toml   its settings, for `dr-ledger serve --config`
    members/1/tls/           its certificates
    members/1/secrets/       etcd_password of its user, for `dr-ledger serve --secrets-dir`
    members/1/etcd/          its etcd's data
    logs/                    replica-1.log, etcd-1.log ...
    witnesses.txt            external witnesses, if any, and witness-ca.pem where they have an authority of their own

On a single machine all parts are there; on three machines each member has its own part, and the layout is the same.
"""

from __future__ import annotations

import errno
import json
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ledger.cluster.certificates import Pair
from ledger.errors import ReplicaError
from runtime.ports import free_ports

FORMAT = "gridpact/cluster/v1"
CHANNEL = "main"
ORIGIN = "gridpact.local/main"
DEFAULT_PORT = 8440
LOOPBACK = "127.0.0.1"
RUN_DIR = "run"
MEMBERS_MAX = 9
_PORTS = {"api": "clients", "peer": "members", "etcd": "etcd's clients", "etcd_peer": "etcd's peers"}
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class ClusterError(ReplicaError):
    """A local consortium that cannot be founded, read, started or stopped."""


class Ports(NamedTuple):
    """Loopback ports of a member: its replica's for clients and for peers, its etcd's for clients and for peers."""

    api: int
    peer: int
    etcd: int
    etcd_peer: int


@dataclass(frozen=True)
class Member:
    """One member of a local consortium. `label` is the last part of its name and names its folder and its etcd."""

    name: str
    folder: Path
    ports: Ports
    #: added to an etcd cluster that was there already
    etcd_joined_later: bool = False

    @property
    def label(self) -> str:
        return label_of(self.name)

    @property
    def ledger_dir(self) -> Path:
        """The replica's data folder."""
        return self.folder / "ledger"

    @property
    def config(self) -> Path:
        """The replica's settings."""
        return self.folder / "replica.toml"

    @property
    def etcd_dir(self) -> Path:
        """The etcd's data."""
        return self.folder / "etcd"

    @property
    def secrets_dir(self) -> Path:
        """Secret settings of the replica, a file each."""
        return self.folder / "secrets"

    @property
    def etcd_password_file(self) -> Path:
        """The password of the member's user in etcd."""
        return self.secrets_dir / "etcd_password"

    @property
    def replica_pair(self) -> Pair:
        return Pair(self.folder / "tls" / "replica.pem", self.folder / "tls" / "replica.key")

    @property
    def etcd_pair(self) -> Pair:
        return Pair(self.folder / "tls" / "etcd.pem", self.folder / "tls" / "etcd.key")


@dataclass(frozen=True)
class Layout:
    """A local consortium. `orderer` is "etcd" for several members, "local" for one founded alone. `tls` covers peers
    and etcd. `token` is that of the etcd cluster: none had it before."""

    folder: Path
    members: tuple[Member, ...]
    orderer: str
    token: str
    tls: bool = True
    api_tls: bool = False

    @property
    def page(self) -> Path:
        return self.folder / "cluster.json"

    @property
    def run_dir(self) -> Path:
        return self.folder / RUN_DIR

    @property
    def founding_mark(self) -> Path:
        """There while the folder is founded: what it holds then is begun anew."""
        return self.folder / "founding"

    @property
    def witness_file(self) -> Path:
        """External witnesses that every member asks, where the consortium was founded with some."""
        return self.folder / "witnesses.txt"

    @property
    def witness_ca(self) -> Path:
        """Authorities for their certificates, where they are not the system's."""
        return self.folder / "witness-ca.pem"

    @property
    def ca_dir(self) -> Path:
        return self.folder / "ca"

    @property
    def ca(self) -> Path:
        return self.ca_dir / "ca.pem"

    @property
    def keys_dir(self) -> Path:
        return self.folder / "keys"

    @property
    def root_password_file(self) -> Path:
        """The password of etcd's user who may do everything."""
        return self.keys_dir / "etcd-root.password"

    @property
    def logs_dir(self) -> Path:
        return self.folder / "logs"

    def api_url(self, member: Member) -> str:
        """Where clients reach a member's replica."""
        return f"{'https' if self.api_tls else 'http'}://{LOOPBACK}:{member.ports.api}"

    def peer_url(self, member: Member) -> str:
        """Where the other members reach it."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{member.ports.peer}"

    def etcd_url(self, member: Member) -> str:
        """The client endpoint of a member's etcd."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{member.ports.etcd}"

    def etcd_peer_url(self, member: Member) -> str:
        """Where the other etcds reach it."""
        return f"{'https' if self.tls else 'http'}://{LOOPBACK}:{member.ports.etcd_peer}"

    @classmethod
    def plan(
        cls, folder: Path, names: list[str], *, tls: bool = True, api_tls: bool = False, port: int = DEFAULT_PORT
    ) -> Self:
        """A consortium to be founded. port: the first of four for each member; 0: free ones. Raises ClusterError."""
        labels = [label_of(name) for name in names]
        if not 1 <= len(names) <= MEMBERS_MAX or len(set(labels)) != len(names):
            raise ClusterError(
                f"a consortium has 1 to {MEMBERS_MAX} members whose names end differently, not {', '.join(names)}"
            )
        members = tuple(
            Member(name, folder / "members" / label, ports)
            for name, label, ports in zip(names, labels, _ports(len(names), port), strict=True)
        )
        orderer = "etcd" if len(members) > 1 else "local"
        return cls(folder, members, orderer, f"gridpact-{secrets.token_hex(8)}", tls=tls, api_tls=api_tls)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The consortium that `write` described. Raises ClusterError."""
        path = folder / "cluster.json"
        try:
            page = json.loads(path.read_bytes())
            if page["format"] != FORMAT:
                raise ClusterError(f"{path} has another format than {FORMAT}: found the consortium anew")
            members = tuple(
                Member(
                    name=each["name"],
                    folder=folder / "members" / label_of(each["name"]),
                    ports=Ports(**{kind: int(number) for kind, number in each["ports"].items()}),
                    etcd_joined_later=bool(each["etcd"] and each["etcd"]["joined_later"]),
                )
                for each in page["members"]
            )
            orderer, token = str(page["orderer"]), str(page["etcd_token"])
            return cls(folder, members, orderer, token, tls=bool(page["tls"]), api_tls=bool(page["api_tls"]))
        except FileNotFoundError:
            raise ClusterError(
                f"there is no consortium in {folder}: `dr-ledger cluster up --data-dir {folder}` founds one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClusterError(f"{path} cannot be read: {error!r}") from None

    def check_ports(self) -> None:
        """Raises ClusterError for a port that another program listens on."""
        for member in self.members:
            for kind, number in member.ports._asdict().items():
                if (self.orderer == "etcd" or kind == "api") and not _is_free(number):
                    other = "" if self.page.exists() else ", or choose others with --port (0 takes free ones)"
                    raise ClusterError(
                        f"port {number} (for {_PORTS[kind]} of {member.name}) is in use by another program: end that "
                        f"(`ss -ltnp 'sport = :{number}'` says which it is){other}"
                    )

    def write(self) -> None:
        """Writes cluster.json, whole or not at all."""
        write_page(self.page, self.as_page())

    def as_page(self) -> dict[str, Any]:
        """What cluster.json holds."""
        return {
            "format": FORMAT,
            "channel": CHANNEL,
            "origin": ORIGIN,
            "orderer": self.orderer,
            "etcd_token": self.token,
            "tls": self.tls,
            "api_tls": self.api_tls,
            "ca": str(self.ca) if self.tls or self.api_tls else None,
            "policy_file": str(self.members[0].ledger_dir / "policy.txt"),
            "members": [self._member_page(member) for member in self.members],
        }

    def _member_page(self, member: Member) -> dict[str, Any]:
        etcd = {
            "endpoint": self.etcd_url(member),
            "peer_url": self.etcd_peer_url(member),
            "data_dir": str(member.etcd_dir),
            "user": member.label,
            "password_file": str(member.etcd_password_file),
            "joined_later": member.etcd_joined_later,
        }
        return {
            "name": member.name,
            "label": member.label,
            "api_url": self.api_url(member),
            "peer_url": self.peer_url(member),
            "etcd": etcd if self.orderer == "etcd" else None,
            "config": str(member.config),
            "secrets_dir": str(member.secrets_dir),
            "data_dir": str(member.ledger_dir),
            "policy_file": str(member.ledger_dir / "policy.txt"),
            "log": str(self.logs_dir / f"replica-{member.label}.log"),
            "ports": member.ports._asdict(),
        }


def label_of(name: str) -> str:
    """The last part of a member's name (`member.example/agg-1`: agg-1). Raises ClusterError if it names no folder."""
    label = name.rpartition("/")[2]
    if not _LABEL.fullmatch(label):
        raise ClusterError(
            f"the member {name!r} needs a name that ends in small letters, digits and '-', like member.example/1"
        )
    return label


def write_page(path: Path, page: object) -> None:
    """Writes JSON for programs, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(page, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger are no listeners
        try:
            probe.bind((LOOPBACK, number))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _ports(members: int, first: int) -> list[Ports]:
    """For each member, from `first` on, or free ones."""
    width = len(Ports._fields)
    numbers = free_ports(members * width) if first == 0 else list(range(first, first + members * width))
    return [Ports(*numbers[place : place + width]) for place in range(0, len(numbers), width)]
