"""Settings of a replica: the reference manual of `dr-ledger serve`."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from ledger.ordering.etcd.settings import EtcdSettings
from runtime.clock import Clock, clock_from_file
from runtime.settings import ProcessSettings
from runtime.tls import Certificate, server_context

_CLOCK_VARIABLE = "GRIDPACT_CLOCK"


class LedgerSettings(ProcessSettings):
    """One replica: of one channel, and of those in the folder `channels`."""

    model_config = SettingsConfigDict(env_prefix="DR_LEDGER_")

    # ---- where things are
    data_dir: Path = Field(
        Path("var/ledger"), description="Genesis, log keys and the embedded PostgreSQL; made by `dr-ledger init`"
    )
    database_url: str | None = Field(
        None, description="A PostgreSQL server of your own; without it an embedded one runs in the data folder"
    )
    postgres_binaries: Path | None = Field(
        None, description="Folder of another PostgreSQL's programs for the embedded server"
    )
    clock_file: Path | None = Field(
        None, description=f"Epoch and speed of the domain clock; also {_CLOCK_VARIABLE}; without it the system's clock"
    )

    # ---- the interface
    host: str = Field("127.0.0.1", description="Address to listen on; off loopback a certificate is required")
    port: int = Field(8440, ge=0, le=65_535, description="Port to listen on; 0 takes a free one")
    certificate: Path | None = Field(None, description="PEM chain of the server's certificate")
    certificate_key: Path | None = Field(None, description="PEM private key of the certificate")
    client_ca: Path | None = Field(None, description="PEM authorities; with it clients must show a certificate")

    # ---- the other members
    peer_host: str = Field("127.0.0.1", description="Address to listen on for the other members")
    peer_port: int = Field(8441, ge=0, le=65_535, description="Port for the other members; 0 takes a free one")
    peer_certificate: Path | None = Field(
        None, description="PEM chain that names this member to the others, as server and as client"
    )
    peer_certificate_key: Path | None = Field(None, description="PEM private key of it")
    peer_ca: Path | None = Field(None, description="PEM authorities for the certificates of members")
    peer_seeds: str = Field(
        "", description="NAME=URL of further members, comma-separated: for one that was away while all others changed"
    )
    keys_dir: Path | None = Field(None, description="Folder of log.key and cosigner.key; by default the data folder")

    # ---- the order
    etcd_endpoints: str = Field(
        "", description="URLs of the etcd cluster, comma-separated, one's own first; empty: a ledger of one member"
    )
    etcd_ca: Path | None = Field(None, description="PEM authorities for etcd's certificates")
    etcd_certificate: Path | None = Field(None, description="PEM chain that names this member to etcd")
    etcd_certificate_key: Path | None = Field(None, description="PEM private key of it")
    etcd_user: str | None = Field(None, description="User of etcd, where the certificate does not name one")
    etcd_password: SecretStr | None = Field(None, description="Password of that user")
    etcd_cluster: str | None = Field(
        None, description="Id of the only etcd cluster to accept, hexadecimal; by default the first that answers"
    )
    etcd_lease_s: int = Field(3, ge=1, le=60, description="Seconds a dead proposer keeps the others from proposing")
    etcd_deadline_s: float = Field(0.25, gt=0, le=5, description="Seconds for an attempt at one endpoint")

    # ---- external witnesses
    witness_file: Path | None = Field(
        None, description="Lines `witness NAME VKEY URL` (tlog-policy): who is asked to cosign this log's checkpoints"
    )
    witness_ca: Path | None = Field(
        None, description="PEM authorities for certificates of witnesses; by default the system's"
    )
    witness_interval_s: float = Field(
        1.0, gt=0, le=3_600, description="Seconds between two checkpoints for one witness, at least"
    )

    # ---- between channels
    crossing_key: Path | None = Field(
        None, description="Private key file of the party that brings checkpoints and money between hosted channels"
    )
    crossing_interval_s: float = Field(10.0, gt=0, description="Seconds between looks for what has to be brought")

    # ---- limits
    request_bytes_max: int = Field(4 * 1024 * 1024, ge=65_536, description="Largest request body in bytes")
    batch_max: int = Field(256, ge=1, le=4_096, description="Most transactions in one request")
    queue_max: int = Field(10_000, ge=1, description="Most transactions waiting to be ordered; beyond it HTTP 429")
    page_max: int = Field(1_000, ge=1, le=10_000, description="Most records or facts in one answer")
    streams_max: int = Field(500, ge=1, description="Most streams of facts at once; beyond it HTTP 503")
    heartbeat_s: float = Field(15.0, gt=0, le=30, description="Seconds between signs of life on a quiet stream")
    slow_reader_s: float = Field(10.0, gt=0, description="A stream whose reader takes nothing for so long is cut off")

    # ---- blocks
    answer_timeout_s: float = Field(5.0, gt=0, description="Seconds until a submission is answered as unknown")
    block_ms: int = Field(30, ge=0, le=1_000, description="Longest wait for further transactions of a block")
    block_bytes_max: int = Field(384 * 1024, ge=65_536, le=1_024 * 1024, description="Most bytes in a block")

    # ---- the order's window
    order_margin_blocks: int = Field(256, ge=0, description="Blocks kept in the order although everybody has them")
    order_window_blocks: int = Field(
        4_000, ge=100, description="Blocks kept in the order for a member that is away; beyond it others give them"
    )

    # ---- the nightly recomputation
    audit_at: str = Field(
        "02:30",
        pattern="^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        description="Time of day (UTC) at which all tables are held against hashes and signatures; empty: by intervals",
    )
    audit_interval_s: float = Field(
        86_400.0, ge=0, le=31 * 86_400, description="Seconds between two recomputations; 0: none"
    )
    audit_memory_mb: int = Field(1_024, ge=128, description="Most memory of the process that recomputes")

    # ---- logs
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severity logged")
    log_json: bool | None = Field(None, description="JSON lines; by default unless stderr is a terminal")

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs a certificate")
        if not all(name and url.startswith("http") for name, url in self.known_peers().items()):
            raise ValueError("peer_seeds is NAME=URL, several with commas between")
        given = (self.peer_certificate, self.peer_certificate_key, self.peer_ca)
        if any(given) and not all(given):
            raise ValueError("peer_certificate, peer_certificate_key and peer_ca belong together")
        if (self.etcd_certificate is None) != (self.etcd_certificate_key is None):
            raise ValueError("etcd_certificate and etcd_certificate_key belong together")
        return self

    @classmethod
    def load(
        cls,
        *,
        config: Path | None = None,
        secrets_dir: Path | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Self:
        """As the base; the clock file may also come from the variable that all processes of an installation share."""
        flags = dict(flags or {})
        shared = os.environ.get(_CLOCK_VARIABLE)
        if shared and flags.get("clock_file") is None and f"{cls.prefix()}CLOCK_FILE" not in os.environ:
            flags["clock_file"] = Path(shared)
        return super().load(config=config, secrets_dir=secrets_dir, flags=flags)

    def clock(self) -> Clock:
        """The domain clock. Raises ClockFileError."""
        return clock_from_file(self.clock_file)

    def tls(self) -> ssl.SSLContext | None:
        """The server's TLS context, None for plain HTTP. Raises SettingsError."""
        if self.certificate is None or self.certificate_key is None:
            return None
        return server_context([Certificate(self.certificate, self.certificate_key)], self.client_ca)

    def peer_certificates(self) -> Certificate | None:
        """How this member shows itself to the others; None: over plain HTTP, which loopback alone allows."""
        if self.peer_certificate is None or self.peer_certificate_key is None:
            return None
        return Certificate(self.peer_certificate, self.peer_certificate_key)

    def known_peers(self) -> dict[str, str]:
        """The members of `peer_seeds`: URL by name."""
        pairs = [each.strip().partition("=") for each in self.peer_seeds.split(",") if each.strip()]
        return {name: url for name, _, url in pairs}

    def etcd(self, channel: str, member: str) -> EtcdSettings | None:
        """How to reach the order of a channel; None for a ledger of one member."""
        endpoints = [each.strip() for each in self.etcd_endpoints.split(",") if each.strip()]
        if not endpoints:
            return None
        return EtcdSettings(
            endpoints=endpoints,
            channel=channel,
            member=member,
            ca=self.etcd_ca,
            certificate=self.etcd_certificate,
            certificate_key=self.etcd_certificate_key,
            user=self.etcd_user,
            password=self.etcd_password.get_secret_value() if self.etcd_password is not None else None,
            lease_s=self.etcd_lease_s,
            deadline_s=self.etcd_deadline_s,
            cluster=self.etcd_cluster,
        )

    def of_channel(self, channel: str) -> Self:
        """The settings of a further channel of this process: a folder of its own, the keys of the first."""
        folder = self.data_dir / "channels" / channel
        return self.model_copy(update={"data_dir": folder, "keys_dir": self.keys_dir or self.data_dir})

    @property
    def channels_dir(self) -> Path:
        """A folder for each further channel."""
        return self.data_dir / "channels"

    @property
    def members_file(self) -> Path:
        """The founding members, with their keys and addresses."""
        return self.data_dir / "members.json"

    @property
    def member_file(self) -> Path:
        """This member, as the founders need it."""
        return (self.keys_dir or self.data_dir) / "member.json"

    @property
    def genesis_file(self) -> Path:
        """What the founding members agreed on."""
        return self.data_dir / "genesis.json"

    @property
    def log_key_file(self) -> Path:
        """Signs checkpoints under the log's name."""
        return (self.keys_dir or self.data_dir) / "log.key"

    @property
    def cosigner_key_file(self) -> Path:
        """Cosigns checkpoints under the member's own name."""
        return (self.keys_dir or self.data_dir) / "cosigner.key"

    @property
    def policy_file(self) -> Path:
        """Whom clients believe."""
        return self.data_dir / "policy.txt"

    @property
    def postgres_dir(self) -> Path:
        """The embedded server's data."""
        return self.data_dir / "postgres"
