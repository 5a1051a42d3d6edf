"""Founding a ledger, joining one, and loading what was founded: separate acts.

`found` and `create_member` refuse if anything exists. `load` checks that the files fit each other before anything is
served.
"""

from __future__ import annotations

from pathlib import Path

import contracts
from contracts.core.codec import digest
from ledger.founding.consortium import (
    consortium,
    create_member,
    found_consortium,
    join,
    policy_of,
    read_member,
)
from ledger.founding.folder import Founded, load
from ledger.founding.single import found

__all__ = [
    "Founded",
    "consortium",
    "contracts_root",
    "create_member",
    "found",
    "found_consortium",
    "join",
    "load",
    "policy_of",
    "read_member",
]


def contracts_root() -> str:
    """SHA-256 that names the contracts this program executes: over each module's path and source, in path order."""
    folder = Path(contracts.__file__).parent
    sources = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    return digest([[name, digest(path.read_bytes())] for name, path in sources])
