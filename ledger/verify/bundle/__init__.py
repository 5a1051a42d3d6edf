"""A bundle: one file with everything that proves what happened to a contract, or in a period, to somebody else.

    python -m ledger.verify BUNDLE --policy policy.txt

It is a ZIP that any program opens, in one canonical form, so that no byte of it can change unnoticed.
"""

from .container import read_container, write_container
from .manifest import (
    BLOCK_PATH,
    CHECKPOINT_PATH,
    FACT_PATH,
    FORMAT,
    MANIFEST_PATH,
    POLICY_PATH,
    README_PATH,
    README_TEXT,
    Manifest,
    Scope,
)
from .reading import ProvedFact, VerifiedBundle, verify_bundle

__all__ = [
    "BLOCK_PATH",
    "CHECKPOINT_PATH",
    "FACT_PATH",
    "FORMAT",
    "MANIFEST_PATH",
    "POLICY_PATH",
    "README_PATH",
    "README_TEXT",
    "Manifest",
    "ProvedFact",
    "Scope",
    "VerifiedBundle",
    "read_container",
    "verify_bundle",
    "write_container",
]
