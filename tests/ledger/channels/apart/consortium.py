"""A virtual node's channel as operators run it: three members of main, each a `dr-ledger serve` of its own with its own
PostgreSQL and etcd, mutual TLS between them; two of them open the channel vn-1, and the third must not see into it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner

from contracts.core import commands as c
from contracts.core.parties import Role
from contracts.core.state import Record
from contracts.tokens import Account
from ledger.cli import app
from ledger.client import LedgerClient, party_id
from ledger.cluster.layout import Layout, Member
from ledger.cluster.preparation import Founders, prepare
from ledger.cluster.processes import living
from runtime.clock import Clock, write_clock
from runtime.keys import PrivateKey
from runtime.tls import Certificate, client_context
from tests.builders import START_MS, a_key
from tests.ledger.interface.commands import CLEAN

T = TypeVar("T")
R = TypeVar("R", bound=Record)
CHILD = "vn-1"
CHANGING = "vn-2"
UTILITY, AGGREGATOR, AUDITOR = "utility", "aggregator", "auditor"
INSIDE = (UTILITY, AGGREGATOR)
#: domain seconds a second: an event of a quarter of an hour ends within seconds
SPEED = 480.0
NODE, HOME = a_key(104), a_key(105)
WAIT_S = 60.0


class Apart:
    """The consortium that `dr-ledger cluster up` keeps running, and what its operators type."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cluster"
        self.clock: Clock = write_clock(folder / "clock.json", epoch_domain_ms=START_MS, speed=SPEED)
        self._log = folder / "up.log"
        self._environment = {**CLEAN, "GRIDPACT_CLOCK": str(folder / "clock.json")}
        self._process: subprocess.Popen[bytes] | None = None

    def found(self) -> None:
        """Three members with an authority for them; nobody runs yet."""
        names = [f"member.example/{name}" for name in (UTILITY, AGGREGATOR, AUDITOR)]
        self.layout = Layout.plan(self.folder, names, api_tls=True, port=0)
        asyncio.run(prepare(self.layout, Founders({}), created_ms=START_MS))

    def start(self) -> None:
        """Returns when every member is ready."""
        command = [sys.executable, "-c", "from ledger.cli import main; main()", "cluster", "up"]
        command += ["--data-dir", str(self.folder)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        soon(lambda: b"cluster ready" in self._log.read_bytes() or self._process.poll() is not None, 120)  # type: ignore[union-attr]
        assert self._process.poll() is None, self._log.read_text()[-4000:]

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def member(self, label: str) -> Member:
        [found] = [each for each in self.layout.members if each.label == label]
        return found

    def run(self, *arguments: object, **environment: str) -> Any:
        """`dr-ledger` with what it prints as JSON."""
        given = {"GRIDPACT_CLOCK": self._environment["GRIDPACT_CLOCK"], **environment}
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"], env=given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return (
            [json.loads(line) for line in done.stdout.splitlines()] if "list" in arguments else json.loads(done.stdout)
        )

    def refused(self, *arguments: object) -> str:
        """What `dr-ledger` says where it must not do as it is told."""
        given = {"GRIDPACT_CLOCK": self._environment["GRIDPACT_CLOCK"]}
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"], env=given)
        assert done.exit_code != 0, done.output
        return done.output + str(done.exception)

    def at(self, label: str) -> tuple[object, ...]:
        """Options that reach a member's replica."""
        return ("--url", self.layout.api_url(self.member(label)), "--ca", self.layout.ca)

    def key(self, label: str) -> Path:
        return self.layout.keys_dir / f"{label}.key"

    def restart(self, *labels: str, number: int = signal.SIGTERM) -> None:
        """Ends replicas, and returns when those that `cluster up` started in their place serve all their channels."""
        before = {label: self.pid(label) for label in labels}
        for pid in before.values():
            assert pid is not None
            os.kill(pid, number)
        soon(lambda: all(self.pid(label) not in (None, pid) and self.is_ready(label) for label, pid in before.items()))

    def pid(self, label: str) -> int | None:
        return living(self.layout.run_dir / f"replica-{label}.lock")

    def is_ready(self, label: str) -> bool:
        return self.answer(label, "/readyz")[0] == 200

    def answer(self, label: str, path: str, *, shown_as: str | None = None, peer: bool = False) -> tuple[int, bytes]:
        """Status and body (0 where nobody answers) of a member's interface, asked with a certificate of `shown_as`."""
        member = self.member(label)
        pair = self.member(shown_as or label).replica_pair
        url = (self.layout.peer_url(member) if peer else self.layout.api_url(member)) + path
        try:
            with urllib.request.urlopen(url, timeout=5, context=self.tls(pair)) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def tls(self, pair: Any = None) -> ssl.SSLContext:
        return client_context(self.layout.ca, None if pair is None else Certificate(*pair))


class Channel:
    """Parties of a channel at one member's replica."""

    def __init__(self, apart: Apart, label: str, name: str) -> None:
        self._apart, self._name = apart, name
        self._url = apart.layout.api_url(apart.member(label))
        keys = {label: (Role(label), PrivateKey.load(apart.key(label))) for label in (UTILITY, AGGREGATOR, AUDITOR)}
        keys |= {"node": (Role.VIRTUAL_NODE, NODE), "home": (Role.DEVICE, HOME)}
        self.ids = {who: party_id(role, key.public) for who, (role, key) in keys.items()}
        self._keys = {who: key for who, (_, key) in keys.items()}

    def client(self, who: str = AUDITOR) -> LedgerClient:
        """Who only reads does so as the auditor, who was enrolled with each channel."""
        key, party = self._keys[who], self.ids[who]
        tls, clock = self._apart.tls(), self._apart.clock
        return LedgerClient(self._url, channel=self._name, key=key, party=party, clock=clock, ssl=tls, deadline_s=30)

    async def run(self, who: str, *commands: c.Command) -> None:
        """Commands that must be committed."""
        async with self.client(who) as client:
            for command in commands:
                await client.submit(command)

    async def free(self, who: str) -> int:
        """Free funds of a party, or of an account by its name."""
        found = await self.record(Account, f"party/{self.ids[who]}" if who in self.ids else who) or Account()
        return found.credits_posted - found.debits_posted - found.debits_pending

    async def record(self, kind: type[R], key: str) -> R | None:
        async with self.client() as client:
            return await client.record(kind, key)

    async def status(self) -> dict[str, Any]:
        async with self.client() as client:
            return await client.status()


def soon(happened: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


async def until(ask: Callable[[], Awaitable[T]], fits: Callable[[T], bool]) -> T:
    """The first answer that fits."""
    async with asyncio.timeout(WAIT_S):
        while not fits(answer := await ask()):
            await asyncio.sleep(0.1)
    return answer


def enrolment(role: Role, key: PrivateKey, sponsor: str, area: str) -> c.EnrolParty:
    wish = c.Enrolment(party=party_id(role, key.public), role=role, key=key.public, sponsor=sponsor, area=area)
    return c.EnrolParty(enrolment=wish, proof=key.sign(c.enrolment_bytes(wish)).hex())


def found_channels(apart: Apart, *names: str) -> None:
    """What the operators of two members type to found channels, each on its own machine."""
    utility, aggregator = apart.member(UTILITY), apart.member(AGGREGATOR)
    keys = {label: PrivateKey.load(apart.key(label)).public for label in (UTILITY, AGGREGATOR, AUDITOR)}
    founders = [part for label, public in keys.items() for part in (f"--{label}", public)]
    members = [part for each in (utility, aggregator) for part in ("--member-file", each.ledger_dir / "member.json")]
    for name in names:
        made = apart.run("channels", "create", name, *founders, *members, "--config", utility.config)
        assert made["restricted"]
        apart.run("channels", "join", "--from", made["folder"], "--config", aggregator.config)
    for label in INSIDE:
        with apart.member(label).config.open("a") as config:
            config.write(f'crossing_key = "{apart.key(label)}"\ncrossing_interval_s = 0.5\n')


def open_channels(apart: Apart, *names: str) -> None:
    """What one of them types once both host the channels."""
    data = ("--data-dir", apart.member(UTILITY).ledger_dir)
    for name in names:
        apart.run("channels", "open", name, "--key", apart.key(AGGREGATOR), *data, *apart.at(AGGREGATOR))
