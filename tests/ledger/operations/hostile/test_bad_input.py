"""Bad input, row by row: what is sent, the error that names it, and that no table of the ledger changed by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from yarl import URL

from contracts.core.envelope import Header, signing_bytes
from ledger.config import LedgerSettings
from ledger.errors import GenesisExists, GenesisInvalid
from ledger.founding import load
from ledger.verify.opening import commitment
from tests.builders import START_MS
from tests.ledger.operations.commands import refused
from tests.ledger.operations.hostile.unchanged import digests, unchanged
from tests.ledger.replicas import a_replica, an_issue
from tests.ledger.running import AGGREGATOR_ID, UTILITY, a_running_ledger, founded

NewDatabase = Callable[..., str]
LATE_MS = 2**53 - 1


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


# ---- the interface of clients


def edited(**header: Any) -> bytes:
    """A transaction whose header was changed after it was signed."""
    transaction = json.loads(an_issue(not_after_ms=LATE_MS))
    transaction["header"] |= header
    return canonical(transaction)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def whole() -> dict[str, Any]:
    return dict(json.loads(an_issue(not_after_ms=LATE_MS)))


def with_body(body: str) -> bytes:
    return canonical(whole() | {"body": body})


def signed(body: str) -> bytes:
    """A transaction whose sender committed to this body and signed it."""
    transaction = whole()
    header = transaction["header"] | {"commitment": commitment(bytes.fromhex(transaction["salt"]), body.encode()).hex()}
    signature = UTILITY.sign(signing_bytes(msgspec.convert(header, Header))).hex()
    return canonical({"header": header, "signature": signature, "salt": transaction["salt"], "body": body})


NESTED = b"[" * 100_000 + b"]" * 100_000

TRANSACTIONS: dict[str, tuple[bytes, str]] = {
    "an unknown sender": (edited(sender="utl-0000000000000000"), "party_unknown"),
    "a sender that is no member's party": (edited(sender="nobody"), "party_unknown"),
    "another sender's name": (edited(sender=AGGREGATOR_ID), "bad_signature"),
    "a forged signature": (canonical(whole() | {"signature": "0" * 128}), "bad_signature"),
    "another channel": (edited(channel="other"), "wrong_channel"),
    "an unknown command": (edited(command="Mint"), "command_unknown"),
    "a body that was exchanged": (with_body('{"amount_minor":1}'), "commitment_mismatch"),
    "a validity that is over": (an_issue(not_after_ms=START_MS - 1), "transaction_expired"),
    "white space": (an_issue(not_after_ms=LATE_MS).replace(b":", b": ", 1), "form_invalid"),
    "keys in another order": (json.dumps(dict(reversed(whole().items()))).encode(), "form_invalid"),
    "a key given twice": (an_issue(not_after_ms=LATE_MS).replace(b'{"body"', b'{"body":"","body"', 1), "form_invalid"),
    "an unknown member": (canonical(whole() | {"more": 1}), "form_invalid"),
    "an escaped character": (an_issue(not_after_ms=LATE_MS).replace(b"main", b"m\\u0061in", 1), "form_invalid"),
    "a number with a fraction": (edited(not_after_ms=1.5), "form_invalid"),
    "an integer of 2^53": (edited(not_after_ms=2**53), "form_invalid"),
    "an integer of a thousand digits": (edited(not_after_ms=10**1000), "form_invalid"),
    "a NUL byte in a name": (edited(nonce="a\0b"), "form_invalid"),
    "an escaped NUL": (with_body('{"a":"\\u0000"}'), "commitment_mismatch"),
    "a lone surrogate": (b'{"body":"\\ud800"}', "form_invalid"),
    "letters that are not in NFC": (edited(contract="tokens\u0041\u030a"), "form_invalid"),
    "deep nesting": (NESTED, "form_invalid"),
    "deep nesting in a body that was exchanged": (with_body(NESTED.decode()[:60_000]), "commitment_mismatch"),
    "deep nesting in the body": (signed("[" * 20_000 + "]" * 20_000), "body_invalid"),
    "a huge integer in the body": (signed(f'{{"amount_minor":{9**999},"reference":"","to":"x"}}'), "body_invalid"),
    "a NUL byte in the body": (signed('{"amount_minor":1,"reference":"\\u0000","to":"x"}'), "body_invalid"),
    "a body with keys in another order": (signed('{"to":"x","reference":"","amount_minor":1}'), "body_invalid"),
    "a body with an unknown member": (signed('{"amount_minor":1,"more":1,"reference":"","to":"x"}'), "body_invalid"),
    "a negative amount": (signed('{"amount_minor":-1,"reference":"","to":"x"}'), "body_invalid"),
    "an empty body": (signed(""), "body_invalid"),
    "a body of 100 kB": (with_body("x" * 100_000), "form_invalid"),
    "nothing": (b"null", "form_invalid"),
}  # fmt: skip


async def test_bad_transactions_are_refused_by_name_and_change_nothing(database: str, tmp_path: Path) -> None:
    async with (
        a_running_ledger(database, tmp_path / "m") as url,
        aiohttp.ClientSession() as session,
        unchanged(database),
    ):
        for what, (content, code) in TRANSACTIONS.items():
            body = b'{"transactions":[' + content + b"]}"
            async with session.post(f"{url}/v1/channels/main/transactions", data=body, headers=JSON) as response:
                answer = await response.json()
            if response.status == 400:  # what is no JSON at all cannot be cut out of the batch
                assert (answer["type"], code) == ("invalid-request", "form_invalid"), (what, answer)
                continue
            [result] = answer["results"]
            assert (result["status"], result["code"], result["height"]) == ("refused", code, None), (what, result)


JSON = {"Content-Type": "application/json"}
STREAM = {"Accept": "text/event-stream"}

REQUESTS: dict[str, tuple[str, str, bytes, dict[str, str], int, str]] = {
    # what: method, path below the channel, body, headers, status, type of the problem
    "no JSON": ("POST", "/transactions", b"{", JSON, 400, "invalid-request"),
    "a NUL byte": ("POST", "/transactions", b'{"transactions":[\0]}', JSON, 400, "invalid-request"),
    "deep nesting": ("POST", "/transactions", NESTED, JSON, 400, "invalid-request"),
    "an empty batch": ("POST", "/transactions", b'{"transactions":[]}', JSON, 413, "batch-size"),
    "too many": ("POST", "/transactions", b'{"transactions":[' + b"1," * 300 + b"1]}", JSON, 413, "batch-size"),
    "too many bytes": ("POST", "/transactions", b" " * (5 << 20), JSON, 413, "request-too-large"),
    "another type": ("POST", "/transactions", b"{}", {"Content-Type": "text/xml"}, 415, "unsupported-media-type"),
    "a broken encoding": ("POST", "/transactions", b"{}", {**JSON, "Content-Encoding": "gzip"}, 400, ""),
    "another channel": ("GET", "/../other/status", b"", {}, 404, ""),
    "a tile without digits": ("GET", "/tile/0/abc", b"", {}, 404, "not-found"),
    "a tile of level 64": ("GET", "/tile/64/000", b"", {}, 404, "not-found"),
    "a tile number in one piece": ("GET", "/tile/0/1234067", b"", {}, 404, "not-found"),
    "a tile without x": ("GET", "/tile/0/001/234", b"", {}, 404, "not-found"),
    "a tile of 257 hashes": ("GET", "/tile/0/000.p/257", b"", {}, 404, "not-found"),
    "a tile of no hash": ("GET", "/tile/0/000.p/0", b"", {}, 404, "not-found"),
    "a tile with leading zeros": ("GET", "/tile/00/000.p/1", b"", {}, 404, "not-found"),
    "a tile elsewhere": ("GET", "/tile/0/..%2f..%2fgenesis.json", b"", {}, 404, "not-found"),
    "a tile with a NUL byte": ("GET", "/tile/0/000%00", b"", {}, 404, "not-found"),
    "a huge tile number": ("GET", "/tile/0/" + "x999/" * 6 + "999", b"", {}, 404, "not-found"),
    "entries of the future": ("GET", "/tile/entries/x999/999.p/1", b"", {}, 404, "not-found"),
    "a huge limit": ("GET", "/facts?limit=" + "9" * 400, b"", {}, 400, "invalid-request"),
    "a negative limit": ("GET", "/records/party?limit=-1", b"", {}, 400, "invalid-request"),
    "a cursor of huge integers": ("GET", "/facts?after=" + "9" * 99 + ".0.0", b"", {}, 400, "invalid-request"),
    "a cursor on a stream": ("GET", "/facts?after=1", b"", STREAM, 400, "invalid-request"),
    "a party with a NUL byte": ("GET", "/facts?party=%00", b"", {}, 400, "invalid-request"),
    "a record with a NUL byte": ("GET", "/records/party/a%00b", b"", {}, 404, "not-found"),
    "an id that is none": ("GET", "/transactions/zz", b"", {}, 404, ""),
    "an unknown parameter": ("GET", "/status?x=1", b"", {}, 400, "invalid-request"),
    "an unknown read level": ("GET", "/records/party/x?read=any", b"", {}, 400, "invalid-request"),
    "a fact of a thousand digits": ("GET", f"/proofs/{'0' * 64}?fact={'9' * 999}", b"", {}, 400, "invalid-request"),
}  # fmt: skip


async def test_bad_requests_are_answered_by_name_and_change_nothing(database: str, tmp_path: Path) -> None:
    async with (
        a_running_ledger(database, tmp_path / "m") as url,
        aiohttp.ClientSession() as session,
        unchanged(database),
    ):
        for what, (method, path, body, headers, status, problem) in REQUESTS.items():
            target = URL(f"{url}/v1/channels/main{path}", encoded=True)
            async with session.request(
                method, target, data=BytesIO(body) if body else None, headers=headers
            ) as response:
                text = await response.text()
            assert response.status == status, (what, response.status, text[:300])
            if problem:
                assert json.loads(text)["type"] == problem, (what, text[:300])
            assert "Traceback" not in text


async def test_a_replayed_transaction_gets_its_first_result_and_changes_nothing(database: str, tmp_path: Path) -> None:
    async with a_replica(database, tmp_path / "m") as ledger:
        [first] = await ledger.run(an_issue(reference="once"))
        async with unchanged(database):
            for again in await ledger.submit(*[an_issue(reference="once")] * 20):
                assert (again.id, again.index, again.code) == (first.id, first.index, "ok")
        nonce = json.loads(an_issue(reference="once"))["header"]["nonce"]
        [other] = await ledger.submit(an_issue(reference="other", nonce=nonce))
        assert other.code == "nonce_reused"


# ---- the command line

COMMANDS: dict[str, tuple[int, list[str], str]] = {
    "a key that is none": (2, ["init", "--utility", "zz", "--aggregator", "zz"], "neither a public key"),
    "a huge amount": (2, ["issue", "--to", "x", "--amount-minor", "9" * 40], ""),
    "a cursor that is none": (5, ["facts", "--after", "1.2", "--url", "http://127.0.0.1:9", "--wait", "0.1"], ""),
    "an address that is none": (2, ["status", "--url", "ftp://x"], "not the address of a ledger"),
    "plain HTTP to elsewhere": (2, ["status", "--url", "http://192.0.2.1"], "not called over plain HTTP"),
    "an empty folder": (7, ["serve", "--data-dir", "{folder}/none"], "there is no ledger in"),
    "a file that is no backup": (7, ["restore", "{folder}/garbage", "--database-url", "{url}"], "no backup of"),
    "an empty backup": (7, ["restore", "{folder}/empty", "--database-url", "{url}"], "no backup of a ledger"),
    "a backup that is not there": (1, ["restore", "{folder}/nothing", "--database-url", "{url}"], "cannot be used"),
    "a setting that is none": (2, ["check", "--config", "{folder}/garbage"], ""),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "garbage").write_bytes(b"\0\xff garbage" * 100)
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


def test_bad_commands_end_with_a_sentence_and_change_nothing(database: str, folder: Path) -> None:
    before = asyncio.run(digests(database))
    for what, (code, arguments, says) in COMMANDS.items():
        filled = [each.format(folder=folder, url=database) for each in arguments]
        said = refused(code, *filled, DR_LEDGER_DATA_DIR=str(folder / "none"))
        assert says in said, (what, said)
    assert asyncio.run(digests(database)) == before


def test_what_is_lost_of_a_ledger_is_named_the_same_by_every_command(tmp_path: Path) -> None:
    settings = LedgerSettings(data_dir=tmp_path / "m")
    founded(settings)
    settings.genesis_file.unlink()
    for act, error in ((load, GenesisInvalid), (founded, GenesisExists)):
        with pytest.raises(error, match=r"genesis\.json missing, policy\.txt there. Found nothing here"):
            act(settings)
    settings.policy_file.unlink()
    for act, error in ((load, GenesisInvalid), (founded, GenesisExists)):
        with pytest.raises(error, match=r"log\.key is there, and no ledger yet.*`dr-ledger join`"):
            act(settings)
