"""tlog-policy: which logs are believed, and which witnesses must have cosigned (c2sp.org/tlog-policy).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

Canonical form, required in strict mode and emitted by our writer: no comments, URLs, empty lines or tabs, single
spaces, thresholds as numbers, logs then witnesses then groups then the quorum line. The quorum is a group whose name
ends in a digest: `<label>-<d>`, d = first 16 hex digits of SHA-256 of the same file with `<label>` in place of
`<label>-<d>`. So one changed byte anywhere in the file is noticed, and every tlog-policy reader still reads it.
`quorum none` is canonical only without witnesses and groups (the key ids then cover the log lines).

A key of type ML_DSA_44 is read and never counts, so a quorum that can be met without it is met, and no other. Our own
policies name none: it is not canonical.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from hashlib import sha256

from .errors import VerificationError
from .note import COSIGNATURE_V1, ED25519, ML_DSA_44, Checkpoint, VerifierKey, parse_checkpoint

MAX_POLICY_BYTES = 1 << 20
NO_QUORUM = "none"

_DIGEST_NAME = re.compile(r"(.+)-([0-9a-f]{16})", re.ASCII | re.DOTALL)
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_THRESHOLD = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attestation:
    """A checkpoint the policy accepts; `cosigned_at_s`: POSIX seconds by local name of the cosigning witness."""

    checkpoint: Checkpoint
    cosigned_at_s: Mapping[str, int]


def verify_checkpoint(data: bytes, policy: Policy, *, strict: bool = False) -> Attestation:
    """Check a checkpoint note: every signature by a key of the policy, a log named as the origin, the quorum.

    Lines by keys the policy does not name are ignored, as the signed-note text demands, unless `strict`. Raises
    VerificationError(note_malformed, signature_invalid, signature_unknown, log_signature_missing, quorum_not_met).
    """
    checkpoint = parse_checkpoint(data)
    logs = {(key.name, key.key_id): key for key in policy.logs if key.readable}
    witnesses = {(key.name, key.key_id): (name, key) for name, key in policy.witnesses if key.readable}
    log_signed, cosigned_at_s, seen = False, dict[str, int](), set[tuple[str, bytes]]()
    for line in checkpoint.signatures:
        identity = (line.name, line.key_id)
        if strict and (identity in seen or (identity not in logs and identity not in witnesses)):
            raise VerificationError("signature_unknown", f"a signature by {line.name} the policy does not ask for")
        seen.add(identity)
        if identity in logs:
            logs[identity].verify(checkpoint.text, line.signature)
            log_signed = log_signed or line.name == checkpoint.origin
        elif identity in witnesses:
            name, key = witnesses[identity]
            seconds = key.verify(checkpoint.text, line.signature)
            cosigned_at_s[name] = max(seconds or 0, cosigned_at_s.get(name, 0))
    if not log_signed:
        raise VerificationError("log_signature_missing", f"no log of the policy named {checkpoint.origin!r} signed")
    if not policy.quorum_met(cosigned_at_s.keys()):
        raise VerificationError(
            "quorum_not_met", f"the {len(cosigned_at_s)} cosignatures do not make {policy.quorum!r}"
        )
    return Attestation(checkpoint, cosigned_at_s)


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of `members` (names of witnesses or earlier groups) have witnessed."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """`witnesses` maps the policy's local name to a cosigner key; `quorum` is a local name or "none"."""

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[tuple[str, VerifierKey], ...]
    groups: tuple[Group, ...]
    quorum: str

    def quorum_met(self, cosigned: Set[str]) -> bool:
        """True if cosignatures by the witnesses with these local names satisfy the quorum."""
        if self.quorum == NO_QUORUM:
            return True
        witnessed = set(cosigned)
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def render(self) -> bytes:
        """The file, without URLs and comments. Canonical if `sealed`."""
        lines = [f"log {key.encode()}" for key in self.logs]
        lines += [f"witness {name} {key.encode()}" for name, key in self.witnesses]
        lines += [f"group {group.name} {group.threshold} {' '.join(group.members)}" for group in self.groups]
        lines.append(f"quorum {self.quorum}")
        return "".join(line + "\n" for line in lines).encode(errors="surrogateescape")

    def sealed(self) -> Policy:
        """The same policy with the digest of the file appended to the name of its quorum group."""
        digest = sha256(self.render()).hexdigest()[:16]
        return self._rename_quorum(f"{self.quorum}-{digest}")

    def require_canonical(self, data: bytes) -> None:
        """Raises VerificationError(policy_not_canonical) unless `data` is this policy in canonical form."""
        if self.render() != data:
            raise VerificationError("policy_not_canonical", "comments, URLs, white space or order are not canonical")
        if not all(key.readable for key in (*self.logs, *(key for _, key in self.witnesses))):
            raise VerificationError("policy_not_canonical", "a key has a type that is not checked here")
        if self.quorum == NO_QUORUM:
            if self.witnesses or self.groups:
                raise VerificationError("policy_not_canonical", "witnesses are named, and none is required")
            return
        match = _DIGEST_NAME.fullmatch(self.quorum)
        if match is None or self.quorum not in {group.name for group in self.groups}:
            raise VerificationError("policy_not_canonical", "the quorum is no group whose name ends in a digest")
        if self._rename_quorum(match[1]).sealed() != self:
            raise VerificationError("policy_not_canonical", "the digest in the quorum's name is not that of the file")

    def _rename_quorum(self, name: str) -> Policy:
        groups = tuple(replace(group, name=name) if group.name == self.quorum else group for group in self.groups)
        return replace(self, groups=groups, quorum=name)


def parse_policy(data: bytes, *, strict: bool = False) -> Policy:
    """Read a policy file. Raises VerificationError(policy_malformed, and policy_not_canonical if `strict`)."""
    if len(data) > MAX_POLICY_BYTES or _FORBIDDEN.search(data) or (data and not data.endswith(b"\n")):
        raise VerificationError("policy_malformed", "too long, a control character, or no newline at the end")
    reader = _Reader()
    for line in data.decode(errors="surrogateescape").split("\n"):
        words = [word for word in re.split("[ \t]+", line) if word]
        if words and not words[0].startswith("#"):
            reader.read(words)
    policy = reader.policy()
    if strict:
        policy.require_canonical(data)
    return policy


class _Reader:
    """Collects the lines of one policy file."""

    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: dict[str, VerifierKey] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: str | None = None

    def read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._logs.append(_key(vkey, ED25519))
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._require_new(name)
                self._witnesses[name] = _key(vkey, COSIGNATURE_V1)
            case ["group", name, threshold, *members] if members:
                self._read_group(name, threshold, members)
            case ["quorum", name] if self._quorum is None:
                if name != NO_QUORUM:
                    self._require_defined(name)
                self._quorum = name
            case _:
                raise VerificationError("policy_malformed", f"a {words[0][:20]!r} line that is unknown or misplaced")

    def policy(self) -> Policy:
        if self._quorum is None:
            raise VerificationError("policy_malformed", "no quorum line")
        for keys in (self._logs, list(self._witnesses.values())):
            if len({key.public for key in keys}) != len(keys):
                raise VerificationError("policy_malformed", "a key is listed twice")
        every = [*self._logs, *self._witnesses.values()]
        if len({(key.name, key.key_id) for key in every}) != len(every):
            raise VerificationError("policy_malformed", "two keys share a name and a key id")
        return Policy(tuple(self._logs), tuple(self._witnesses.items()), tuple(self._groups.values()), self._quorum)

    def _read_group(self, name: str, threshold: str, members: list[str]) -> None:
        self._require_new(name)
        for member in members:
            self._require_defined(member)
            if member in self._members:
                raise VerificationError("policy_malformed", f"{member!r} is a member of a group twice")
            self._members.add(member)
        named = {"any": "1", "all": str(len(members))}.get(threshold, threshold)
        if not _THRESHOLD.fullmatch(named) or int(named) > len(members):
            raise VerificationError("policy_malformed", f"the threshold of group {name!r} is not in 1..{len(members)}")
        self._groups[name] = Group(name, int(named), tuple(members))

    def _require_new(self, name: str) -> None:
        if name == NO_QUORUM or name in self._witnesses or name in self._groups:
            raise VerificationError("policy_malformed", f"the name {name!r} is taken")

    def _require_defined(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise VerificationError("policy_malformed", f"the name {name!r} is not defined above")


def _key(vkey: str, type_: int) -> VerifierKey:
    try:
        key = VerifierKey.parse(vkey, unreadable=True)
    except VerificationError as error:
        raise VerificationError("policy_malformed", error.message) from error
    if key.type not in (type_, ML_DSA_44):
        raise VerificationError("policy_malformed", f"{key.name} has key type 0x{key.type:02x}, not 0x{type_:02x}")
    return key
