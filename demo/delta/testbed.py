"""The small testbed: a house and an office, two devices, two virtual nodes, two full replicas, one authority.

    utility ─▶ replica "utility"                 replica "aggregator" ◀─ VTN
                    ▲  └───── etcd, peers ─────┘  ▲        │ OpenADR 2.0b
                    │                             │        ▼
              house: relay, 1.5 kW           office: dimmer, 3 kW (1 kW stays)       each a virtual node of its own

One authority vouches for replicas, their etcd, the VTN and both devices; nothing speaks in clear. The loads are
constant, so that what each delivers is known beforehand and payments can be told to the cent.

var/demo-delta/  clock.json  keys/  ledger/  vtn/  tls/  invitations/  house/  office/  logs/  summary.json
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
from demo.processes import CommandFailed, Process, call, call_json, free_port, last_words
from runtime.clock import Clock, write_clock
from runtime.tls import Certificate, client_context

PROGRAM = "testbed"
ZONE = "Europe/Paris"
INTERVAL_S = 900
FUNDS_MINOR = 100_000
TERMS = {
    "zone": ZONE,
    "interval_s": str(INTERVAL_S),
    "history_days": "21",
    "accept_window_s": "1200",
    "metering_grace_s": "1200",
    "call_wh_min": "100",
    "reserve_percent": "0",
}


@dataclass(frozen=True)
class Site:
    """A building with one device and a virtual node of its own. Settings are those of `dr-ven`."""

    name: str
    device: str
    settings: dict[str, str]


SITES = (
    Site("house", "a relay, 1.5 kW", {"GRIDPACT_VEN_DEVICE": "relay", "GRIDPACT_VEN_RATED_W": "1500"}),
    Site(
        "office",
        "a dimmer, 3 kW of which 1 kW stays",
        {"GRIDPACT_VEN_DEVICE": "dimmer", "GRIDPACT_VEN_RATED_W": "3000", "GRIDPACT_VEN_FLOOR_W": "1000"},
    ),
)


@dataclass
class Testbed:
    """Everything that runs, and where. `prepare`, then the `open_...` in order; `close` ends every process."""

    folder: Path
    speed: float
    members: int = 2
    processes: dict[str, Process] = field(default_factory=dict)
    parties: dict[str, str] = field(default_factory=dict)
    doing: str = ""

    def __post_init__(self) -> None:
        self.vtn_url = f"https://127.0.0.1:{free_port()}"
        self.environment = {
            "GRIDPACT_CLOCK": str(self.folder / "clock.json"),
            "GRIDPACT_VTN_DATA_DIR": str(self.folder / "vtn"),
            "GRIDPACT_VTN_PORT": self.vtn_url.rsplit(":", 1)[1],
            "GRIDPACT_VTN_VIRTUAL_NODE_HOMES_MIN": "1",
            "GRIDPACT_VTN_ENROLMENT_CREDIT_MINOR": "500",
            "GRIDPACT_VTN_AGGREGATOR_TURN_S": "0.5",
            "GRIDPACT_VTN_POLL_INTERVAL_S": str(max(60, int(self.speed))),
            "GRIDPACT_VTN_CLIENT_CA": str(self.ca),
            "GRIDPACT_VTN_ENROLMENT_PORT": "0",
            "GRIDPACT_VTN_PUBLIC_ENROLMENT_URL": self.vtn_url,
        } | self._shown("vtn", "GRIDPACT_VTN")
        self.consortium = Consortium(
            self.folder / "ledger", self.members, self.environment, self.folder / "logs", api_tls=True
        )

    @property
    def ca(self) -> Path:
        """The one authority."""
        return self.folder / "ledger" / "ca" / "ca.pem"

    @property
    def utility_key(self) -> Path:
        return self.folder / "keys" / "utility.key"

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
        """Two replicas under one authority, money, and certificates for the others."""
        self.doing = "the ledger to be founded"
        utility, aggregator = await asyncio.gather(
            call_json(
                ["dr-ledger", "keys", "create", self.utility_key, "--role", "utility"], self.environment
            ),
            call_json(["dr-vtn", "init"], self.environment),
        )  # fmt: skip
        self.parties = {UTILITY: utility["party"], AGGREGATOR: aggregator["party"]}
        self.consortium.found({UTILITY: utility["public_key"], AGGREGATOR: aggregator["public_key"]})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.consortium.start())
            tasks.create_task(call(["dr-vtn", "migrate"], self.environment))
            for name in ("vtn", *(site.name for site in SITES)):
                tasks.create_task(self._certify(name))
        self.environment["GRIDPACT_VTN_LEDGER_URL"] = self.consortium.seat(AGGREGATOR).url
        self.environment["GRIDPACT_VTN_LEDGER_POLICY"] = str(self.consortium.seat(AGGREGATOR).data_dir / "policy.txt")
        self.environment["SSL_CERT_FILE"] = str(self.ca)

    async def open_vtn(self) -> None:
        """The VTN with its program, and an invitation for each site."""
        self.doing = "the VTN to open its program"
        await self._start("vtn", ["dr-vtn", "serve"], self.environment)
        async with asyncio.TaskGroup() as tasks:
            for party in self.parties.values():
                tasks.create_task(self._fund(party))
            tls = client_context(self.ca, Certificate(*self._pair("vtn")))
            tasks.create_task(self.processes["vtn"].wait_ready(f"{self.vtn_url}/readyz", tls=tls))
        terms = [part for name, value in TERMS.items() for part in ("--term", f"{name}={value}")]
        await call(["dr-vtn", "programs", "create", PROGRAM, *terms], self.environment)
        await asyncio.gather(*map(self._invite, SITES))

    async def open_sites(self, timeout_s: float = 40.0) -> list[dict[str, Any]]:
        """Both sites enrol and run; returns the VENs once each is a virtual node that has reported."""
        self.doing = "both sites to enrol"
        await asyncio.gather(*map(self._open_site, SITES))
        deadline = time.monotonic() + timeout_s
        vens: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            await asyncio.sleep(1)  # a look costs more than that
            self.check_alive()
            vens = await call_json(["dr-vtn", "vens", "list"], self.environment)
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

    async def _invite(self, site: Site) -> None:
        await call(
            ["dr-vtn", "vens", "invite", "--name", site.name, "--area", site.name,
             "--output", self.folder / "invitations"],
            self.environment,
        )  # fmt: skip

    async def _certify(self, name: str) -> None:
        """A key, its request and the authority's signature, as on three machines; waits for the authority."""
        chain, key = self._pair(name)
        await call(
            ["dr-ledger", "cluster", "certificates", "request", "--key", key, "--name", name, "--host", "127.0.0.1"],
            self.environment,
        )
        while not self.ca.exists():
            await asyncio.sleep(0.1)
        await call(
            ["dr-ledger", "cluster", "certificates", "sign", "--authority", self.ca.parent,
             "--request", key.with_suffix(".csr"), "--output", chain],
            self.environment,
        )  # fmt: skip

    async def _fund(self, party: str) -> None:
        await call(
            ["dr-ledger", "issue", *self.utility_options, "--to", party, "--amount-minor", str(FUNDS_MINOR),
             "--reference", "budget of the testbed"],
            self.environment,
        )  # fmt: skip

    async def _start(self, name: str, arguments: list[str | Path], environment: dict[str, str]) -> None:
        self.processes[name] = Process(name, arguments, environment, self.folder / "logs")
        await self.processes[name].start()

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / "tls" / f"{name}.pem", self.folder / "tls" / f"{name}.key"

    def _shown(self, name: str, prefix: str) -> dict[str, str]:
        chain, key = self._pair(name)
        return {f"{prefix}_CERTIFICATE": str(chain), f"{prefix}_CERTIFICATE_KEY": str(key)}
