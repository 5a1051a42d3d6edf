"""What is in a bundle: names of the files, the text for people, and the manifest that lists everything.

README.txt                          the text below
manifest.json                       canonical JSON: format, origin, scope, facts, blocks, files {name: SHA-256}
policy.txt                          the policy the bundle was made under; the reader's own one is what counts
checkpoint                          one signed checkpoint; every proof of the bundle leads to it
facts/<index>-<ordinal>.tlog-proof  and .opening.json: a fact, with the entry that holds it
blocks/<height>.tlog-proof          and .opening.json: the summary of the fact's block, which gives it its time
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from .. import canonical
from ..errors import VerificationError

FORMAT = "gridpact/bundle/v1"
README_PATH = "README.txt"
MANIFEST_PATH = "manifest.json"
POLICY_PATH = "policy.txt"
CHECKPOINT_PATH = "checkpoint"
FACT_PATH = "facts/{index}-{ordinal}"
BLOCK_PATH = "blocks/{height}"
PROOF_ENDING, OPENING_ENDING = ".tlog-proof", ".opening.json"

README_TEXT = """\
Evidence from a Gridpact ledger
===============================

This file proves that a ledger recorded what it lists: which facts, in which block, at what time, cosigned by whom.
It proves nothing about what it leaves out, and it shows only the facts it lists.

To check it you need Python, PyNaCl and the folder ledger/verify of Gridpact, no network and no ledger:

    python -m ledger.verify THIS_FILE --policy policy.txt

Take policy.txt from somebody you believe, not from this file: it says whose signatures count. The copy in here shows
under which policy the bundle was made; it must be the same.

    manifest.json   what is here, with the SHA-256 of each file
    checkpoint      the signed state of the log; all proofs lead to it (c2sp.org/tlog-checkpoint)
    facts/          for each fact a proof (c2sp.org/tlog-proof) and the opening: the log entry and the fact in clear
    blocks/         the same for the summary of each block: height and time

Altering one byte makes the check fail and name what was altered.
"""

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for: the facts of a contract or need, or of the period from_ms <= block time < to_ms; `party`:
    only those that concern it."""

    contract: str | None
    from_ms: int | None
    to_ms: int | None
    party: str | None

    def to_json(self) -> dict[str, Any]:
        return {"contract": self.contract, "from_ms": self.from_ms, "to_ms": self.to_ms, "party": self.party}


@dataclass(frozen=True, slots=True)
class Manifest:
    """`facts`: (log index, ordinal in the entry, height) in order; `files`: hex SHA-256 of each but the manifest."""

    origin: str
    scope: Scope
    facts: tuple[tuple[int, int, int], ...]
    files: Mapping[str, str]

    @property
    def heights(self) -> tuple[int, ...]:
        """The blocks that hold facts, in order."""
        return tuple(sorted({height for _, _, height in self.facts}))

    def encode(self) -> bytes:
        """Canonical JSON."""
        listed = [{"index": index, "ordinal": ordinal, "height": height} for index, ordinal, height in self.facts]
        # names of files are no canonical object keys: a list of pairs
        files = [{"name": name, "sha256": hashed} for name, hashed in self.files.items()]
        return canonical.encode(
            {"format": FORMAT, "origin": self.origin, "scope": self.scope.to_json(), "facts": listed, "files": files}
        )

    def expected(self) -> list[str]:
        """The names a bundle with these facts has, in order."""
        stems = [FACT_PATH.format(index=index, ordinal=ordinal) for index, ordinal, _ in self.facts]
        stems += [BLOCK_PATH.format(height=height) for height in self.heights]
        pairs = [stem + ending for stem in stems for ending in (PROOF_ENDING, OPENING_ENDING)]
        return [README_PATH, MANIFEST_PATH, POLICY_PATH, CHECKPOINT_PATH, *pairs]


def parse_manifest(data: bytes) -> Manifest:
    """Raises VerificationError(manifest_malformed)."""
    try:
        value = canonical.decode_object(data, max_bytes=32 << 20)
        if value.keys() != {"format", "origin", "scope", "facts", "files"} or value["format"] != FORMAT:
            raise _malformed(f"it is none of the format {FORMAT}")
        facts = tuple((_number(each, "index"), _number(each, "ordinal"), _number(each, "height"))
                      for each in _objects(value["facts"], {"index", "ordinal", "height"}))  # fmt: skip
        files = {each["name"]: each["sha256"] for each in _objects(value["files"], {"name", "sha256"})}
        scope = _scope(value["scope"])
    except VerificationError as error:
        raise _malformed(error.message) from error
    if not isinstance(value["origin"], str) or not all(
        isinstance(name, str) and isinstance(hashed, str) and _HASH.fullmatch(hashed) for name, hashed in files.items()
    ):
        raise _malformed("the origin or a SHA-256 has the wrong form")
    if not facts or list(facts) != sorted(set(facts)):
        raise _malformed("it lists no facts, or not in order")
    manifest = Manifest(value["origin"], scope, facts, files)
    if manifest.encode() != data or [MANIFEST_PATH, *files] != [
        MANIFEST_PATH, *(name for name in manifest.expected() if name != MANIFEST_PATH)
    ]:  # fmt: skip
        raise _malformed("it does not list the files that its facts need, in order")
    return manifest


def require_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises VerificationError(bundle_altered) unless the container holds exactly the listed files."""
    if list(files) != manifest.expected():
        raise VerificationError("bundle_altered", "the container does not hold exactly the files that are listed")
    for name, hashed in manifest.files.items():
        if sha256(files[name]).hexdigest() != hashed:
            raise VerificationError("bundle_altered", f"{name} is not the file that {MANIFEST_PATH} lists")


def _scope(value: Any) -> Scope:
    if not isinstance(value, dict) or value.keys() != {"contract", "from_ms", "to_ms", "party"}:
        raise _malformed("the scope has not exactly its four members")
    for name in ("contract", "party"):
        if value[name] is not None and not (isinstance(value[name], str) and _ID.fullmatch(value[name])):
            raise _malformed(f"the {name} of the scope is no id")
    for name in ("from_ms", "to_ms"):
        if value[name] is not None and type(value[name]) is not int:
            raise _malformed(f"{name} of the scope is no integer")
    scope = Scope(**value)
    if (scope.contract is None) == (scope.from_ms is None) or (scope.from_ms is None) != (scope.to_ms is None):
        raise _malformed("the scope is neither a contract nor a period")
    return scope


def _objects(value: Any, members: set[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) and each.keys() == members for each in value):
        raise _malformed(f"a list of objects with {', '.join(sorted(members))} belongs here")
    return value


def _number(value: Mapping[str, Any], name: str) -> int:
    if type(value[name]) is not int or value[name] < 0:
        raise _malformed(f"{name} is no number from 0 on")
    return int(value[name])


def _malformed(message: str) -> VerificationError:
    return VerificationError("manifest_malformed", message)
