"""Shared vectors of the verifier and its browser twin: files, changed files, and the verdict on each.

vectors/verify.json     {"files": {name: base64}, "cases": [{"name", "call", "files": {parameter: given}, "options",
                        "expect": {"code"} or {"value"}}]}, given = a file's name, or [name, at, drop, hex]: that file
                        with `drop` bytes at `at` replaced; value = SHA-256 of what was proved, as canonical text

The verdicts are Python's, when `python -m tests.ledger.log.vectors` writes the file; the tests hold both to them.
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from ledger.log import merkle
from ledger.verify.merkle import leaf_hash
from tests.ledger.log.curve import crafted
from tests.ledger.log.lived import lived
from tests.ledger.verify.verdicts import verdict

DEVICE = "ed25519:" + bytes(SigningKey(b"\x07" * 32).verify_key).hex()
FILE = Path(__file__).with_name("vectors") / "verify.json"
Given = str | list[Any]
Case = dict[str, Any]

SOUND: list[tuple[str, dict[str, Given], dict[str, Any]]] = [
    ("verify_payment", {"proof": "proof.0", "policy": "policy", "opening": "opening.payment"}, {}),
    ("verify_payment", {"proof": "proof.1", "policy": "policy", "opening": "opening.p256"}, {}),
    ("verify_payment", {"proof": "proof.3", "policy": "policy", "opening": "opening.tick"}, {}),
    ("verify_balance", {"proof": "proof.20", "policy": "policy", "opening": "opening.balance"}, {}),
    ("verify_balance", {"proof": "proof.20", "policy": "policy", "opening": "opening.absence"}, {}),
    ("verify_balance", {"proof": "proof.20", "policy": "policy", "opening": "opening.transfer"}, {}),
    ("verify_proof", {"proof": "proof.0", "policy": "policy", "opening": "opening.payment"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.0", "policy": "policy", "opening": "opening.bare"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.1", "policy": "policy", "opening": "opening.p256"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.2", "policy": "policy", "opening": "opening.named"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.2", "policy": "policy", "opening": "opening.named"}, {"sender_key": "p256:00"}),
    ("verify_proof", {"proof": "proof.3", "policy": "policy", "opening": "opening.tick"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.20", "policy": "policy", "opening": "opening.transfer"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.0", "policy": "policy.levels", "opening": "opening.payment"}, {}),
    ("verify_proof", {"proof": "proof.0", "policy": "policy.levels", "opening": "opening.payment"}, {"strict": True}),
    ("verify_proof", {"proof": "proof.0", "policy": "policy.strangers", "opening": "opening.payment"}, {}),
    ("verify_checkpoint", {"note": "note.whole", "policy": "policy"}, {"strict": True}),
    ("verify_checkpoint", {"note": "note.small", "policy": "policy.levels"}, {}),
    ("verify_checkpoint", {"note": "note.small", "policy": "policy.strangers"}, {"strict": True}),
    ("verify_extension", {"older": "note.small", "extension": "extension", "policy": "policy"}, {"strict": True}),
    ("verify_extension", {"older": "note.other", "extension": "extension", "policy": "policy"}, {}),
    ("verify_extension", {"older": "note.whole", "extension": "extension", "policy": "policy"}, {}),
    ("verify_equivocation", {"evidence": "evidence.same", "policy": "policy"}, {}),
    ("verify_equivocation", {"evidence": "evidence.log", "policy": "policy"}, {}),
    ("verify_equivocation", {"evidence": "evidence.prefix", "policy": "policy.levels"}, {}),
    ("verify_equivocation", {"evidence": "evidence.prefix"}, {}),
    ("verify_equivocation", {"evidence": "evidence.consistent", "policy": "policy"}, {}),
    ("verify_equivocation", {"evidence": "evidence.alike"}, {}),
    ("verify_proof", {"proof": "proof.4", "policy": "policy", "opening": "opening.stranger"}, {}),
    ("verify_equivocation", {"evidence": "evidence.prefix", "policy": "policy.strangers"}, {}),
    ("verify_disclosure", {"disclosure": "disclosure", "policy": "policy"}, {}),
    ("verify_disclosure", {"disclosure": "disclosure", "policy": "policy.levels"}, {"strict": False}),
    ("verify_disclosure", {"disclosure": "disclosure", "policy": "policy"}, {"sender_keys": {"home-17": DEVICE}}),
    ("verify_disclosure", {"disclosure": "disclosure", "policy": "policy"}, {"sender_keys": {"home-17": "ed25519:00"}}),
    ("verify_disclosure", {"disclosure": "disclosure.none", "policy": "policy"}, {}),
    ("parse_policy", {"policy": "policy"}, {"strict": True}),
    ("parse_policy", {"policy": "policy.levels"}, {}),
    ("parse_policy", {"policy": "policy.strangers"}, {"strict": True}),
]

#: changes of a disclosure, as of the other files below
DISCLOSURE_EDITS = [
    ("disclosure", '"index":0', '"index":1'),
    ("disclosure", '"index":0', '"index":2'),
    ("disclosure", '"index":0', '"index":-1'),
    ("disclosure", '"index":0', '"index":"0"'),
    ("disclosure", '"items":[', '"items":[1,'),
    ("disclosure", '"items":[', '"items":['),
    ("disclosure", '"origin":"ledger.example/dr/vn-1"}', '"origin":"ledger.example/dr/vn-2"}'),
    ("disclosure", '"path":["', '"path":["A'),
    ("disclosure", '"path":["', '"path":["00","'),
    ("disclosure", "disclosure/v1", "disclosure/v2"),
    ("disclosure", "vn-1", "vn-2"),
]

#: (file, old, new): one replacement each, tried in the calls that read the file
EDITS: list[tuple[str, str, str]] = [
    ("proof.0", "@v1\n", "@v2\n"),
    ("proof.0", "@v1\n", "@v1\r\n"),
    ("proof.0", "@v1\n", "@v1\nextra AAAA\n"),
    ("proof.0", "@v1\n", "@v1\nextra \n"),
    ("proof.0", "@v1\n", "@v1\nextra AB==\n"),
    ("proof.0", "index 0\n", "index 00\n"),
    ("proof.0", "index 0\n", "index 1\n"),
    ("proof.0", "index 0\n", "index 9223372036854775807\n"),
    ("proof.0", "index 0\n", "index 9223372036854775808\n"),
    ("proof.0", "index 0\n", f"index {'9' * 400}\n"),
    ("proof.0", "index 0\n", "index 0\nAA==\n"),
    ("proof.0", "index 0\n", "index 0\n" + ("A" * 43 + "=\n") * 60),
    ("proof.0", "main\n21\n", "other\n21\n"),
    ("proof.0", "main\n21\n", "main\n22\n"),
    ("proof.0", "main\n21\n", "main\n021\n"),
    ("proof.0", "main\n21\n", "main\n2\u0661\n"),
    ("note.whole", "main\n21\n", "main\n9223372036854775808\n"),
    ("note.whole", "\n\n", "\nextension\n\n"),
    ("note.whole", "\n\n", "\n\n\n"),
    ("note.whole", "—", "-"),
    ("note.whole", "— ", "—\u00a0"),
    ("note.whole", "— ledger", "— \ufeffledger"),
    ("note.whole", "— ledger", "— led\u0085ger"),
    ("note.whole", "— ledger", "— led+ger"),
    ("note.whole", "ledger", "\ufeffledger"),
    ("note.whole", "\n\n", "\n\n" + "— a AAAAAAA=\n" * 3),
    ("note.whole", "\n\n", "\n\n" + "— a AAAAAAA=\n" * 140),
    ("note.whole", "\n\n", "\n\n— a AAAAAA==\n"),
    ("policy", "quorum members", "quorum member"),
    ("policy", " 2 member.example/m1", " 3 member.example/m1"),
    ("policy", " 2 member.example/m1", " any member.example/m1"),
    ("policy", " 2 member.example/m1", " all member.example/m1"),
    ("policy", " 2 member.example/m1", " 02 member.example/m1"),
    ("policy", " 2 member.example/m1", " 4 member.example/m1"),
    ("policy", " 2 member.example/m1", " 0 member.example/m1"),
    ("policy", " 2 member.example/m1", " 1 member.example/m1 member.example/m1"),
    ("policy", "witness member.example/m1", "witness none"),
    ("policy", "log ", "log\t"),
    ("policy", "log ", "\n# comment\nlog "),
    ("policy", "log ", "\x0blog "),
    ("policy", "log ", "log\u00a0"),
    ("policy", "log ", "logs "),
    ("policy", "quorum ", "quorum none\nquorum "),
    ("policy", "+", "+0"),
    ("policy.levels", "quorum both", "quorum left"),
    ("policy.levels", "quorum both", "quorum none"),
    ("policy.levels", "quorum both", "quorum c"),
    ("policy.levels", "group both 2 left right", "group both 2 left both"),
    ("policy.levels", "group both 2 left right", "group both 2 left a"),
    ("policy.levels", "group right any c", "group left any c"),
    ("policy.levels", "https://b.example/", "https://b.example/ more"),
    ("policy.levels", "# two levels", "# \u00e9\u00e9"),
    ("extension", "old 13", "old 12"),
    ("extension", "old 13", "old 013"),
    ("extension", "old 13", "new 13"),
    ("extension", "old 13", "old 13\nAAAA"),
    ("opening.payment", '"format"', '"format" '),
    ("opening.payment", '"facts":4', '"facts":4.0'),
    ("opening.payment", '"facts":4', '"facts":04'),
    ("opening.payment", '"facts":4', '"facts":4e0'),
    ("opening.payment", '"facts":4', '"facts":-0'),
    ("opening.payment", '"facts":4', '"facts":true'),
    ("opening.payment", '"facts":4', '"facts":"4"'),
    ("opening.payment", '"facts":4', '"facts":9007199254740993'),
    ("opening.payment", '"facts":4', f'"facts":{10**400}'),
    ("opening.payment", '"index":2', '"index":3'),
    ("opening.payment", '"index":2', '"index":4'),
    ("opening.payment", '"index":2', '"index":-1'),
    ("opening.payment", '"code":"ok"', '"code":"late"'),
    ("opening.payment", '"fact":', '"fakt":'),
    ("opening.payment", '"fact":', '"constructor":'),
    ("opening.payment", '"entry":', '"Entry":'),
    ("opening.payment", 'amount_minor\\":1200', 'amount_minor\\":1201'),
    ("opening.payment", "W\u00e4rme", "Wa\u0308rme"),
    ("opening.payment", "W\u00e4rme", "Waerme"),
    ("opening.payment", "W\u00e4rme", "W\\u00e4rme"),
    ("opening.payment", "W\u00e4rme", "W\\ud800rme"),
    ("opening.payment", '"kind":"transaction"', '"kind":"tick"'),
    ("opening.payment", '"kind":"transaction"', '"kind":"toString"'),
    ("opening.payment", '"kind":"transaction"', '"kind":7'),
    ("opening.payment", '"nonce":"n-7"', '"nonce":"n-8"'),
    ("opening.payment", '"channel":"main"', '"channel":"vn-1"'),
    ("opening.tick", '"height":2', '"height":3'),
    ("opening.tick", '"facts":1', '"facts":2'),
    ("opening.tick", '"fact":{', '"record":{'),
    ("opening.balance", '"kind":"account"', '"kind":"transfer"'),
    ("opening.balance", '"key":"party/7"', '"key":"party/8"'),
    ("opening.balance", '"key":"party/7"', '"key":"party\\u00007"'),
    ("opening.balance", 'credits_posted\\":1907', 'credits_posted\\":1908'),
    ("opening.absence", '"key":"party/none"', '"key":"party/some"'),
    ("evidence.same", '"key":"', '"key":"x'),
    ("evidence.same", "equivocation/v1", "equivocation/v2"),
    ("evidence.same", '"second"', '"third"'),
    ("evidence.prefix", '"path":[', '"path":["00",'),
    ("evidence.prefix", '"path":[', '"path":[1,'),
    ("evidence.prefix", '"prefix_root":"', '"prefix_root":"A'),
]

#: whole files in place of one that is read
STRANGE: dict[str, bytes] = {
    "empty": b"",
    "newline": b"\n",
    "blank": b"\n\n",
    "zeros": bytes(64),
    "not utf-8": b"\xff\xfe\n\n\xff\n",
    "bom": b'\xef\xbb\xbf{"format":"gridpact/opening/v1"}',
    "null": b"null",
    "array": b"[]",
    "object": b"{}",
    "number": b"12345678901234567890",
    "nested": b"[" * 40 + b"]" * 40,
    "very deep": b"[" * 3_000 + b"]" * 3_000,
    "proto": b'{"__proto__":{"format":1}}',
    "twice": b'{"a":1,"a":1}',
    "unsorted": b'{"b":1,"a":1}',
    "float": b'{"a":1.5}',
    "nan": b'{"a":NaN}',
    "huge": b'{"a":' + b"9" * 5000 + b"}",
    "upper": b'{"A":1}',
    "surrogate": b'"\\ud800"',
    "control": b'"\\u0001"',
    "quorum none": b"quorum none\n",
    "no quorum": b"# nothing\n",
    "comment only": b"#\n",
    "cr": b"quorum none\r\n",
}


@cache
def files() -> dict[str, bytes]:
    """All named files."""
    made = {f"{part} {name}": data for name, both in crafted().items()
            for part, data in zip(("note", "policy"), both, strict=True)}  # fmt: skip
    return lived().files | {f"strange.{name}": data for name, data in STRANGE.items()} | made


def document() -> dict[str, Any]:
    """What the vector file holds."""
    return judged(every())


def judged(calls: Iterable[tuple[str, dict[str, Given], dict[str, Any]]]) -> dict[str, Any]:
    """Files and cases with Python's verdict on each."""
    cases = []
    for number, (call, given, options) in enumerate(calls):
        case = {"name": f"{number} {call}", "call": call, "files": given, "options": options}
        cases.append(case | {"expect": hashed(verdict(call, opened(given), options))})
    return {"files": {name: b64encode(data).decode() for name, data in files().items()}, "cases": cases}


def every() -> Iterator[tuple[str, dict[str, Given], dict[str, Any]]]:
    """Sound files, then each file changed in every way, then plain numbers."""
    yield from SOUND
    rng, times = random.Random(5), dict[str, int]()
    for call, given, options in SOUND:
        for parameter, name in given.items():
            assert isinstance(name, str)
            times[name] = times.get(name, 0) + 1
            if times[name] <= 2:
                for changed in changes(name, rng, 3):
                    yield call, given | {parameter: changed}, options
    for call, given, options in [SOUND[0], SOUND[3], SOUND[16], SOUND[19], SOUND[24], SOUND[-4], SOUND[-3]]:
        for parameter in given:
            for strange in STRANGE:
                yield call, given | {parameter: f"strange.{strange}"}, options
    for name in crafted():
        yield "verify_checkpoint", {"note": f"note {name}", "policy": f"policy {name}"}, {"strict": True}
    yield from trees()
    yield from witnessed()


def witnessed() -> Iterator[tuple[str, dict[str, Given], dict[str, Any]]]:
    """Checkpoints with and without the lines of external witnesses, by policies with groups of them; policies that name
    keys of a type that is not checked here."""
    rng = random.Random(6)
    kinds = ("policy.named", "policy.one", "policy.two", "policy.later")
    policies = sorted(name for name in files() if name.startswith(kinds))
    for policy in policies:
        for strict in (False, True):
            yield "parse_policy", {"policy": policy}, {"strict": strict}
            for note in ("note.whole", "note.witnessed", "note.later"):
                yield "verify_checkpoint", {"note": note, "policy": policy}, {"strict": strict}
        for changed in changes(policy, rng, 4):
            yield "verify_checkpoint", {"note": "note.later", "policy": changed}, {}


def changes(name: str, rng: random.Random, each: int) -> Iterator[Given]:
    """Flipped, cut, repeated and inserted bytes; lines lost and doubled; the edits of EDITS."""
    data = files()[name]
    for _ in range(each):
        at = rng.randrange(len(data))
        yield [name, at, 1, bytes([data[at] ^ rng.choice((1, 2, 32, 128))]).hex()]
        yield [name, at, len(data) - at, ""]
        yield [name, at, rng.randrange(1, 40), ""]
        yield [name, at, 0, rng.choice((b"\n", b" ", b"0", b"=", b'"', b"\x00", b"\xff", data[at : at + 30])).hex()]
    ends = [at + 1 for at in range(len(data)) if data[at : at + 1] == b"\n"]
    for start, end in list(zip([0, *ends], ends, strict=False))[: 2 * each]:
        yield [name, start, end - start, ""]
        yield [name, start, 0, data[start:end].hex()]
    for edited, old, new in [*EDITS, *DISCLOSURE_EDITS]:
        if old.encode() not in data:
            continue
        if edited == name:
            yield [name, data.index(old.encode()), len(old.encode()), new.encode().hex()]


def trees() -> Iterator[tuple[str, dict[str, Given], dict[str, Any]]]:
    """Inclusion and consistency in trees of up to seven leaves, right and wrong, and sizes of 62 bits."""
    leaves = [leaf_hash(bytes([number])) for number in range(7)]
    grown = [merkle.append(0, leaves[:size], {}) for size in range(8)]
    wrong = sha256(b"wrong").digest().hex()
    for size in (1, 2, 4, 5, 7):
        root = grown[size].root.hex()
        for index in range(size):
            path = [item.hex() for item in merkle.inclusion_proof(index, size, grown[size].tiles)]
            given = {"leaf": leaves[index].hex(), "index": str(index), "size": str(size), "path": path, "root": root}
            yield "verify_inclusion", {}, given
            yield "verify_inclusion", {}, given | {"index": str((index + 1) % (size + 1))}
            yield "verify_inclusion", {}, given | {"path": [*path, wrong]}
        for old in range(size + 1):
            path = [item.hex() for item in merkle.consistency_proof(old, size, grown[size].tiles)]
            both = {"old_root": grown[old].root.hex(), "new_root": root}
            given = {"old_size": str(old), "new_size": str(size), "path": path, **both}
            yield "verify_consistency", {}, given
            yield "verify_consistency", {}, given | {"path": path[:-1]}
            yield "verify_consistency", {}, given | {"old_size": str(old + 1), "old_root": wrong}
    long = [sha256(bytes([number])).hexdigest() for number in range(62)]
    for index in (2**61, 2**62):
        given = {"leaf": wrong, "index": str(index), "size": str(2**62), "path": long, "root": wrong}
        yield "verify_inclusion", {}, given


def hashed(expect: dict[str, Any]) -> dict[str, str]:
    """The verdict with the hash of the value in its place."""
    if "code" in expect:
        return {"code": expect["code"]}
    text = json.dumps(expect["value"], sort_keys=True, separators=(",", ":"))
    return {"value": sha256(text.encode()).hexdigest()}


def opened(given: dict[str, Given]) -> dict[str, bytes]:
    """The bytes of each parameter."""
    return {parameter: given_bytes(what) for parameter, what in given.items()}


def given_bytes(what: Given) -> bytes:
    if isinstance(what, str):
        return files()[what]
    name, at, drop, new = what
    data = files()[name]
    return data[:at] + bytes.fromhex(new) + data[at + drop :]


def render(value: dict[str, Any]) -> str:
    """The file's text: a line a case, so that a change shows as one."""
    names = [f"  {json.dumps(name)}: {json.dumps(data)}" for name, data in value["files"].items()]
    cases = [f"  {json.dumps(case, ensure_ascii=True, sort_keys=True)}" for case in value["cases"]]
    return '{"files": {\n' + ",\n".join(names) + '\n},\n"cases": [\n' + ",\n".join(cases) + "\n]}\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(render(document()))
