"""The small testbed: a house and an office, two devices, two virtual nodes, two full replicas, one authority.

    utility ─▶ replica "utility"                 replica "aggregator" ◀─ VTNs
                    ▲  └───── etcd, peers ─────┘  ▲        │ OpenADR 2.0b
                    │                             │        ▼
              house: relay, 1.5 kW           office: dimmer, 3 kW (1 kW stays)

Each is a virtual node of its own, with a channel of its own (vn-house, vn-office) in which a `dr-vtn` of the aggregator
works; both replicas are members of both channels, and money comes over the bridge from main.
One authority vouches for replicas, their etcd, the VTN and both devices; nothing speaks in clear. The loads are
constant, so that what each delivers is known beforehand and payments can be told to the cent.

var/demo-delta/  clock.json  keys/  ledger/  vtn-*/  tls/  invitations/  house/  office/  logs/  summary.json
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.consortium import AGGREGATOR, UTILITY, Consortium
from demo.processes import CommandFailed, Process, call, call_json, last_words
from runtime.clock import Clock, write_clock
from runtime.ports import free_ports
from runtime.tls import Certificate, client_context

PROGRAM = "testbed"
ZONE = "Europe/Paris"
INTERVAL_S = 900
TERMS = {
    "zone": ZONE,
    "interval_s": str(INTERVAL_S),
    "history_days": "21",
    "accept_window_s": "1200",
    "notice_s": "1200",
    "metering_grace_s": "1200",
    "call_wh_min": "100",
    "reserve_percent": "0",
}


@dataclass(frozen=True)
class Site:
    """A building with one device and a virtual node of its own. `target_wh`: what the utility wants of it in half an
    hour; settings are those of `dr-ven`."""

    name: str
    device: str
    target_wh: int
    settings: dict[str, str]


SITES = (
    Site("house", "a relay, 1.5 kW", 550, {"GRIDPACT_VEN_DEVICE": "relay", "GRIDPACT_VEN_RATED_W": "1500"}),
    Site(
        "office",
        "a dimmer, 3 kW of which 1 kW stays",
        700,
        {"GRIDPACT_VEN_DEVICE": "dimmer", "GRIDPACT_VEN_RATED_W": "3000", "GRIDPACT_VEN_FLOOR_W": "1000"},
    ),
)


@dataclass(frozen=True)
class Operator:
    """A `dr-vtn` of the aggregator for one virtual node: the site in it, and the channel its contracts live in."""

    site: Site
    url: str
    environment: dict[str, str]

    @property
    def name(self) -> str:
        return f"vtn-{self.site.name}"

    @property
    def channel(self) -> str:
        return f"vn-{self.site.name}"


@dataclass
class Testbed:
    """Everything that runs, and where. `prepare`, then the `open_...` in order; `close` ends every process."""

    folder: Path
    speed: float
    members: int = 2
    processes: dict[str, Process] = field(default_factory=dict)
    parties: dict[str, str] = field(default_factory=dict)
    public_keys: dict[str, str] = field(default_factory=dict)
    doing: str = ""

    def __post_init__(self) -> None:
        self.environment = {"GRIDPACT_CLOCK": str(self.folder / "clock.json")}
        self.consortium = Consortium(
            self.folder / "ledger", self.members, self.environment, self.folder / "logs", api_tls=True
        )
        self.operators = [self._operator(site) for site in SITES]

    @property
    def ca(self) -> Path:
        """The one authority."""
        return self.folder / "ledger" / "ca" / "ca.pem"

    @property
    def utility_key(self) -> Path:
        return self.folder / "keys" / "utility.key"

    @property
    def aggregator_key(self) -> Path:
        return self.folder / self.operators[0].name / "aggregator.key"

    @property
    def utility_options(self) -> list[str | Path]:
        """How the utility's commands reach its replica."""
        return ["--key", self.utility_key, "--url", self.consortium.seat(UTILITY).url, "--ca", self.ca]

    def ledger_tls(self) -> ssl.SSLContext:
        """How a client checks a replica."""
        return client_context(self.ca)

    def site_environment(self, site: Site) -> dict[str, str]:
        """Variables of a site's `dr-ven`: its device, its certificate, and the replica it talks to."""
        label = self.consortium.labels[SITES.index(site) % len(self.consortium.labels)]
        return {
            **self.environment,
            "SSL_CERT_FILE": str(self.ca),
            **site.settings,
            **self._shown(site.name, "GRIDPACT_VEN"),
            "GRIDPACT_VEN_SERVER_CA": str(self.ca),
            "GRIDPACT_VEN_LEDGER_URL": self.consortium.seat(label).url,
            "GRIDPACT_VEN_FLEXIBLE_PERCENT": "100",
        }

    def prepare(self, now_ms: int) -> Clock:
        """An empty folder, and the clock that everybody reads, beginning at domain time `now_ms`."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("keys", "tls", "invitations", "logs"):
            (self.folder / name).mkdir(parents=True)
        return write_clock(self.folder / "clock.json", epoch_domain_ms=now_ms, speed=self.speed)

    async def open_ledger(self) -> None:
        """Two replicas under one authority, and certificates for the others."""
        self.doing = "the ledger to be founded"
        first, *others = self.operators
        utility, aggregator = await asyncio.gather(
            call_json(
                ["dr-ledger", "keys", "create", self.utility_key, "--role", "utility"], self.environment
            ),
            call_json(["dr-vtn", "init"], first.environment),
        )  # fmt: skip
        for each in others:
            each.environment["GRIDPACT_VTN_AGGREGATOR_KEY"] = str(self.aggregator_key)
        self.parties = {UTILITY: utility["party"], AGGREGATOR: aggregator["party"]}
        self.public_keys = {UTILITY: utility["public_key"], AGGREGATOR: aggregator["public_key"]}
        self.consortium.found(self.public_keys)
        await asyncio.gather(
            self.consortium.start(),
            *(call(["dr-vtn", "migrate"], each.environment) for each in self.operators),
            *(self._certify(name) for name in ("vtn", *(site.name for site in SITES))),
        )

    async def open_vtns(self) -> None:
        """A VTN for each virtual node with its program, and an invitation for its site."""
        await asyncio.gather(*map(self._open_vtn, self.operators))

    async def vens(self) -> list[dict[str, Any]]:
        """What the VTNs know of their sites."""
        found = await asyncio.gather(
            *(call_json(["dr-vtn", "vens", "list"], each.environment) for each in self.operators)
        )
        return [ven for vens in found for ven in vens]

    async def open_sites(self, timeout_s: float = 120.0) -> list[dict[str, Any]]:
        """Both sites enrol and run; returns the VENs once each is a virtual node that has reported."""
        self.doing = "both sites to enrol"
        await asyncio.gather(*map(self._open_site, SITES))
        deadline = time.monotonic() + timeout_s
        vens: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            await asyncio.sleep(1)  # a look costs more than that
            self.check_alive()
            vens = await self.vens()
            if len(vens) == len(SITES) and all(each["virtual_node"] and each["reported_ms"] for each in vens):
                return vens
        raise CommandFailed(f"after {timeout_s:.0f} s the sites are not ready: {vens}\n{self.report()}")

    def check_alive(self) -> None:
        """Raises CommandFailed if a process ended by itself."""
        for process in [*self.processes.values(), self.consortium.process]:
            if process is not None and process.died:
                raise CommandFailed(f"{process.name} ended by itself:\n{process.last_words()}")

    def report(self, lines: int = 8) -> str:
        """The end of every log."""
        logs = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(
            [*(f"--- {path.name}\n{last_words(path, lines)}" for path in logs), self.consortium.report(lines)]
        )

    async def close(self) -> None:
        """Ends everything: sites, VTN, ledger."""
        await asyncio.gather(*(process.stop() for process in self.processes.values()))
        await self.consortium.stop()

    async def _open_site(self, site: Site) -> None:
        environment, folder = self.site_environment(site), self.folder / site.name
        invitation = self.folder / "invitations" / f"{site.name}.json"
        await call(["dr-ven", "enrol", "--invitation", invitation, "--data-dir", folder], environment)
        await self._start(site.name, ["dr-ven", "run", "--data-dir", folder], environment)

    async def _open_vtn(self, operator: Operator) -> None:
        seat, environment = self.consortium.seat(AGGREGATOR), operator.environment
        policy = seat.data_dir / "channels" / operator.channel / "policy.txt"
        environment |= {"GRIDPACT_VTN_LEDGER_URL": seat.url, "GRIDPACT_VTN_LEDGER_POLICY": str(policy)}
        process = await self._start(operator.name, ["dr-vtn", "serve"], environment)
        tls = client_context(self.ca, Certificate(*self._pair("vtn")))
        await process.wait_ready(f"{operator.url}/readyz", tls=tls)
        terms = [part for name, value in TERMS.items() for part in ("--term", f"{name}={value}")]
        await call(["dr-vtn", "programs", "create", PROGRAM, *terms], environment)
        site = operator.site.name
        await call(
            ["dr-vtn", "vens", "invite", "--name", site, "--area", site, "--output", self.folder / "invitations"],
            environment,
        )

    async def _certify(self, name: str) -> None:
        """A key, its request and the authority's signature, as on three machines; waits for the authority."""
        chain, key = self._pair(name)
        await call(
            ["dr-ledger", "cluster", "certificates", "request", "--key", key, "--name", name, "--host", "127.0.0.1"],
            self.environment,
        )
        while not self.ca.exists():
            self.check_alive()
            await asyncio.sleep(0.1)
        await call(
            ["dr-ledger", "cluster", "certificates", "sign", "--authority", self.ca.parent,
             "--request", key.with_suffix(".csr"), "--output", chain],
            self.environment,
        )  # fmt: skip

    async def _start(self, name: str, arguments: list[str | Path], environment: dict[str, str]) -> Process:
        process = self.processes[name] = Process(name, arguments, environment, self.folder / "logs")
        await process.start()
        return process

    def _operator(self, site: Site) -> Operator:
        url, name = f"https://127.0.0.1:{free_ports(1)[0]}", f"vtn-{site.name}"
        settings = {
            "DATA_DIR": str(self.folder / name),
            "PORT": url.rsplit(":", 1)[1],
            "CHANNEL": f"vn-{site.name}",
            "VIRTUAL_NODE_HOMES_MIN": "1",
            "ENROLMENT_CREDIT_MINOR": "500",
            "AGGREGATOR_TURN_S": "0.5",
            "POLL_INTERVAL_S": str(max(60, int(self.speed))),
            "CLIENT_CA": str(self.ca),
            "ENROLMENT_PORT": "0",
            "PUBLIC_ENROLMENT_URL": url,
        }
        prefixed = {f"GRIDPACT_VTN_{key}": value for key, value in settings.items()}
        trusted = {"SSL_CERT_FILE": str(self.ca)}
        return Operator(site, url, {**self.environment, **prefixed, **trusted, **self._shown("vtn", "GRIDPACT_VTN")})

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / "tls" / f"{name}.pem", self.folder / "tls" / f"{name}.key"

    def _shown(self, name: str, prefix: str) -> dict[str, str]:
        chain, key = self._pair(name)
        return {f"{prefix}_CERTIFICATE": str(chain), f"{prefix}_CERTIFICATE_KEY": str(key)}
