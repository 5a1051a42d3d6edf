"""Sets the stage: keys, a ledger of several members, a VTN with its program, 52 homes, and the processes of all.

Founding and enrolment run at the pace of the wall; then everything is stopped and started again under the evening's
clock, so that a slow machine has the same evening. Homes run in as many crowds as the ledger has members, each crowd
on a replica of its own.

var/demo/  clock.json  keys/  ledger/  vtn/  profiles/  crowd-1/H001 ...  alone/  logs/  summary.json
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from demo.consortium import AGGREGATOR, AUDITOR, UTILITY, Consortium
from demo.data.series import EVENT_START_MS, HOLIDAYS, INTERVAL_S, ZONE, load_homes
from demo.faults import Faults, ForgingProxy, choose
from demo.processes import CommandFailed, Process, call, call_json, last_words
from runtime.clock import Clock, clock_from_file, write_clock
from runtime.ports import free_ports

Dispatch = Literal["merit", "optimal"]
#: the same homes are called with and without the extra `intelligence`
_SMALL = {"GRIDPACT_VTN_FORECAST_HOMES": "naive", "GRIDPACT_VTN_FORECAST_SCHEDULE": "false"}

PROGRAM = "evening-peak"
#: domain time between the need and the start of the event
LEAD_S = 75 * 60
#: less of it, and contracts would have no time to be made
LEAD_S_MIN = 40 * 60
#: wall time that founding and enrolment usually take
ENROLMENT_WALL_S = 90
#: wall time set aside for the restart under the evening's clock, at least; a slow machine gets what it took to start
RESTART_WALL_S = 40.0
RESTART_WALL_S_MAX = 60.0
#: starting again takes less than founding did, and homes report an hour or two instead of three weeks
RESTART_PART, REPORT_PART = 0.9, 0.4
UTILITY_FUNDS_MINOR = 1_000_000
AGGREGATOR_FUNDS_MINOR = 100_000
TERMS = {
    "zone": ZONE,
    "holidays": ",".join(sorted(day.isoformat() for day in HOLIDAYS)),
    "interval_s": str(INTERVAL_S),
    "history_days": "21",
    "metering_grace_s": "1800",
}
#: wall time a home has to answer a contract, at least
ACCEPT_WALL_S = 5.0


@dataclass
class Stage:
    """Everything that runs, and where. Built by `Stage(...)`, then `open`; `close` ends every process."""

    folder: Path
    seed: int
    speed: float
    members: int = 1
    #: how members are chosen, and with "optimal" forecast
    dispatch: Dispatch = "merit"
    vtn_url: str = ""
    faults: Faults = field(init=False)
    consortium: Consortium = field(init=False)
    utility: str = ""
    aggregator: str = ""
    processes: dict[str, Process] = field(default_factory=dict)
    proxy: ForgingProxy | None = None
    #: what is waited for just now, for whoever must say why nothing happens
    doing: str = ""
    _start_s: float = 0.0
    _report_s: float = 0.0

    def __post_init__(self) -> None:
        self.homes = {series.home.home_id: series for series in load_homes()}
        self.vtn_url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.proxy_url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.faults = choose(self.seed, sorted(self.homes), self._upper(12), self._upper(4))
        self.environment = {
            "GRIDPACT_CLOCK": str(self.clock_file),
            "GRIDPACT_VTN_DATA_DIR": str(self.folder / "vtn"),
            "GRIDPACT_VTN_PORT": self.vtn_url.rsplit(":", 1)[1],
            "GRIDPACT_VTN_ENROLMENT_CREDIT_MINOR": "200",
            "GRIDPACT_VTN_AGGREGATOR_TURN_S": "0.5",
            "GRIDPACT_VTN_DISPATCH": self.dispatch,
            **(_SMALL if self.dispatch == "merit" else {}),
            # a poll a home and wall second: the default of a domain minute would be several hundred a second in all
            "GRIDPACT_VTN_POLL_INTERVAL_S": str(max(60, int(self.speed))),
        }
        self.consortium = Consortium(self.folder / "ledger", self.members, self.environment, self.folder / "logs")

    @property
    def ledger_url(self) -> str:
        """The aggregator's replica."""
        return self.consortium.seat(AGGREGATOR).url

    def home_ledger_url(self, home_id: str) -> str:
        """The replica a home talks to: homes are dealt to the members in turn."""
        return self.consortium.urls[self._crowd(home_id)]

    @property
    def clock_file(self) -> Path:
        return self.folder / "clock.json"

    @property
    def utility_key(self) -> Path:
        return self.folder / "keys" / "utility.key"

    @property
    def alone(self) -> tuple[str, ...]:
        """Homes that are not part of the simulation's process."""
        return (*self.faults.alone, self.faults.offline)

    def home_folder(self, home_id: str) -> Path:
        """Store, key and proofs of a home."""
        return self.folder / ("alone" if home_id in self.alone else f"crowd-{self._crowd(home_id) + 1}") / home_id

    # ---- the order of things

    def prepare(self) -> None:
        """An empty folder, profiles of the homes, and a clock at the pace of the wall for enrolment."""
        shutil.rmtree(self.folder, ignore_errors=True)
        crowds = [f"crowd-{place + 1}" for place in range(self.members)]
        for name in ("keys", "profiles", "invitations", "alone", "logs", *crowds):
            (self.folder / name).mkdir(parents=True)
        for home_id, series in self.homes.items():
            series.write_profile(self.folder / "profiles" / f"{home_id}.json")
        begin_ms = self._evening_ms(RESTART_WALL_S_MAX) - ENROLMENT_WALL_S * 1000
        write_clock(self.clock_file, epoch_domain_ms=begin_ms, speed=1.0)

    async def begin(self) -> Clock:
        """Starts everything again under the evening's clock, which is returned."""
        self.doing = "everything to stop"
        expected_s = RESTART_PART * self._start_s + REPORT_PART * self._report_s
        restart_s = min(max(RESTART_WALL_S, expected_s), RESTART_WALL_S_MAX)
        await self._stop_all()
        start_ms = max(self._evening_ms(restart_s), clock_from_file(self.clock_file).now_ms())
        self.clock_file.unlink()
        clock = write_clock(self.clock_file, epoch_domain_ms=start_ms, speed=self.speed)
        self.doing = "the ledger, the VTN and the homes to start under the evening's clock"
        await self._start_ledger()
        await self._start_vtn()
        await self._start_homes()
        return clock

    async def open_ledger(self) -> None:
        """Keys of the founding parties, and a replica for each member, founded by `dr-ledger cluster up`."""
        self.doing = "the ledger to be founded"
        utility, auditor, aggregator = await asyncio.gather(
            *(
                call_json(
                    ["dr-ledger", "keys", "create", self.folder / "keys" / f"{role}.key", "--role", role],
                    self.environment,
                )
                for role in (UTILITY, AUDITOR)
            ),
            call_json(["dr-vtn", "init"], self.environment),
        )
        self.utility, self.aggregator = utility["party"], aggregator["party"]
        founders = {UTILITY: utility, AGGREGATOR: aggregator, AUDITOR: auditor}
        self.consortium.found({role: made["public_key"] for role, made in founders.items()})
        await self._start_ledger()
        budgets = ((self.utility, UTILITY_FUNDS_MINOR), (self.aggregator, AGGREGATOR_FUNDS_MINOR))
        await asyncio.gather(
            *(
                call(
                    ["dr-ledger", "issue", "--key", self.utility_key, "--to", party, "--amount-minor", str(amount),
                     "--reference", "season budget"],
                    self.environment,
                )
                for party, amount in budgets
            )
        )  # fmt: skip

    async def open_vtn(self) -> None:
        """The VTN with its program, and an invitation for every home."""
        self.doing = "the VTN to open its program"
        await call(["dr-vtn", "migrate"], self.environment)
        await self._start_vtn()
        terms = [part for name, value in self._terms().items() for part in ("--term", f"{name}={value}")]
        await call(["dr-vtn", "programs", "create", PROGRAM, *terms], self.environment)
        by_area: dict[str, list[str]] = {}
        for home_id, series in self.homes.items():
            by_area.setdefault(series.home.feeder_id, []).append(home_id)
        await asyncio.gather(
            *(
                call(
                    ["dr-vtn", "vens", "invite", *(part for name in names for part in ("--name", name)),
                     "--area", area, "--output", self.folder / "invitations"],
                    self.environment,
                )
                for area, names in by_area.items()
            )
        )  # fmt: skip

    async def open_homes(self) -> None:
        """52 homes: most in crowds, three alone; the one that is to be offline only enrols."""
        self.doing = "the homes to start"
        self.proxy = ForgingProxy(self.home_ledger_url(self.faults.forged))
        await self.proxy.start(int(self.proxy_url.rsplit(":", 1)[1]))
        await asyncio.gather(*map(self._enrol_alone, self.alone))
        for home_id in self.homes:
            if home_id not in self.alone:
                folder = self.folder / f"crowd-{self._crowd(home_id) + 1}" / "invitations"
                folder.mkdir(exist_ok=True)
                (self.folder / "invitations" / f"{home_id}.json").rename(folder / f"{home_id}.json")
        await self._start_homes()

    async def _enrol_alone(self, home_id: str) -> None:
        invitation = self.folder / "alone" / f"{home_id}.json"
        (self.folder / "invitations" / f"{home_id}.json").rename(invitation)
        await call(
            ["dr-ven", "enrol", "--invitation", invitation, "--data-dir", self.home_folder(home_id),
             "--profile", self.folder / "profiles" / f"{home_id}.json"],
            self.environment,
        )  # fmt: skip

    async def wait_for_homes(self, since_ms: int, timeout_s: float = 180.0) -> list[dict[str, Any]]:
        """Returns the VENs once all that run are in virtual nodes and have reported a reading that ended at `since_ms`
        or later. Raises CommandFailed."""
        wanted, ready = len(self.homes) - 1, 0
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            vens: list[dict[str, Any]] = await call_json(["dr-vtn", "vens", "list"], self.environment)
            ready = sum(1 for ven in vens if ven["virtual_node"] and (ven["reported_ms"] or 0) >= since_ms)
            self.doing = f"{wanted} homes to be ready; {ready} are"
            if ready >= wanted:
                self._report_s = time.monotonic() + timeout_s - deadline
                return vens
            self.check_alive()
            await asyncio.sleep(1.0)  # every look is a process of its own, and costs what homes need just now
        raise CommandFailed(f"only {ready} of {wanted} homes are ready after {timeout_s:.0f} s:\n{self.report()}")

    def check_lead(self, clock: Clock) -> None:
        """Raises CommandFailed if starting again took so long that the event is too near."""
        left_s = (EVENT_START_MS - clock.now_ms()) // 1000
        if left_s < LEAD_S_MIN:
            raise CommandFailed(
                f"this machine was too busy to start everything again in time: {left_s // 60} minutes are left until "
                f"the event, {LEAD_S_MIN // 60} are needed. Play the evening slower: --speed {self.speed / 2:g}"
            )

    def check_alive(self) -> None:
        """Raises CommandFailed if a process ended that nobody stopped or killed."""
        for process in [*self.processes.values(), self.consortium.process]:
            if process is not None and process.died:
                raise CommandFailed(f"{process.name} ended by itself:\n{process.last_words()}")

    def report(self, lines: int = 8) -> str:
        """The end of every log, of the products and of the ledger's members."""
        logs = sorted((self.folder / "logs").glob("*.log"))
        parts = [f"--- {path.name}\n{last_words(path, lines)}" for path in logs]
        return "\n".join([*parts, self.consortium.report(lines)])

    async def start(
        self, name: str, arguments: list[str | Path], ready_url: str | None = None, **environment: str
    ) -> Process:
        """Starts a process of the stage under a name, with further variables, and waits until it is ready."""
        process = Process(name, arguments, {**self.environment, **environment}, self.folder / "logs")
        self.processes[name] = process
        await process.start()
        if ready_url is not None:
            await process.wait_ready(ready_url)
        return process

    async def close(self) -> None:
        """Ends everything."""
        await self._stop_all()
        if self.proxy is not None:
            await self.proxy.stop()

    async def _start_ledger(self) -> None:
        with self._timed():
            await self.consortium.start()
        self.environment["GRIDPACT_LEDGER_URL"] = self.consortium.seat(UTILITY).url
        self.environment["DR_LEDGER_DATA_DIR"] = str(self.consortium.seat(AUDITOR).data_dir)
        self.environment["GRIDPACT_VTN_LEDGER_URL"] = self.ledger_url
        self.environment["GRIDPACT_VTN_LEDGER_POLICY"] = str(self.consortium.seat(AGGREGATOR).data_dir / "policy.txt")

    async def _start_vtn(self) -> None:
        with self._timed():
            await self.start("vtn", ["dr-vtn", "serve"], f"{self.vtn_url}/readyz")

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        """Adds what starting took to what is set aside for starting again."""
        began = time.monotonic()
        yield
        self._start_s += time.monotonic() - began

    async def _start_homes(self) -> None:
        for place, url in enumerate(self.consortium.urls):
            homes = [each for each in self.homes if each not in self.alone and self._crowd(each) == place]
            folder = self.folder / f"crowd-{place + 1}"
            await self.start(
                folder.name,
                ["dr-ven", "simulate", "--homes", str(len(homes)), "--data-dir", folder,
                 "--profiles", self.folder / "profiles", "--invitations", folder / "invitations"],
                GRIDPACT_VEN_LEDGER_URL=url,
            )  # fmt: skip
        for home_id in self.faults.alone:
            profile = self.folder / "profiles" / f"{home_id}.json"
            url = self.proxy_url if home_id == self.faults.forged else self.home_ledger_url(home_id)
            await self.start(
                home_id, ["dr-ven", "run", "--data-dir", self.home_folder(home_id), "--profile", profile],
                GRIDPACT_VEN_LEDGER_URL=url,
            )  # fmt: skip

    def _terms(self) -> dict[str, str]:
        """The program's terms; no deadline is shorter than `ACCEPT_WALL_S` of real time."""
        window_s = str(int(max(1200.0, ACCEPT_WALL_S * self.speed)))
        return TERMS | {"accept_window_s": window_s, "notice_s": window_s}

    async def _stop_all(self) -> None:
        """Homes first, all at once; then the VTN; the ledger last."""
        homes = [process for name, process in self.processes.items() if name != "vtn"]
        await asyncio.gather(*(process.stop() for process in homes))
        if "vtn" in self.processes:
            await self.processes["vtn"].stop()
        await self.consortium.stop()

    def _crowd(self, home_id: str) -> int:
        return sorted(self.homes).index(home_id) % self.members

    def _evening_ms(self, restart_s: float) -> int:
        """Domain time at which the evening's clock begins, if starting everything again takes `restart_s`."""
        return EVENT_START_MS - (LEAD_S + int(restart_s * self.speed)) * 1000

    def _upper(self, part: int) -> list[str]:
        """The homes of each feeder that used most in the evenings of the last week: one in `part` of them."""
        chosen = []
        for area in sorted({series.home.feeder_id for series in self.homes.values()}):
            used = {
                home_id: sum(
                    energy_wh
                    for start_ms, energy_wh in series.net_by_start.items()
                    if EVENT_START_MS - 7 * 86_400_000 <= start_ms < EVENT_START_MS
                    and (start_ms - EVENT_START_MS) % 86_400_000 < 3 * 3_600_000
                )
                for home_id, series in self.homes.items()
                if series.home.feeder_id == area
            }
            chosen += sorted(used, key=lambda home_id: used[home_id])[-(len(used) // part) :]
        return chosen
