"""Checks a bundle: container, list of files, policy, checkpoint, then every proof against that one checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import canonical
from ..errors import VerificationError
from ..opening import Verified, verify_proof
from ..policy import parse_policy, verify_checkpoint
from ..proof import parse_proof
from .container import read_container
from .manifest import (
    BLOCK_PATH,
    CHECKPOINT_PATH,
    FACT_PATH,
    MANIFEST_PATH,
    OPENING_ENDING,
    POLICY_PATH,
    PROOF_ENDING,
    README_PATH,
    README_TEXT,
    Manifest,
    Scope,
    parse_manifest,
    require_files,
)

_SUBJECTS = ("contract_id", "need_id", "channel")
_PARTIES = ("party", "sponsor", "utility", "aggregator", "payer", "payee", "device")
_ACCOUNTS = ("debit", "credit")


@dataclass(frozen=True, slots=True)
class ProvedFact:
    """A fact with its proved place: log index, block height, block time (domain clock), sender of the transaction
    (None: a deadline that fell due)."""

    index: int
    ordinal: int
    height: int
    time_ms: int
    sender: str | None
    fact: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """What a bundle proves. `cosigned_by`: members whose cosignatures count, by the policy's names, sorted."""

    origin: str
    size: int
    cosigned_by: tuple[str, ...]
    scope: Scope
    facts: tuple[ProvedFact, ...]


def verify_bundle(bundle: bytes, policy: bytes) -> VerifiedBundle:
    """Raises VerificationError; the message names the file. Codes besides those of `verify_proof`:

    container_malformed    not the canonical container
    manifest_malformed     the manifest is none
    bundle_altered         a file is missing, unlisted, or not the one that is listed
    policy_differs         the bundle was made under another policy than the reader's
    scope_mismatch         a fact that does not belong to the contract, party or period the bundle is about
    """
    files = read_container(bundle)
    if MANIFEST_PATH not in files:
        raise VerificationError("bundle_altered", f"there is no {MANIFEST_PATH}")
    manifest = parse_manifest(files[MANIFEST_PATH])
    require_files(manifest, files)
    if files[README_PATH] != README_TEXT.encode():
        raise VerificationError("bundle_altered", f"{README_PATH} is not the text that belongs there")
    if files[POLICY_PATH] != policy:
        raise VerificationError("policy_differs", f"{POLICY_PATH} in the bundle is not the policy that was given")
    with _named(CHECKPOINT_PATH):
        attestation = verify_checkpoint(files[CHECKPOINT_PATH], parse_policy(policy, strict=True), strict=True)
    if attestation.checkpoint.origin != manifest.origin:
        raise VerificationError("bundle_altered", f"{MANIFEST_PATH} names another log than {CHECKPOINT_PATH}")
    blocks = {height: _block(files, policy, height) for height in manifest.heights}
    facts = tuple(_fact(files, policy, manifest, place, blocks[place[2]]) for place in manifest.facts)
    cosigned_by = tuple(sorted(attestation.cosigned_at_s))
    return VerifiedBundle(manifest.origin, attestation.checkpoint.size, cosigned_by, manifest.scope, facts)


def _block(files: Mapping[str, bytes], policy: bytes, height: int) -> Verified:
    stem = BLOCK_PATH.format(height=height)
    verified = _verified(files, policy, stem)
    if verified.entry["kind"] != "block" or verified.entry["height"] != height or verified.record is not None:
        raise VerificationError("bundle_altered", f"{stem} is not the summary of block {height}")
    return verified


def _fact(
    files: Mapping[str, bytes], policy: bytes, manifest: Manifest, place: tuple[int, int, int], block: Verified
) -> ProvedFact:
    index, ordinal, height = place
    stem = FACT_PATH.format(index=index, ordinal=ordinal)
    verified = _verified(files, policy, stem)
    if verified.index != index or not isinstance(verified.fact, dict) or verified.body is not None:
        raise VerificationError("bundle_altered", f"{stem} does not show the fact that is listed")
    if not block.entry["first_index"] <= index < block.index:
        raise VerificationError("bundle_altered", f"{stem} is not in block {height}")
    _require_ordinal(files, stem, ordinal)
    fact, time_ms = verified.fact, int(block.entry["time_ms"])
    _require_scope(manifest.scope, fact, time_ms, stem)
    sender = verified.entry["header"]["sender"] if verified.entry["kind"] == "transaction" else None
    return ProvedFact(index, ordinal, height, time_ms, sender, fact)


def _require_ordinal(files: Mapping[str, bytes], stem: str, ordinal: int) -> None:
    opened = canonical.decode_object(files[stem + OPENING_ENDING])
    if opened["fact"]["index"] != ordinal:
        raise VerificationError("bundle_altered", f"{stem} opens another fact of its entry")


def _require_scope(scope: Scope, fact: Mapping[str, Any], time_ms: int, stem: str) -> None:
    if scope.contract is not None and scope.contract != next((fact[n] for n in _SUBJECTS if fact.get(n)), None):
        raise VerificationError("scope_mismatch", f"{stem} is not about {scope.contract}")
    if scope.from_ms is not None and scope.to_ms is not None and not scope.from_ms <= time_ms < scope.to_ms:
        raise VerificationError("scope_mismatch", f"{stem} is not of the period")
    if scope.party is not None:
        named = {fact.get(name) for name in _PARTIES} | {
            str(fact.get(name)).removeprefix("party/") for name in _ACCOUNTS if name in fact
        }
        if scope.party not in named:
            raise VerificationError("scope_mismatch", f"{stem} does not concern {scope.party}")


def _verified(files: Mapping[str, bytes], policy: bytes, stem: str) -> Verified:
    with _named(stem):
        proof, opening = files[stem + PROOF_ENDING], files[stem + OPENING_ENDING]
        if parse_proof(proof).checkpoint != files[CHECKPOINT_PATH]:
            raise VerificationError("bundle_altered", "it leads to another checkpoint than the bundle's")
        return verify_proof(proof, policy, opening, strict=True)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except VerificationError as error:
        raise VerificationError(error.code, f"{name}: {error.message}") from error
