"""A load that writes down every acknowledgement, sends again what has none, and asks for all of it at the end."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp

from contracts.core import commands as c
from contracts.core.codec import encode
from contracts.core.envelope import parse_transaction, seal, transaction_id
from ledger.cluster.layout import Member
from ledger.verify import VerificationError, verify_proof
from tests.builders import START_MS
from tests.ledger.running import AGGREGATOR, AGGREGATOR_ID, UTILITY, UTILITY_ID
from tests.simulation.real.consortium import Consortium

_BATCH = 5
_PAUSE_S = 0.05
_TIMEOUT_S = 6.0
_ABREAST = 16
_BUNDLE = 256
_YEARS_MS = 100 * 365 * 86_400_000


@dataclass
class Load:
    """Transfers by several senders through all members in turn. `acknowledged`: id -> (height, index, code)."""

    consortium: Consortium
    acknowledged: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    contradicted: list[str] = field(default_factory=list)
    retried: int = 0
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _ended: bool = False

    async def run(self, senders: int = 3) -> None:
        """Until `end`, and then until nothing is without an outcome."""
        await self._settle([_sealed(UTILITY_ID, c.Issue(to=AGGREGATOR_ID, amount_minor=10**9, reference="load"))], 0)
        await asyncio.gather(*(self._send(number) for number in range(senders)))

    def end(self) -> None:
        """No new transactions."""
        self._ended = True

    async def _send(self, sender: int) -> None:
        while not self._ended:
            batch = [
                _sealed(AGGREGATOR_ID, c.Transfer(to=UTILITY_ID, amount_minor=1, reference=f"{next(self._numbers)}"))
                for _ in range(_BATCH)
            ]
            await self._settle(batch, sender)
            await asyncio.sleep(_PAUSE_S)

    async def _settle(self, contents: list[bytes], first: int) -> None:
        """Sends until every outcome is known, each time through the next member."""
        members = itertools.cycle(self.consortium.members)
        for _ in range(first % len(self.consortium.members)):
            next(members)
        left = contents
        while left:
            results = await self._post(next(members), left)
            known = {each["id"] for each in results if each["height"] is not None}
            for each in results:
                if each["height"] is not None:
                    self._note(each)
            left = [content for content in left if _id(content) not in known]
            if left:
                self.retried += len(left)
                await asyncio.sleep(0.2)

    def _note(self, result: dict[str, Any]) -> None:
        place = (int(result["height"]), int(result["index"]), str(result["code"]))
        if self.acknowledged.setdefault(str(result["id"]), place) != place:
            self.contradicted.append(f"{result['id']}: {self.acknowledged[result['id']]} and {place}")

    async def _post(self, member: Member, contents: list[bytes]) -> list[dict[str, Any]]:
        url = f"{self.consortium.layout.api_url(member)}/v1/channels/main/transactions"
        body = b'{"transactions":[' + b",".join(contents) + b"]}"
        headers = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(_TIMEOUT_S)
        try:
            async with self.consortium.http.post(url, data=body, headers=headers, timeout=timeout) as answer:
                if answer.status in (200, 202):
                    return list((await answer.json())["results"])
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass  # it may have arrived or not: the same again, elsewhere
        return []

    # ---- judging

    async def lost(self) -> list[str]:
        """Acknowledged transactions that some member does not have, or has otherwise; one line each."""
        found: list[str] = []
        queue = [(member, key) for member in self.consortium.members for key in self.acknowledged]
        todo = iter(queue)

        async def look() -> None:
            for member, key in todo:
                answer = await self.consortium.ask(member, f"transactions/{key}")
                page = json.loads(answer[1]) if answer is not None and answer[0] == 200 else None
                place = None if page is None else (page["height"], page["index"], page["code"])
                if place != self.acknowledged[key]:
                    found.append(f"{key} at {member.name}: {place} instead of {self.acknowledged[key]}")

        await asyncio.gather(*(look() for _ in range(_ABREAST)))
        return [*found, *self.contradicted]

    async def unproved(self, samples: int = 20) -> list[str]:
        """Of some acknowledged transactions those of which a member gives no proof that the policy file accepts."""
        policy = Path(self.consortium.layout.as_page()["policy_file"]).read_bytes()
        found = []
        for member in self.consortium.members:
            for key in list(self.acknowledged)[:: max(1, len(self.acknowledged) // samples)]:
                answer = await self.consortium.ask(member, f"proofs/{key}")
                try:
                    page = json.loads(answer[1]) if answer is not None and answer[0] == 200 else {}
                    verified = verify_proof(page["proof"].encode(), policy, page["opening"].encode())
                    assert verified.index == self.acknowledged[key][1]
                except (KeyError, VerificationError, AssertionError) as error:
                    found.append(f"{key} at {member.name}: {error!r}")
        return found

    async def diverged(self, size: int) -> list[str]:
        """Bundles of entries in which members differ."""
        found = []
        for number in range(-(-size // _BUNDLE)):
            width = min(_BUNDLE, size - number * _BUNDLE)
            partial = "" if width == _BUNDLE else f".p/{width}"
            answers = [await self.consortium.ask(each, f"tile/entries/{_path(number)}{partial}") for each in
                       self.consortium.members]  # fmt: skip
            if any(answer is None or answer[0] != 200 for answer in answers):
                found.append(f"bundle {number} is not served by all")
            elif len({answer[1] for answer in answers if answer is not None}) != 1:
                found.append(f"bundle {number} differs")
        return found


def _path(number: int) -> str:
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])


def _sealed(sender: str, command: c.Command) -> bytes:
    made = sha256(encode(command)).digest()
    key = UTILITY if sender == UTILITY_ID else AGGREGATOR
    return encode(
        seal(
            command, channel="main", contract=c.CONTRACT_OF[type(command)], sender=sender, nonce=made.hex()[:32],
            not_after_ms=START_MS + _YEARS_MS, salt=made, sign=key.sign,
        )
    )  # fmt: skip


def _id(content: bytes) -> str:
    return transaction_id(parse_transaction(content).header)
