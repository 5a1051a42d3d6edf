"""Settings of the VTN: the reference manual of `dr-vtn serve`."""

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
from runtime.tls import Certificate, server_context
from vtn.auth.fingerprints import Proxies
from vtn.auth.pki import Pki
from vtn.upstream.mapping import Delta, Setpoint

_CLOCK_VARIABLE = "GRIDPACT_CLOCK"


class VtnSettings(ProcessSettings):
    """One VTN; several processes may share its database."""

    model_config = SettingsConfigDict(env_prefix="GRIDPACT_VTN_")

    # ---- where things are
    data_dir: Path = Field(Path("var/vtn"), description="Keys and the embedded PostgreSQL")
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
    port: int = Field(8450, ge=0, le=65_535, description="Port to listen on; 0 takes a free one")
    public_url: str | None = Field(
        None, description="Address under which VENs reach the VTN; without it that of host and port"
    )
    enrolment_port: int = Field(
        8451,
        ge=0,
        le=65_535,
        description="Port of enrolment under TLS: a device that joins has no certificate yet; 0 takes a free one",
    )
    public_enrolment_url: str | None = Field(
        None, description="Address under which VENs reach enrolment; without it that of host and port"
    )
    certificate: Path | None = Field(
        None, description="PEM chain of the server's certificate; without it those of `dr-vtn pki init`, if it was run"
    )
    certificate_key: Path | None = Field(None, description="PEM private key of the certificate")
    second_certificate: Path | None = Field(
        None, description="PEM chain of a second certificate: 2.0b wants an RSA and an ECC one at once"
    )
    second_certificate_key: Path | None = Field(None, description="PEM private key of the second certificate")
    client_ca: Path | None = Field(
        None,
        description="PEM authorities of VENs' certificates besides our own; with `certificate` one of both is needed",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses or networks of proxies that end TLS for the VTN; together with proxy_header"
    )
    proxy_header: str | None = Field(
        None,
        description="Header in which a trusted proxy names the client's certificate: URL-encoded PEM, or RFC 9440",
    )

    # ---- who may join and act
    pki_dir: Path | None = Field(None, description="Authorities of `dr-vtn pki init`; without it `pki` in data_dir")
    certificate_days: int = Field(365, ge=1, le=3650, description="Validity of certificates issued to devices in days")
    enrolment_approval: bool = Field(False, description="The operator approves each VEN: `dr-vtn vens approve`")
    require_signatures: bool = Field(False, description="Every VEN signs its messages and gets signed answers")
    signature_skew_s: int = Field(
        120, ge=5, le=3600, description="How far the time of a signature may be off, in wall seconds, both ways"
    )

    # ---- the ledger
    ledger_url: str = Field("http://127.0.0.1:8440", description="A replica of the ledger")
    channel: str = Field("main", description="Channel of the ledger")
    ledger_policy: Path | None = Field(
        None, description="Trust file handed to VENs at enrolment; without it the one the ledger answers with"
    )
    aggregator_key: Path | None = Field(
        None, description="The aggregator's private key; without it `aggregator.key` in the data folder"
    )
    enrolment_credit_minor: int = Field(
        0, ge=0, description="Minor units each device is given when it joins, so that it can put up deposits"
    )
    outbox_interval_s: float = Field(
        1.0, gt=0, description="Wall seconds between tries to bring waiting transactions to the ledger"
    )

    # ---- OpenADR 2.0b
    vtn_id: str = Field("GRIDPACT", description="vtnID on the wire; some VENs refuse lower case")
    poll_interval_s: int = Field(60, ge=1, description="How often VENs are asked to poll, in seconds of domain time")
    redeliver_s: int = Field(
        30, ge=0, description="A message without acknowledgement is handed out again after so many domain seconds"
    )
    offer_reports: bool = Field(
        False, description="Tell each VEN that registers which reports the VTN has for it; VENs may always ask"
    )
    lenient: bool = Field(True, description="Also read messages that real devices get slightly wrong; each is logged")
    request_bytes_max: int = Field(1024 * 1024, ge=65_536, le=1024 * 1024, description="Largest request body in bytes")

    retention_days: int = Field(
        400,
        ge=1,
        description="Acknowledged messages, and answered deliveries of events that are over, are kept so many days of "
        "domain time; what is not acknowledged stays",
    )

    # ---- what runs in this process
    aggregator: bool = Field(True, description="Run the aggregator's cycle in this process (in one process only)")
    aggregator_turn_s: float = Field(
        1.0, gt=0, description="Wall seconds between two looks of the aggregator when nothing wakes it"
    )
    dispatch: Literal["auto", "optimal", "merit"] = Field(
        "auto",
        description="How homes are chosen: at least cost for a stated probability (optimal, needs the extra "
        "`intelligence`), in merit order, or auto: the first where it is installed",
    )
    dispatch_limit_s: float = Field(
        60.0, ge=0, description="Seconds for a choice of homes; then the best one known is taken, with its gap"
    )
    virtual_node_homes_min: int = Field(
        20, ge=1, description="Homes of one area before they become a virtual node; few are measured badly"
    )
    virtual_node_float_minor: int = Field(
        2_000, ge=0, description="Minor units the aggregator keeps free on each virtual node's account for deposits"
    )
    virtual_node_seed: int = Field(
        1, ge=0, description="The same homes, readings and seed are grouped alike (extra `intelligence`)"
    )
    virtual_node_review_days: float = Field(
        7.0, ge=0, description="Days of domain time between reviews of who belongs to which virtual node; 0: never"
    )
    virtual_node_metric: Literal["traits", "learned"] = Field(
        "traits", description="What counts as alike in a review: fixed weights, or those learned from the readings"
    )

    # ---- upstream: the aggregator is a VEN of a utility's VTN; a table [upstream] may hold these without the prefix
    upstream_url: str | None = Field(None, description="2.0b address of a utility's VTN; without it there is none")
    upstream_ven_name: str | None = Field(None, description="venName under which the utility knows the aggregator")
    upstream_ven_id: str | None = Field(None, description="venID the utility gave; without it it assigns one")
    upstream_certificate: Path | None = Field(None, description="PEM chain of the certificate the utility knows")
    upstream_certificate_key: Path | None = Field(None, description="PEM private key of that certificate")
    upstream_ca: Path | None = Field(
        None,
        description="PEM authorities of the utility's VTN, where it signs with the one that issued its certificate; "
        "without it the system's",
    )
    upstream_fingerprint: str | None = Field(
        None, description="Fingerprint of the utility's signing certificate, AA:BB:..; without it upstream_ca and host"
    )
    upstream_sign_messages: bool = Field(
        False, description="Sign messages to the utility and believe signed ones alone"
    )
    upstream_lenient: bool = Field(True, description="Also read messages that the utility gets slightly wrong")
    upstream_poll_s: int = Field(60, ge=1, description="Domain seconds between polls where the utility names no number")
    upstream_timeout_s: float = Field(20.0, gt=0, description="Wall seconds an answer of the utility may take")
    upstream_key: Path | None = Field(
        None, description="Private key of the utility's ledger party, which signs and pays needs made of its events"
    )
    upstream_program: str | None = Field(None, description="Program whose homes serve; without it the only one")
    upstream_area: str = Field("portfolio", description="Feeder whose homes serve, or `portfolio` for all")
    upstream_price_minor_per_mwh: int = Field(200_000, ge=0, description="Price at which needs are put on the ledger")
    upstream_budget_percent: int = Field(
        150, ge=100, le=1000, description="Budget of a need in percent of what its target costs"
    )
    upstream_automatic_w_max: int = Field(
        0, ge=0, description="Reductions up to this power are taken without asking; beyond it the operator approves"
    )
    upstream_simple_w: tuple[int, int, int] = Field(
        (0, 0, 0), description="Reduction in W at SIMPLE level 1, 2 and 3; 0 is not served"
    )
    upstream_setpoint: Setpoint = Field(
        "reduction", description="LOAD_DISPATCH setpoint is the `reduction` itself, or the `limit` the load may reach"
    )
    upstream_delta: Delta = Field(
        "change", description="LOAD_DISPATCH delta is a `change` of the load (negative is less), or the `reduction`"
    )
    upstream_open_ended_s: int = Field(14_400, ge=60, description="How long an event without end is served")
    upstream_report_delay_s: int = Field(
        900, ge=0, description="How long after its end an interval is reported: homes report it meanwhile"
    )

    # ---- forecasts, clusters (extra intelligence)
    analytics_scheduler: str | None = Field(
        None, description="Where analytics run: without it threads of the command, `local` a Dask cluster of processes "
        "on this machine, or the address of a Dask scheduler (tcp://host:8786)"
    )  # fmt: skip
    analytics_workers: int = Field(0, ge=0, description="Threads or local workers of analytics; 0 takes one a core")
    forecast_homes: Literal["auto", "naive"] = Field(
        "auto",
        description="How homes are forecast when they are evaluated: by the chosen model (auto, needs the extra "
        "intelligence), or by the mean of their last like days",
    )
    forecast_schedule: bool = Field(
        True, description="Make forecasts by the clock: each local midnight and in between; of several workers one does"
    )
    forecast_intraday_h: int = Field(
        6, ge=0, le=23, description="Hours between forecasts of virtual nodes within a day; 0 makes none"
    )
    forecast_history_days: int = Field(
        120, ge=28, le=1100, description="How much telemetry scheduled forecasts and tests of models look at"
    )
    forecast_choice_days: int = Field(
        7, ge=0, description="Days between tests that choose the models anew; 0 leaves it to `dr-vtn backtest --choose`"
    )
    forecast_choice_models: tuple[str, ...] = Field(
        ("similar-days", "ridge", "blend"), description="Models that are tested then; the seasonal naive one always is"
    )
    proposals: Literal["off", "ask", "auto"] = Field(
        "off", description="Propose events for the next day where a feeder will pass its limit: `ask` the operator, or "
        "put the needs on the ledger by itself, those that wait too (`auto`, needs proposal_utility_key)"
    )  # fmt: skip
    proposal_import_w: dict[str, int] = Field(
        {}, description="Import each feeder bears, W; `*` for those that are not named"
    )
    proposal_export_w: dict[str, int] = Field(
        {}, description="Export each feeder bears, W; `*` for those that are not named"
    )
    proposal_chance_percent: int = Field(
        50, ge=10, le=90, description="An imbalance counts from this chance on; 50 is what is expected"
    )
    proposal_policy: Literal["renewable", "cost", "peak", "co2"] = Field(
        "peak", description="What a proposed event is best for: own renewable energy, cost, peak import or CO2"
    )
    proposal_signals: Path | None = Field(
        None, description="CSV with ts, price_per_kwh, carbon_kg_per_kwh and, if there is any, generation_wh; the "
        "policies cost and co2 need it"
    )  # fmt: skip
    proposal_price_minor_per_mwh: int | None = Field(
        None, ge=0, description="Price of a proposed need, minor units a MWh; proposals need it"
    )
    proposal_budget_percent: int = Field(
        150, ge=100, le=1000, description="Budget of a proposed need in percent of what its target costs"
    )
    proposal_notice_s: int = Field(3600, ge=0, description="A proposal expires so many domain seconds before its event")
    proposal_utility_key: Path | None = Field(
        None, description="Private key of the utility's ledger party where it is the operator too: approved needs are "
        "signed and sent at once; without it the utility signs a file"
    )  # fmt: skip
    weather_source: str | None = Field(
        None, description="CSV or Parquet file, or a URL with {latitude} {longitude} {first} {end} that answers JSON"
    )
    weather_kind: Literal["forecast", "observed"] = Field(
        "forecast", description="What the weather source holds: forecasts, or what was measured"
    )
    weather_columns: dict[str, str] = Field(
        {}, description="Our quantity (temp_c, ghi_wm2, wind_ms, rh_pct) to its name at the weather source"
    )
    site_latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north of the homes, for weather, PV")
    site_longitude: float | None = Field(
        None, ge=-180, le=180, description="Degrees east of the homes, for weather, PV"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.certificate is None) != (self.certificate_key is None):
            raise ValueError("certificate and certificate_key belong together")
        if (self.second_certificate is None) != (self.second_certificate_key is None):
            raise ValueError("second_certificate and second_certificate_key belong together")
        if self.certificate is None and self.second_certificate is not None:
            raise ValueError("second_certificate needs a certificate")
        if bool(self.trusted_proxies) != (self.proxy_header is not None):
            raise ValueError("trusted_proxies and proxy_header belong together: one alone identifies nobody")
        self.proxies()
        if self.upstream_url is not None and None in (self.upstream_ven_name, self.upstream_key):
            raise ValueError("upstream_url needs upstream_ven_name, and upstream_key to put needs on the ledger")
        if (self.upstream_certificate is None) != (self.upstream_certificate_key is None):
            raise ValueError("upstream_certificate and upstream_certificate_key belong together")
        if self.upstream_sign_messages and self.upstream_certificate is None:
            raise ValueError("upstream_sign_messages needs upstream_certificate and upstream_certificate_key")
        if any(watts < 0 for watts in self.upstream_simple_w):
            raise ValueError("upstream_simple_w are reductions in W: none is negative")
        self._proposals_fit()
        if self.certificate is not None and self.client_ca is None and not self.trusted_proxies and not self.pki.exists:
            raise ValueError("with TLS client_ca is required, or `dr-vtn pki init`: VENs are known by certificates")
        if self.public_url is not None and self.public_url.startswith("https:") and not self.identifies:
            raise ValueError(
                "public_url is https, but there is neither a certificate nor a proxy: set trusted_proxies and "
                "proxy_header, or nobody who asks is identified"
            )
        return self

    def _proposals_fit(self) -> None:
        if self.proposals == "off":
            return
        if self.proposal_price_minor_per_mwh is None or not (self.proposal_import_w or self.proposal_export_w):
            raise ValueError("proposals need proposal_price_minor_per_mwh, and proposal_import_w or proposal_export_w")
        if self.proposals == "auto" and self.proposal_utility_key is None:
            raise ValueError("proposals = auto needs proposal_utility_key: a need is the utility's to sign")
        if self.proposal_policy in ("cost", "co2") and self.proposal_signals is None:
            raise ValueError(f"proposal_policy = {self.proposal_policy} needs proposal_signals: prices and CO2")

    @classmethod
    def load(
        cls, *, config: Path | None = None, secrets_dir: Path | None = None, flags: Mapping[str, Any] | None = None
    ) -> Self:
        """As the base class; the clock file may also come from the variable all processes share."""
        shared = os.environ.get(_CLOCK_VARIABLE)
        settings = super().load(config=config, secrets_dir=secrets_dir, flags=flags)
        if shared and settings.clock_file is None:
            return settings.model_copy(update={"clock_file": Path(shared)})
        return settings

    def clock(self) -> Clock:
        """The domain clock. Raises ClockFileError."""
        return clock_from_file(self.clock_file)

    def tls(self) -> ssl.SSLContext | None:
        """The server's TLS context, with which a client shows its certificate; None: plain HTTP, on loopback only.

        Raises SettingsError."""
        certificates = self.server_certificates()
        if not certificates:
            return None
        if self.trusted_proxies:
            return server_context(certificates)
        return server_context(certificates, self.device_authorities())

    def enrolment_tls(self) -> ssl.SSLContext | None:
        """The context of the port where devices join; None: there is one port for all. Raises SettingsError."""
        certificates = [] if self.trusted_proxies else self.server_certificates()
        return server_context(certificates) if certificates else None

    def server_certificates(self) -> list[Certificate]:
        """The server's certificates: those named, else those of our own authorities unless a proxy ends TLS."""
        if self.certificate is None or self.certificate_key is None:
            return self.pki.servers() if self.pki.exists and not self.trusted_proxies else []
        certificates = [Certificate(self.certificate, self.certificate_key)]
        if self.second_certificate is not None and self.second_certificate_key is not None:
            certificates.append(Certificate(self.second_certificate, self.second_certificate_key))
        return certificates

    def device_authorities(self) -> list[Path]:
        """Whom certificates of devices are accepted from: our own authorities and those of `client_ca`."""
        own = [self.pki.authorities] if self.pki.exists else []
        return own if self.client_ca is None else [*own, self.client_ca]

    def signing_certificates(self) -> list[Certificate]:
        """What answers are signed with: the server's certificates, behind a proxy those of our own authorities."""
        return self.server_certificates() or (self.pki.servers() if self.pki.exists else [])

    def proxies(self) -> Proxies | None:
        """The proxies that are believed. Raises ValueError for what is no address."""
        return Proxies(self.trusted_proxies, self.proxy_header) if self.proxy_header is not None else None

    @property
    def identifies(self) -> bool:
        """Is everybody who asks known by a certificate?"""
        return bool(self.trusted_proxies or self.server_certificates())

    @property
    def pki(self) -> Pki:
        """Our own authorities, which may not have been made."""
        return Pki(self.pki_dir or self.data_dir / "pki")

    @property
    def aggregator_key_file(self) -> Path:
        """Where the aggregator's key is."""
        return self.aggregator_key or self.data_dir / "aggregator.key"

    @property
    def url(self) -> str:
        """Address under which VENs reach the VTN (with port 0 only `public_url` is right)."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        return self._local_url(self.port)

    @property
    def enrolment_url(self) -> str:
        """Address under which devices join."""
        if self.public_enrolment_url is not None:
            return self.public_enrolment_url.rstrip("/")
        if self.trusted_proxies or not self.server_certificates():
            return self.url
        return self._local_url(self.enrolment_port)

    @property
    def openadr2_url(self) -> str:
        """Address of the 2.0b face; service names are appended to it."""
        return f"{self.url}/OpenADR2/Simple/2.0b"

    def _local_url(self, port: int) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.server_certificates() else 'http'}://{shown}:{port}"
