"""The light client: checks what the ledger says, offline, from a proof file, a policy file and an opening file.

Importable alone: the standard library, PyNaCl (Ed25519) and, for P-256 senders only, cryptography. No network, no
database, no other package of ours. ledger/log/DESIGN.md describes every format for verifiers in other languages;
verify.mjs beside this file is the same verifier for browsers, with the same names (in camel case) and error codes.
"""

from .disclosure import Disclosed, verify_disclosure
from .errors import VerificationError
from .evidence import Equivocation, Extension, verify_equivocation, verify_extension
from .merkle import verify_consistency, verify_inclusion
from .opening import Balance, Payment, Record, Verified, verify_balance, verify_payment, verify_proof
from .policy import Attestation, Policy, parse_policy, verify_checkpoint
from .state import StateProof, verify_record

__all__ = [
    "Attestation",
    "Balance",
    "Disclosed",
    "Equivocation",
    "Extension",
    "Payment",
    "Policy",
    "Record",
    "StateProof",
    "VerificationError",
    "Verified",
    "parse_policy",
    "verify_balance",
    "verify_checkpoint",
    "verify_consistency",
    "verify_disclosure",
    "verify_equivocation",
    "verify_extension",
    "verify_inclusion",
    "verify_payment",
    "verify_proof",
    "verify_record",
]
