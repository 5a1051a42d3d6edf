"""Settings of a home agent: the reference manual of `dr-ven run` and `dr-ven simulate`.

What the owner decides from day to day (opting out, hours, watts) is no setting: it is kept in the store and changed by
`dr-ven opt-out`, `opt-in` and `limits` while the agent runs.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from runtime.clock import Clock, clock_from_file
from runtime.settings import ProcessSettings
from runtime.tls import Certificate, client_context

CLOCK_FILE = "clock.json"
_CLOCK_VARIABLE = "GRIDPACT_CLOCK"


class VenSettings(ProcessSettings):
    """One home, or in `simulate` every home of the process."""

    model_config = SettingsConfigDict(env_prefix="GRIDPACT_VEN_")

    # ---- where things are
    data_dir: Path = Field(Path("var/ven"), description="Store, key, policy and proofs; made by `dr-ven enrol`")
    clock_file: Path | None = Field(
        None, description=f"Epoch and speed of the domain clock; also {_CLOCK_VARIABLE}; without it the system's clock"
    )

    # ---- the device
    device: Literal["profile", "relay", "dimmer"] = Field(
        "profile", description="profile: a simulated home on a load profile; relay, dimmer: a load of constant power"
    )
    profile: Path | None = Field(None, description="Profile file of the simulated home")
    device_seed: int = Field(1, description="Seed from which a simulated home's appliances and limits are drawn")
    rated_w: int = Field(1000, ge=1, description="Rated power of a relay's or dimmer's load in W")
    floor_w: int = Field(0, ge=0, description="Power below which a dimmer never goes, in W")

    # ---- metering
    interval_s: int = Field(900, ge=60, le=3600, description="Metering interval in seconds; divides an hour")
    reading_delay_s: int = Field(5, ge=0, le=300, description="Seconds after an interval's end until the meter is read")
    history_days: int = Field(45, ge=0, le=400, description="Days of the meter's load profile read at the first start")

    # ---- taking part
    require_contract: bool = Field(
        True, description="Act on an event only under an accepted contract; false follows SIMPLE levels of any VTN"
    )
    margin_percent: int = Field(10, ge=0, le=100, description="Reduce by so much more than the contract obliges")
    clock_tolerance_s: float = Field(
        30.0, gt=0, description="Seconds of wall time by which the clock may differ from the ledger's and the VTN's"
    )
    keep_days: int = Field(
        800, ge=130, le=10_000, description="Days for which readings, contracts and events that are over are kept"
    )
    holidays: tuple[str, ...] = Field((), description="Local dates (ISO) that count as weekend in baselines")

    # ---- offers made at enrolment
    flexible_w: int | None = Field(
        None, ge=0, description="W the owner offers; the device's largest reduction if unset"
    )
    flexible_percent: int = Field(30, ge=0, le=100, description="Part of the load the owner offers, in percent")
    max_events_per_week: int = Field(7, ge=0, le=1000, description="Events a week the owner offers")
    consent_to: tuple[Literal["aggregator", "virtual_node", "utility", "auditor"], ...] = Field(
        ("aggregator", "virtual_node"), description="Roles that may see the home's readings, signed at enrolment"
    )
    consent_days: int = Field(730, ge=1, le=3650, description="How long these consents hold, in days")
    consent_purpose: str = Field(
        "measuring and paying demand response", max_length=200, description="What these consents are for"
    )

    # ---- the VTN
    server_ca: Path | None = Field(None, description="PEM authorities of VTN and ledger; the system's if unset")
    certificate: Path | None = Field(None, description="PEM chain of this home's client certificate")
    certificate_key: Path | None = Field(None, description="PEM private key of the certificate")
    openadr2_url: str | None = Field(
        None, description="OpenADR 2.0b service of a VTN without enrolment, up to and without the service's name"
    )
    ven_name: str = Field("gridpact-ven", description="venName at a VTN without enrolment")
    sign_messages: bool = Field(
        False, description="Sign each OpenADR message, and believe only answers the VTN signed (security level high)"
    )
    vtn_fingerprint: str | None = Field(
        None, description="Fingerprint of the VTN that signs answers, AA:BB:..; without it its authorities decide"
    )
    poll_s: int = Field(60, ge=1, le=86_400, description="Seconds of domain time between polls, if the VTN names none")
    push_port: int = Field(
        0, ge=0, le=65_535, description="Port where the VTN's posts are listened for (push mode); 0: pull, no listener"
    )
    push_host: str = Field("127.0.0.1", description="Address to listen on for the VTN's posts; TLS off loopback")
    push_url: str | None = Field(
        None,
        description="oadrTransportAddress: where the VTN reaches the listener, if not at push_host and push_port",
    )
    push_check_s: int = Field(
        900, ge=1, le=86_400, description="Seconds of domain time between polls while the VTN's posts arrive"
    )
    request_timeout_s: float = Field(20.0, gt=0, description="Seconds of wall time for one answer of VTN or ledger")
    backoff_max_s: float = Field(60.0, gt=0, description="Longest wait of wall time between attempts to reach a peer")
    report_intervals_max: int = Field(96, ge=1, le=672, description="Most intervals in one telemetry report")

    # ---- the ledger
    ledger_url: str | None = Field(
        None,
        description="Replica or proxy to use instead of the one named at enrolment; a proxy can only forward",
    )

    pseudonyms: Literal["keep", "month"] = Field(
        "keep", description="month: another key and id on the ledger in each month of the site, if the VTN does that"
    )

    # ---- the process
    health_port: int = Field(0, ge=0, le=65_535, description="Loopback port of /healthz, /readyz, /metrics; 0: none")
    start_spread_s: float = Field(2.0, ge=0, description="Wall time over which the homes of a simulation start")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severity logged")
    log_json: bool | None = Field(None, description="JSON lines; by default unless stderr is a terminal")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 3600 % self.interval_s:
            raise ValueError("interval_s must divide an hour")
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together")
        if self.push_url is not None and not self.push_port:
            raise ValueError("push_url says where the VTN posts to: set push_port, where this home listens")
        if self.push_port and self.push_url is None and self.push_host in ("0.0.0.0", "::"):  # noqa: S104
            raise ValueError("push_host is every address of this machine: set push_url to the one the VTN is to use")
        if self.floor_w > self.rated_w:
            raise ValueError("floor_w lies above rated_w")
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
        """The domain clock: of the setting, else of the enrolment, else the system's. Raises ClockFileError."""
        enrolled = self.data_dir / CLOCK_FILE
        return clock_from_file(self.clock_file or (enrolled if enrolled.exists() else None))

    def tls(self) -> ssl.SSLContext:
        """How VTN and ledger are checked, and what they are shown. Raises SettingsError."""
        pair = None
        if self.certificate is not None and self.certificate_key is not None:
            pair = Certificate(self.certificate, self.certificate_key)
        return client_context(self.server_ca, pair)
