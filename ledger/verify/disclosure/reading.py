"""Checking a disclosure with main's policy file alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import canonical
from ..errors import VerificationError
from ..note import Checkpoint, decode_base64, encode_base64
from ..opening import Verified, verify_leaf, verify_proof
from ..policy import Attestation
from .writing import ANCHOR_FACT, FORMAT

MAX_BYTES = 16 << 20
MAX_ITEMS = 4096
MAX_PATH = 63

_MEMBERS = {"format", "anchor", "origin", "items"}
_ITEM = {"index", "path", "opening"}


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What a disclosure proves. anchor: the proved transaction on main that anchored the channel at `size` leaves,
    which was block `height` of the channel at `time_ms`; items: what was shown, each proved under that."""

    channel: str
    origin: str
    size: int
    height: int
    time_ms: int
    anchor: Verified
    items: tuple[Verified, ...]

    @property
    def members(self) -> tuple[str, ...]:
        """Who cosigned main's checkpoint, by the policy's names, sorted."""
        return self.anchor.members


def verify_disclosure(
    disclosure: bytes, policy: bytes, *, strict: bool = True, sender_keys: Mapping[str, str] | None = None
) -> Disclosed:
    """Check a disclosure with nothing but main's policy file. `sender_keys`: party -> public key, for those whose
    signatures are to be checked too.

    Raises VerificationError as `verify_proof`, and disclosure_malformed, anchor_mismatch (the file's first proof is
    of no anchored checkpoint, or of another channel's)."""
    value = _read(disclosure)
    anchor = verify_proof(value["anchor"]["proof"], policy, value["anchor"]["opening"], strict=strict)
    fact, receipt = anchor.fact, anchor.receipt
    if not isinstance(fact, dict) or fact.get("fact") != ANCHOR_FACT or receipt is None or receipt["code"] != "ok":
        raise VerificationError("anchor_mismatch", f"the first proof shows no {ANCHOR_FACT}")
    origin = value["origin"]
    numbers = [fact.get(name) for name in ("size", "height", "time_ms")]
    if not isinstance(fact.get("channel"), str) or any(type(number) is not int for number in numbers):
        raise VerificationError("anchor_mismatch", "the anchored checkpoint has not the form of one")
    if origin != fact.get("origin") or fact["channel"] == anchor.channel:
        raise VerificationError("anchor_mismatch", f"{fact.get('origin')!r} is anchored, {origin!r} is disclosed")
    attestation = _anchored(origin, fact)
    items = []
    for index, path, opening in value["items"]:
        sender = _sender(opening)
        key = (sender_keys or {}).get(sender) if sender is not None else None
        items.append(verify_leaf(attestation, index, path, opening, sender_key=key))
    return Disclosed(fact["channel"], origin, fact["size"], fact["height"], fact["time_ms"], anchor, tuple(items))


def _read(data: bytes) -> dict[str, Any]:
    try:
        value = canonical.decode_object(data, MAX_BYTES)
    except VerificationError as error:
        raise VerificationError("disclosure_malformed", error.message) from error
    anchor, items = value.get("anchor"), value.get("items")
    if value.keys() != _MEMBERS or value["format"] != FORMAT or not isinstance(value["origin"], str):
        raise _malformed(f"not a {FORMAT} file")
    if not isinstance(anchor, dict) or anchor.keys() != {"proof", "opening"} or not isinstance(anchor["proof"], str):
        raise _malformed("the anchor is a proof and its opening")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_ITEMS:
        raise _malformed(f"at least one and at most {MAX_ITEMS} entries are shown")
    read = [_item(item) for item in items]
    if [index for index, _, _ in read] != sorted(index for index, _, _ in read):
        raise _malformed("the entries are not in order")
    try:
        proof = decode_base64(anchor["proof"])
    except VerificationError as error:
        raise _malformed("the anchor's proof is not base64") from error
    return {**value, "anchor": {"proof": proof, "opening": canonical.encode(anchor["opening"])}, "items": read}


def _item(item: Any) -> tuple[int, list[bytes], bytes]:
    if not isinstance(item, dict) or item.keys() != _ITEM or type(item["index"]) is not int:
        raise _malformed("an entry has exactly index, path and opening")
    path = item["path"]
    if not isinstance(path, list) or len(path) > MAX_PATH or not all(isinstance(each, str) for each in path):
        raise _malformed(f"a path has at most {MAX_PATH} hashes")
    try:
        hashes = [bytes.fromhex(each) for each in path]
    except ValueError as error:
        raise _malformed("a path is hexadecimal") from error
    if [each.hex() for each in hashes] != path or any(len(each) != 32 for each in hashes):
        raise _malformed("a hash has 32 bytes in lower-case hexadecimal")
    return item["index"], hashes, canonical.encode(item["opening"])


def _anchored(origin: str, fact: Mapping[str, Any]) -> Attestation:
    try:
        root = bytes.fromhex(fact["root"])
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError("anchor_mismatch", "the anchored root is no hash") from error
    if root.hex() != fact["root"] or len(root) != 32:
        raise VerificationError("anchor_mismatch", "the anchored root is no hash")
    text = f"{origin}\n{fact['size']}\n{encode_base64(root)}\n"
    return Attestation(Checkpoint(origin, fact["size"], root, (), text, ()), {})


def _sender(opening: bytes) -> str | None:
    value = canonical.decode_object(opening)
    entry = value.get("entry")
    header = entry.get("header") if isinstance(entry, dict) else None
    sender = header.get("sender") if isinstance(header, dict) else None
    return sender if isinstance(sender, str) else None


def _malformed(message: str) -> VerificationError:
    return VerificationError("disclosure_malformed", message)
