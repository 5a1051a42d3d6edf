"""The light client: checks what the ledger says, offline, from a proof file, a policy file and an opening file.

Importable alone: the standard library, PyNaCl (Ed25519) and, for P-256 senders only, cryptography. No network, no
database, no other package of ours. ledger/log/DESIGN.md describes every format for verifiers in other languages.
"""

from .errors import VerificationError
from .merkle import verify_consistency, verify_inclusion
from .opening import Record, Verified, verify_proof
from .policy import Attestation, Policy, parse_policy, verify_checkpoint
from .state import StateProof, verify_record

__all__ = [
    "Attestation",
    "Policy",
    "Record",
    "StateProof",
    "VerificationError",
    "Verified",
    "parse_policy",
    "verify_checkpoint",
    "verify_consistency",
    "verify_inclusion",
    "verify_proof",
    "verify_record",
]
