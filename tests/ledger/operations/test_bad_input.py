"""Bad input, row by row: what is sent, the error that names it, and that no table of the ledger changed by it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from yarl import URL

from contracts.core.envelope import Header, signing_bytes
from ledger.cluster.certificates import Authority, Pair
from ledger.config import LedgerSettings
from ledger.errors import GenesisExists, GenesisInvalid
from ledger.founding import load
from ledger.log.checkpoint import checkpoint_text
from ledger.ordering.block import make_block, render_block
from ledger.replication.network.listener import peer_app
from ledger.store import tables
from ledger.verify.opening import commitment
from runtime.connections import BoundedSite
from runtime.database import create_engine
from runtime.service import new_app
from runtime.tls import Certificate, client_context, server_context
from tests.builders import START_MS, a_clock, a_key
from tests.ledger.operations.commands import refused
from tests.ledger.replicas import HOUR_MS, Ledger, a_replica, a_transfer, an_issue, execute
from tests.ledger.running import AGGREGATOR_ID, UTILITY, a_running_ledger, founded

NewDatabase = Callable[..., str]
LATE_MS = 2**53 - 1


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    return new_database("ledger")


async def digests(url: str) -> dict[str, str]:
    """Of each table but the operator's notebook, which is there to keep what was refused."""
    engine = create_engine(url)
    found = {}
    for table in tables.metadata.sorted_tables:
        if table.name != "refusals":
            rows = await execute(engine, f"SELECT * FROM {table.name}")
            found[str(table.name)] = sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
    await engine.dispose()
    return found


@contextlib.asynccontextmanager
async def unchanged(url: str) -> AsyncIterator[None]:
    before = await digests(url)
    yield
    assert await digests(url) == before


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


# ---- blocks that a member made by hand


async def propose(
    ledger: Ledger, contents: Sequence[bytes] = (), *, edit: Callable[[bytes], bytes] = bytes, **given: Any
):
    """Puts a block into the order as a member would that does not keep to its own program; waits for what comes."""
    replica = ledger.replica
    defaults: dict[str, Any] = {
        "channel": "main", "height": replica.head.height + 1, "previous": replica.head.previous,
        "time_ms": replica.head.time_ms + 1, "proposer": "member.example/1",
        "sign": ledger.founded.cosigner_key.sign,
    }  # fmt: skip
    block = make_block(contents=contents, **{**defaults, **given})
    height = replica.head.height
    await replica._orderer.propose(height + 1, edit(render_block(block)))
    async with asyncio.timeout(10), replica.subscribe() as changed:
        while replica.head.height == height and replica._progress.fault is None:
            changed.clear()
            await changed.wait()
    return replica._progress.fault


def reheaded(data: bytes, old: bytes, new: bytes) -> bytes:
    """The block with another header of the right length."""
    end = 4 + int.from_bytes(data[:4], "big")
    header = data[4:end].replace(old, new)
    assert header != data[4:end]
    return len(header).to_bytes(4, "big") + header + data[end:]


BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "of the same time as the one before": ({"time_ms": START_MS + 1}, "is not later than the one before"),
    "of the past": ({"time_ms": START_MS - HOUR_MS}, "is not later than the one before"),
    "of another height": ({"height": 9}, "block main/9 after main/1"),
    "of another channel": ({"channel": "other"}, "block other/2 after main/1"),
    "that follows another block": ({"previous": b"\1" * 32}, "follows another block 1 than ours"),
    "by nobody": ({"proposer": "stranger.example/1"}, "is not signed by a member"),
    "by a stranger's key": ({"sign": a_key(999).sign}, "is not signed by a member"),
    "of other transactions": ({"edit": lambda data: data[:-1] + b"x"}, "does not hold the transactions"),
    "with a transaction that is not canonical": ({"contents": [b'{"b":1, "a":2}']}, "holds a transaction without form"),
    "with a NUL byte": ({"contents": [b"\0"]}, "holds a transaction without form"),
    "with deep nesting": ({"contents": [NESTED]}, "holds a transaction without form"),
    "that is cut off": ({"edit": lambda data: data[:-3]}, "ends inside a part"),
    "of nothing": ({"edit": lambda data: b""}, "ends inside a part"),
    "of a huge height": ({"edit": lambda data: reheaded(data, b'"height":2', b'"height":%d' % 9**99)}, "not canonical"),
    "of a height of 2^53 - 1": (
        {"edit": lambda data: reheaded(data, b'"height":2', b'"height":9007199254740991')},
        "block main/9007199254740991 after main/1",
    ),
    "larger than a block may be": ({"edit": lambda data: data + bytes(1_500_000)}, "at most 1400000 are ordered"),
}  # fmt: skip


@pytest.mark.parametrize("what", BLOCKS)
async def test_a_bad_block_halts_names_its_proposer_and_changes_nothing(
    database: str, tmp_path: Path, what: str
) -> None:
    given, says = BLOCKS[what]
    contents = given.get("contents", [a_transfer("ordered")])
    given = {name: value for name, value in given.items() if name != "contents"}
    async with a_replica(database, tmp_path / "m", a_clock()) as ledger:
        await ledger.run(an_issue())
        async with unchanged(database):
            fault = await propose(ledger, contents, **given)
        assert says in str(fault), fault
        assert str(fault).startswith("block "), fault
        if "edit" not in given:
            assert given.get("proposer", "member.example/1") in str(fault), fault
        assert ledger.replica.status()["state"] == "diverged"


async def test_a_block_of_the_future_is_executed_and_not_vouched_for(database: str, tmp_path: Path) -> None:
    async with a_replica(database, tmp_path / "m", a_clock()) as ledger:
        await ledger.run(an_issue())
        signed = ledger.replica.final_size
        assert await propose(ledger, [a_transfer("early")], time_ms=START_MS + HOUR_MS) is None
        assert ledger.replica.head.height == 2
        assert ledger.replica.final_size == signed, "nobody cosigned it"
        [[note]] = await ledger.sql("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
        head = ledger.replica.head
        assert bytes(note).startswith(checkpoint_text("ledger.example/main", head.size, head.root).encode())
        assert b"member.example/1" not in bytes(note)


async def test_what_a_proposer_orders_without_right_is_a_leaf_and_nothing_more(database: str, tmp_path: Path) -> None:
    """Forged and replayed transactions that a member ordered all the same: refused by everybody who executes them."""
    async with a_replica(database, tmp_path / "m", a_clock()) as ledger:
        await ledger.run(an_issue(reference="once"))
        before = await ledger.sql("SELECT kind, key, body FROM records ORDER BY 1, 2")
        ordered = [canonical(json.loads(a_transfer("forged")) | {"signature": "0" * 128}), an_issue(reference="once")]
        assert await propose(ledger, ordered) is None
        rows = await ledger.sql("SELECT code, registered FROM transactions WHERE height = 2 ORDER BY log_index")
        assert [tuple(row) for row in rows] == [("bad_signature", False), ("duplicate", False)]
        assert await ledger.sql("SELECT kind, key, body FROM records ORDER BY 1, 2") == before


# ---- certificates


@contextlib.asynccontextmanager
async def a_peer_listener(folder: Path, authority: Authority, **receptions: Any) -> AsyncIterator[int]:
    served = authority.issue(Pair(folder / "m.pem", folder / "m.key"), "member.example/1", ["127.0.0.1"])
    tls = server_context([Certificate(served.chain, served.key)], authority.ca)
    runner = web.AppRunner(peer_app(lambda: receptions), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await BoundedSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def asked(port: int, ca: Path, shown: Pair | None, path: str, data: bytes | None = None) -> str:
    """What a peer with this certificate hears: status and type of the problem, or why there is no connection."""
    tls = client_context(ca, None if shown is None else Certificate(shown.chain, shown.key))
    try:
        async with aiohttp.ClientSession() as session:
            method = "GET" if data is None else "POST"
            sent = None if data is None else BytesIO(data)
            async with session.request(method, f"https://127.0.0.1:{port}{path}", data=sent, ssl=tls) as response:
                answer = await response.json(content_type=None) if response.content_length else {}
                return f"{response.status} {answer.get('type', '')}".strip()
    except (aiohttp.ClientError, OSError) as error:
        return f"refused: {error}"


async def test_peers_without_a_valid_certificate_of_a_member_get_nothing(database: str, tmp_path: Path) -> None:
    authority, foreign = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "foreign")

    def pair(name: str, subject: str, of: Authority = authority, days: int = 30) -> Pair:
        return of.issue(Pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"), subject, ["127.0.0.1"], days=days)

    member, stranger = pair("member", "member.example/2"), pair("stranger", "member.example/9")
    over, forged = pair("over", "member.example/2", days=-1), pair("forged", "member.example/2", foreign)
    async with a_replica(database, tmp_path / "m") as ledger:
        main = (ledger.replica, ["member.example/1", "member.example/2"])
        async with a_peer_listener(tmp_path, authority, main=main) as port, unchanged(database):
            status, transactions = "/v1/peers/main/status", "/v1/peers/main/transactions"
            frame = len(an_issue()).to_bytes(4, "big") + an_issue()
            assert await asked(port, authority.ca, member, status) == "200"
            assert await asked(port, authority.ca, stranger, status) == "404 not-found"
            assert await asked(port, authority.ca, stranger, transactions, frame) == "404 not-found"
            for unknown, why in (
                (over, "certificate has expired"),
                (forged, "unable to get local issuer certificate"),
                (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            ):
                with capture_logs() as logged:
                    said = await asked(port, authority.ca, unknown, transactions, frame)
                assert said.startswith("refused: "), said
                assert {entry["reason"] for entry in logged if "reason" in entry} == {why}
            assert await asked(port, authority.ca, member, "/v1/peers/other/status") == "404 not-found"
            for path, body in (
                (transactions, b"\xff\xff\xff\xff"), (transactions, b"\0\0\0\5abc"),
                ("/v1/peers/main/cosignatures", b'[{"note":"\\u0000"'), ("/v1/peers/main/cosignatures", NESTED),
                ("/v1/peers/main/blocks?from=-1&limit=1&size=1", None),
                ("/v1/peers/main/blocks?from=" + "9" * 99 + "&limit=1&size=1", None),
            ):  # fmt: skip
                assert await asked(port, authority.ca, member, path, body) == "400 invalid-request", (path, body)
            assert await asked(port, authority.ca, member, transactions, bytes(5 << 20)) == "413 request-too-large"
            garbage = b"\0\0\0\4null"
            assert await asked(port, authority.ca, member, transactions, garbage) == "202", "taken: none of one"


async def test_clients_must_show_a_valid_certificate_where_one_is_asked_for(database: str, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")

    def pair(name: str, days: int) -> Pair:
        return authority.issue(Pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"), name, ["127.0.0.1"], days=days)

    served, client, over = pair("server", 30), pair("client", 30), pair("over", -1)
    settings = LedgerSettings(
        data_dir=tmp_path / "m", certificate=served.chain, certificate_key=served.key, client_ca=authority.ca
    )
    async with a_replica(database, tmp_path / "m"):
        runner = web.AppRunner(new_app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await BoundedSite(runner, "127.0.0.1", 0, ssl_context=settings.tls()).start()
            port = runner.addresses[0][1]
            assert await asked(port, authority.ca, client, "/healthz") == "200"
            for unknown, why in ((over, "certificate has expired"), (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE")):
                with capture_logs() as logged:
                    assert (await asked(port, authority.ca, unknown, "/healthz")).startswith("refused: ")
                assert {entry["reason"] for entry in logged if "reason" in entry} == {why}
        finally:
            await runner.cleanup()


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
