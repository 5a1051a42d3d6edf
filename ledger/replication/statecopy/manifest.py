"""The state manifest: what a member's own tables say of one height, signed by it.

    {"channel", "genesis", "height", "size", "root", "summary", "state_root", "tables": {name: digest}}

`summary` is the hash of the block's last entry, which chains all before it; `root` that of the log's tree; `state_root`
covers every record; the digests cover each row of the tables that grow (ledger.replication.statecopy.rows), also what
no hash of the log covers: which ids are taken. Signed over "gridpact/manifest/v1\\0" || canonical JSON with the
member's cosigning key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

from contracts.consortium import MemberRecord, quorum
from ledger.verify import canonical
from runtime.keys import PrivateKey, verify

CONTEXT: Final = b"gridpact/manifest/v1\0"

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Text = Annotated[str, msgspec.Meta(max_length=256)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hashes are hex; genesis: digest of the canonical genesis."""

    channel: Text
    genesis: Text
    height: Count
    size: Count
    root: Text
    summary: Text
    state_root: Text
    tables: dict[Text, Text]

    def signed_bytes(self) -> bytes:
        """What a member signs."""
        return CONTEXT + canonical.encode(msgspec.to_builtins(self))


class SignedManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One member's. signature: hex."""

    manifest: Manifest
    member: Text
    signature: Text


def sign(manifest: Manifest, member: str, key: PrivateKey) -> SignedManifest:
    """By the member's cosigning key."""
    return SignedManifest(manifest=manifest, member=member, signature=key.sign(manifest.signed_bytes()).hex())


def signers(
    manifest: Manifest, given: Mapping[str, SignedManifest], members: Sequence[MemberRecord]
) -> tuple[str, ...]:
    """Those of the members that signed exactly this manifest, where they are a quorum of them; else nobody."""
    found = []
    for member in members:
        signed = given.get(member.name)
        if signed is None or signed.manifest != manifest:
            continue
        try:
            signature = bytes.fromhex(signed.signature)
        except ValueError:
            continue
        if verify(member.key, manifest.signed_bytes(), signature):
            found.append(member.name)
    return tuple(found) if members and len(found) >= quorum(len(members)) else ()


def differences(manifest: Manifest, other: Manifest) -> str:
    """In what another member's manifest of the same height differs."""
    mine, theirs = msgspec.to_builtins(manifest), msgspec.to_builtins(other)
    names = [name for name in mine if name != "tables" and mine[name] != theirs[name]]
    tables = mine["tables"].keys() | theirs["tables"].keys()
    names += sorted(f"table {name}" for name in tables if mine["tables"].get(name) != theirs["tables"].get(name))
    return ", ".join(names)
