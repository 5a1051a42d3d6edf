"""Who was who in the period before: not to be found in everything a replica holds, and plain to the enrolment table.

The attacker below has all tables of a replica and knows which ids belong to which period. It guesses, for each id of
the first period, the one of the second, by each of several traits. Homes with a habit (a serial number in the nonce,
the balance handed on, ...) are found, so the attack works; homes that turn as they should are not.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from contracts.core import commands as c
from contracts.core.codec import encode
from contracts.core.parties import Role
from ledger.channels.pseudonyms import EnrolmentTable, Home, HomeSecret, closing, enrolment, opening
from ledger.store import tables
from runtime.errors import KeyFileError
from runtime.keys import PrivateKey
from tests.builders import START_MS, a_clock
from tests.ledger.replicas import HOUR_MS, Ledger, a_replica, an_issue, sealed
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID

PERIODS = ("2026-01", "2026-02")
HOMES = [Home(home=f"contract-{n}", area=f"F{n % 2 + 1}") for n in range(10)]
TABLE = EnrolmentTable(bytes(range(32)), HOMES)
SECRETS = {home.home: HomeSecret(bytes((n,)) * 32) for n, home in enumerate(HOMES, 1)}
PERIOD_MS = 31 * 24 * HOUR_MS
CREDIT = 500
BY_CHANCE = 5
"""Of ten homes in two areas a blind guess finds two on average, and more than this once in a thousand."""

Who = tuple[str, str]
Rows = dict[str, list[dict[str, Any]]]
Linker = Callable[[Rows, list[str], list[str]], dict[str, str]]


def test_ids_and_keys_follow_from_the_secrets_and_from_nothing_else() -> None:
    ids = [TABLE.pseudonym(h.home, channel, p) for h in HOMES for channel in ("main", "vn-1") for p in PERIODS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"dev-[0-9a-f]{16}", each) for each in ids)
    again = EnrolmentTable(bytes(range(32)), HOMES)
    assert again.pseudonym("contract-3", "main", "2026-01") == TABLE.pseudonym("contract-3", "main", "2026-01")
    stranger = EnrolmentTable(bytes(32), HOMES)
    assert stranger.pseudonym("contract-3", "main", "2026-01") not in ids
    keys = [SECRETS[h.home].key(channel, p).public for h in HOMES for channel in ("main", "vn-1") for p in PERIODS]
    assert len(set(keys)) == len(keys)
    assert (
        SECRETS["contract-3"].key("main", "2026-01").public
        == HomeSecret(bytes((4,)) * 32).key("main", "2026-01").public
    )


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-00", "2026-1", "2026-01 ", "26-01", ""])
def test_what_is_no_billing_period_gives_no_id(period: str) -> None:
    with pytest.raises(ValueError, match="no billing period"):
        TABLE.pseudonym("contract-3", "main", period)
    with pytest.raises(ValueError, match="no billing period"):
        SECRETS["contract-3"].key("main", period)


def test_the_table_is_kept_as_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "enrolment.json"
    TABLE.save(path)
    TABLE.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert EnrolmentTable.load(path).pseudonym("contract-3", "main", "2026-01") == TABLE.pseudonym(
        "contract-3", "main", "2026-01"
    )
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        EnrolmentTable.load(path)
    path.chmod(0o600)
    path.write_text(path.read_text().replace("contract-3", "contract-\t"))
    with pytest.raises(KeyFileError, match="damaged"):
        EnrolmentTable.load(path)
    with pytest.raises(KeyFileError):
        EnrolmentTable.load(tmp_path / "none.json")


def test_the_sponsor_opens_a_period_in_an_order_that_says_nothing() -> None:
    proofs = [an_enrolment_of(home, PERIODS[1]) for home in HOMES]
    steps = opening(proofs, CREDIT)
    assert opening(proofs[::-1], CREDIT) == steps
    names = [step.enrolment.party for step in steps if isinstance(step, c.EnrolParty)]
    assert names == sorted(names) == [step.to for step in steps[len(HOMES) :] if isinstance(step, c.Transfer)]
    assert len({step.amount_minor for step in steps if isinstance(step, c.Transfer)}) == 1
    assert len(opening(proofs, 0)) == len(HOMES)
    assert closing("dev-1", 0, "agg") == [c.RevokeParty(party="dev-1", reason="")]


# ---- two periods on a real replica


@pytest.fixture
def url(new_database: Callable[..., str]) -> str:
    """A migrated database."""
    return new_database("ledger")


class Homes:
    """Ten homes through two periods. habit: what they do although they should not."""

    def __init__(self, ledger: Ledger, habit: str) -> None:
        self.ledger = ledger
        self.habit = habit
        self.random = Random(f"homes {habit}")
        self.serial = itertools.count()

    async def live(self) -> None:
        await self.ledger.run(an_issue(9_000_000))
        earned: dict[str, int] = {}
        for number, period in enumerate(PERIODS):
            await self._begin(period, earned)
            earned = {home.home: self.random.randint(1000, 99_999) for home in HOMES}
            for home in self._shuffled():
                to = TABLE.pseudonym(home.home, "main", period)
                pay = c.Transfer(to=to, amount_minor=earned[home.home], reference="")
                values = tuple(self.random.randint(100, 900) for _ in range(8))
                if self.habit == "same readings":
                    values = tuple(Random(home.home).randint(100, 900) for _ in range(8))
                start_ms = START_MS + number * PERIOD_MS - 4 * HOUR_MS
                read = c.RecordMeasurements(device=to, start_ms=start_ms, interval_s=900, energy_wh=values)
                await self._send(AGGREGATOR_ID, AGGREGATOR, pay)
                await self._send(to, self._key(home, period), read, home)
            if number == 0:
                await self._end(period, earned)
            self.ledger.clock.advance(PERIOD_MS)  # type: ignore[attr-defined]

    async def _begin(self, period: str, earned: Mapping[str, int]) -> None:
        steps = opening([an_enrolment_of(home, period) for home in HOMES], CREDIT)
        if earned and self.habit in ("same order", "same amount", "handed on"):
            order = {TABLE.pseudonym(home.home, "main", period): n for n, home in enumerate(HOMES)}
            steps = [each for each in steps if isinstance(each, c.EnrolParty)]
            if self.habit == "same order":
                steps.sort(key=lambda each: order[each.enrolment.party])  # type: ignore[attr-defined]
        for step in steps:
            await self._send(AGGREGATOR_ID, AGGREGATOR, step)
        for home in HOMES if earned else ():
            to = TABLE.pseudonym(home.home, "main", period)
            if self.habit == "same amount":
                again = c.Transfer(to=to, amount_minor=earned[home.home] + CREDIT, reference="")
                await self._send(AGGREGATOR_ID, AGGREGATOR, again)
            elif self.habit == "handed on":
                old = TABLE.pseudonym(home.home, "main", PERIODS[0])
                hand = c.Transfer(to=to, amount_minor=earned[home.home] + CREDIT, reference="")
                await self._send(old, self._key(home, PERIODS[0]), hand, home)

    async def _end(self, period: str, earned: Mapping[str, int]) -> None:
        for home in HOMES if self.habit == "same order" else self._shuffled():
            old = TABLE.pseudonym(home.home, "main", period)
            if self.habit != "handed on":
                for step in closing(old, earned[home.home] + CREDIT, AGGREGATOR_ID):
                    await self._send(old, self._key(home, period), step, home)

    async def _send(self, sender: str, key: PrivateKey, command: c.Command, home: Home | None = None) -> None:
        nonce = self.random.randbytes(16).hex()
        if home is not None and self.habit == "serial nonces":
            nonce = f"meter-{home.home}-{next(self.serial):06d}"
        content = sealed(
            sender, command, nonce, salt=self.random.randbytes(32), sign=key.sign,
            not_after_ms=START_MS + 12 * PERIOD_MS,
        )  # fmt: skip
        await self.ledger.run(content)

    def _key(self, home: Home, period: str) -> PrivateKey:
        return SECRETS[home.home].key("main", period)

    def _shuffled(self) -> list[Home]:
        return self.random.sample(HOMES, len(HOMES))


def an_enrolment_of(home: Home, period: str) -> c.EnrolParty:
    key = SECRETS[home.home].key("main", period)
    return enrolment(TABLE.pseudonym(home.home, "main", period), home, key, AGGREGATOR_ID)


async def everything(ledger: Ledger) -> Rows:
    """All rows of all tables, texts decoded."""

    def text(value: Any) -> Any:
        if isinstance(value, bytes | memoryview):
            data = bytes(value)
            return data.decode() if data.isascii() and data[:1] == b"{" else data.hex()
        return value

    found: Rows = {}
    for name in tables.metadata.tables:
        rows = await ledger.sql(f"SELECT * FROM {name}")
        found[name] = [{column: text(value) for column, value in row._mapping.items()} for row in rows]
    return found


# ---- the attacker


def mentioning(rows: Rows, party: str) -> list[str]:
    texts = rows["as text"] if "as text" in rows else [str(row) for found in rows.values() for row in found]
    rows["as text"] = texts  # type: ignore[assignment]
    return [text for text in texts if party in text]  # type: ignore[operator]


def guess(old: list[str], new: list[str], score: Callable[[str, str], float]) -> dict[str, str]:
    """For each old id the new one that fits best, where one fits better than all others."""
    guessed = {}
    for one in old:
        ranked = sorted(((score(one, other), other) for other in new), reverse=True)
        if ranked[0][0] > ranked[1][0]:
            guessed[one] = ranked[0][1]
    return guessed


def by_shared_words(rows: Rows, old: list[str], new: list[str]) -> dict[str, str]:
    """Words (ids, keys, hashes, nonces, numbers) that both are mentioned with, the rarer the better."""
    words = {party: set(re.findall(r"[A-Za-z0-9_.:-]{4,}", " ".join(mentioning(rows, party)))) for party in old + new}
    count = Counter(word for found in words.values() for word in found)
    rare = {word for word, times in count.items() if times <= 4}
    return guess(old, new, lambda a, b: len(words[a] & words[b] & rare))


def by_fragments(rows: Rows, old: list[str], new: list[str], pattern: str) -> dict[str, str]:
    """Common beginnings, ends and middle parts of the texts that the pattern finds around a party."""
    pieces: dict[str, set[str]] = {}
    for party in old + new:
        texts = re.findall(pattern, " ".join(mentioning(rows, party)))
        pieces[party] = {text[at : at + 9] for text in texts for at in range(len(text) - 8)}
    count = Counter(piece for found in pieces.values() for piece in found)
    often = {piece for piece, times in count.items() if times > 4}
    return guess(old, new, lambda a, b: len((pieces[a] & pieces[b]) - often))


def transfers(rows: Rows) -> list[tuple[str, str, int]]:
    found = []
    for row in rows["facts"]:
        match = re.search(
            r'"amount_minor":(\d+),"credit":"party/([^"]+)","debit":"party/([^"]+)".*TransferPosted', row["body"]
        )
        if match:
            found.append((match[3], match[2], int(match[1])))
    return found


def by_money(rows: Rows, old: list[str], new: list[str]) -> dict[str, str]:
    """The way of the money: from one to the other, or out of one and into the other in the same amount."""
    moved = transfers(rows)

    def score(a: str, b: str) -> float:
        direct = sum(10 for debit, credit, _ in moved if (debit, credit) == (a, b))
        out = {amount for debit, _, amount in moved if debit == a}
        into = {amount for _, credit, amount in moved if credit == b}
        return direct + len(out & into)

    return guess(old, new, score)


def by_order(rows: Rows, old: list[str], new: list[str]) -> dict[str, str]:
    """Who left first joined first."""
    index = {row["id"]: row["log_index"] for row in rows["transactions"]}
    left = {row["sender"]: row["log_index"] for row in rows["transactions"] if row["command"] == "RevokeParty"}
    joined = {
        party: row["log_index"]
        for row in rows["facts"]
        for party in re.findall(r'PartyEnrolled.*"party":"([^"]+)"', row["body"])
    }
    assert index
    pairs = zip(sorted(left, key=left.__getitem__), sorted(new, key=joined.__getitem__), strict=False)
    return {one: other for one, other in pairs if one in old}


def by_area_alone(rows: Rows, old: list[str], new: list[str]) -> dict[str, str]:
    """The area that the records of both name: as good as a blind guess within it."""
    area = {
        row["key"]: re.search(r'"area":"(\w+)"', row["body"])[1] for row in rows["records"] if row["kind"] == "party"
    }  # type: ignore[index]
    return guess(old, new, lambda a, b: (area[a] == area[b]) + Random(a + b).random() / 2)


def by_readings(rows: Rows, old: list[str], new: list[str]) -> dict[str, str]:
    """The same readings, or the most similar load curve."""
    curves: dict[str, list[int]] = {}
    for row in rows["facts"]:
        match = re.search(r'"device":"([^"]+)","energy_wh":\[([0-9,]+)\]', row["body"])
        if match:
            curves[match[1]] = [int(value) for value in match[2].split(",")]
    return guess(old, new, lambda a, b: -sum(abs(x - y) for x, y in zip(curves[a], curves[b], strict=True)))


LINKERS: dict[str, Linker] = {
    "words": by_shared_words,
    "nonces": partial(by_fragments, pattern=r"'nonce': '([^']+)'"),
    "hex": partial(by_fragments, pattern=r"[0-9a-f]{32,}"),
    "money": by_money,
    "order": by_order,
    "area": by_area_alone,
    "readings": by_readings,
}
TRUTH = {TABLE.pseudonym(h.home, "main", PERIODS[0]): TABLE.pseudonym(h.home, "main", PERIODS[1]) for h in HOMES}
FOUND_BY = {
    "": "",
    "serial nonces": "nonces",
    "handed on": "money",
    "same amount": "money",
    "same order": "order",
    "same readings": "readings",
}


@pytest.mark.parametrize("habit", FOUND_BY)
async def test_two_periods_are_linked_by_habits_or_by_the_table_and_by_nothing_else(
    url: str, tmp_path: Path, habit: str
) -> None:
    async with a_replica(url, tmp_path, clock=a_clock()) as ledger:
        await Homes(ledger, habit).live()
        rows = await everything(ledger)
    assert len(rows["bodies"]) > 70, "the attacker has the bodies too"
    old, new = sorted(TRUTH), sorted(TRUTH.values())
    hits = {
        name: sum(TRUTH[one] == other for one, other in linker(rows, old, new).items())
        for name, linker in LINKERS.items()
    }
    known = {name: count for name, count in hits.items() if count > BY_CHANCE}
    assert known.get(FOUND_BY[habit], 10 if not habit else 0) == len(HOMES), hits
    assert habit or not known, hits
    linked = {one: TABLE.find(one, "main", PERIODS) for one in old + new}
    assert [linked[one][0] for one in TRUTH] == [linked[other][0] for other in TRUTH.values()]  # type: ignore[index]
    for home in HOMES:
        assert home.home not in str(rows) or habit == "serial nonces", "no replica knows what the sponsor calls a home"


async def test_the_key_of_a_period_is_not_taken_into_the_next(url: str, tmp_path: Path) -> None:
    """The rules themselves refuse the habit that would undo everything."""
    async with a_replica(url, tmp_path) as ledger:
        home, key = HOMES[0], SECRETS[HOMES[0].home].key("main", PERIODS[0])
        first = enrolment(TABLE.pseudonym(home.home, "main", PERIODS[0]), home, key, AGGREGATOR_ID)
        again = enrolment(TABLE.pseudonym(home.home, "main", PERIODS[1]), home, key, AGGREGATOR_ID)
        await ledger.run(sealed(AGGREGATOR_ID, first))
        (result,) = await ledger.submit(sealed(AGGREGATOR_ID, again))
        assert result.code == "key_in_use"
    assert encode(first) != encode(again)
    assert home.role is Role.DEVICE
