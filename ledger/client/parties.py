"""Party ids: pseudonyms that follow from the public key, the same for everybody who knows it."""

from __future__ import annotations

from typing import Final

from contracts.core.parties import Role
from runtime.keys import fingerprint

PREFIXES: Final[dict[Role, str]] = {
    Role.UTILITY: "utl",
    Role.AGGREGATOR: "agg",
    Role.VIRTUAL_NODE: "vn",
    Role.DEVICE: "dev",
    Role.AUDITOR: "aud",
}


def party_id(role: Role, public: str) -> str:
    """`<prefix of the role>-<first 16 hex digits of the SHA-256 of the public key's text>`."""
    return f"{PREFIXES[role]}-{fingerprint(public)}"
