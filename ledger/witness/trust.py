"""Which logs a witness cosigns, and which witnesses a log asks: two lists that people write.

    logs        a tlog-policy (c2sp.org/tlog-policy), of which the lines `log <vkey> [<url>]` count: the policy file of
                a consortium will do; or a tlog-list (c2sp.org/tlog-list): `logs/v0`, then for each log `vkey`,
                [`origin`], `qpd`, `contact`
    witnesses   lines `witness <name> <vkey> <url>` of a tlog-policy; the URL is the submission prefix

Several keys of one origin are several keys of one log: a signature by any of them will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ledger.verify import VerificationError
from ledger.verify.note import COSIGNATURE_V1, ED25519, VerifierKey
from ledger.witness.errors import WitnessInvalid

LIST_BYTES_MAX: Final = 16 << 20
_LIST_HEADER = "logs/v0"
_RATE = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)

Logs = Mapping[str, Sequence[VerifierKey]]
"""Origin -> keys of the log."""


@dataclass(frozen=True, slots=True)
class ExternalWitness:
    """`name`: the local one of the list; `url`: the submission prefix, without a slash at the end."""

    name: str
    key: VerifierKey
    url: str


def read_logs(path: Path) -> Logs:
    """The logs of a list. Raises WitnessInvalid."""
    lines = list(_lines(path))
    logs: dict[str, list[VerifierKey]] = {}
    try:
        for origin, key in _from_list(lines[1:]) if lines[:1] == [_LIST_HEADER] else _from_policy(lines):
            keys = logs.setdefault(origin, [])
            if key.type != ED25519:
                raise WitnessInvalid(f"the key of {origin} has type 0x{key.type:02x}: a log signs with type 0x01")
            if key not in keys:
                keys.append(key)
    except (WitnessInvalid, VerificationError) as error:
        raise WitnessInvalid(f"{path} is no list of logs: {error}") from None
    if not logs:
        raise WitnessInvalid(f"{path} names no log: write lines `log <vkey>`, or give a consortium's policy file")
    return logs


def read_witnesses(path: Path) -> list[ExternalWitness]:
    """The witnesses of a list, each with its address. Raises WitnessInvalid."""
    found: list[ExternalWitness] = []
    try:
        for line in _lines(path):
            words = line.split()
            if words[0] != "witness":
                _require_keyword(words)
                continue
            if len(words) != 4:
                raise WitnessInvalid(f"{line[:80]!r}: write `witness <name> <vkey> <url>`")
            found.append(ExternalWitness(words[1], _cosigner(words[2]), _prefix(words[3])))
    except (WitnessInvalid, VerificationError) as error:
        raise WitnessInvalid(f"{path} is no list of witnesses: {error}") from None
    if len({each.key.public for each in found}) != len(found) or len({each.name for each in found}) != len(found):
        raise WitnessInvalid(f"{path} names a witness twice")
    return found


def _lines(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
        if len(data) > LIST_BYTES_MAX:
            raise WitnessInvalid(f"{path} has more than {LIST_BYTES_MAX} bytes")
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise WitnessInvalid(f"{path} cannot be read: {error}") from None
    for line in text.split("\n"):
        line = line.strip(" \t\r")
        if line and not line.startswith("#"):
            yield line


def _from_policy(lines: Sequence[str]) -> Iterator[tuple[str, VerifierKey]]:
    for line in lines:
        words = line.split()
        if words[0] != "log":
            _require_keyword(words)
        elif len(words) in (2, 3):
            key = VerifierKey.parse(words[1])
            yield key.name, key
        else:
            raise WitnessInvalid(f"{line[:80]!r}: write `log <vkey> [<url>]`")


def _from_list(lines: Sequence[str]) -> Iterator[tuple[str, VerifierKey]]:
    """Groups of vkey, [origin], qpd, contact, in this order; each origin once."""
    seen: set[str] = set()
    rest = list(lines)
    while rest:
        key = VerifierKey.parse(_value(rest, "vkey"))
        origin = _value(rest, "origin") if rest[:1] and rest[0].startswith("origin ") else key.name
        if not _RATE.fullmatch(_value(rest, "qpd")):
            raise WitnessInvalid(f"the qpd of {origin} is no number from 1 on")
        _value(rest, "contact")
        if origin in seen:
            raise WitnessInvalid(f"the origin {origin} is named twice")
        seen.add(origin)
        yield origin, key


def _value(rest: list[str], name: str) -> str:
    line = rest.pop(0) if rest else ""
    word, _, value = line.partition(" ")
    if word != name or not value:
        raise WitnessInvalid(f"{line[:80]!r} where a line `{name} ...` belongs")
    return value.strip(" \t")


def _require_keyword(words: Sequence[str]) -> None:
    if words[0] not in ("log", "witness", "group", "quorum"):
        raise WitnessInvalid(f"a line begins with {words[0][:20]!r}")


def _cosigner(vkey: str) -> VerifierKey:
    key = VerifierKey.parse(vkey)
    if key.type != COSIGNATURE_V1:
        raise WitnessInvalid(f"{key.name} has key type 0x{key.type:02x}: a witness cosigns with type 0x04")
    return key


def _prefix(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise WitnessInvalid(f"{url[:80]!r} is no address: write https://HOST[:PORT][/PATH]")
    return url.rstrip("/")
