"""The one exception of the light client."""

from __future__ import annotations


class VerificationError(Exception):
    """Something given to the verifier is malformed or does not prove what it claims.

    `code` is a stable word for programs, `message` a sentence for people. Codes:

    not_canonical           JSON that is not in the one canonical form
    merkle_proof            an inclusion or consistency proof that does not lead to the root
    note_malformed          bytes that are no signed note, checkpoint or verifier key
    signature_invalid       a signature line by a known key that does not verify
    signature_unknown       (strict) a signature line by a key the policy does not name, or a second one by the same key
    log_signature_missing   no valid signature by a log of the policy whose name is the checkpoint's origin
    quorum_not_met          the valid cosignatures do not satisfy the policy's quorum
    policy_malformed        bytes that are no tlog-policy
    policy_not_canonical    (strict) a policy not in the form our writer emits, or whose digest does not fit
    proof_malformed         bytes that are no tlog-proof
    bundle_malformed        bytes that are no entry bundle of a tiled log
    proof_extra             (strict) an `extra` line that is not the opening itself
    opening_malformed       an opening with wrong, missing or unknown members
    channel_mismatch        entry, header and log origin name different channels
    sender_signature        the transaction is not signed by its sender
    receipt_mismatch        the receipt is not the one the entry commits to
    fact_mismatch           the fact is not in the receipt's fact tree
    commitment_mismatch     the transaction body is not the one its header commits to
    state_mismatch          the record (or its absence) is not what the state root commits to
    payment_mismatch        the fact is no completed contract, or its figures do not add up
    balance_mismatch        the record is no account
    extension_malformed     bytes that are no consistency proof in the form witnesses take
    extension_mismatch      the two checkpoints are of different logs or sizes than the consistency proof
    evidence_malformed      bytes that are no evidence of equivocation
    evidence_key_unknown    the accused key is none of the policy
    evidence_mismatch       the two checkpoints do not contradict each other
    disclosure_malformed    bytes that are no disclosure of another channel
    anchor_mismatch         the disclosure's first proof is of no anchored checkpoint, or of another channel's
    container_malformed     bytes that are no export bundle
    manifest_malformed      a bundle whose manifest cannot be read
    bundle_altered          a file of a bundle is missing, added or not the one its manifest names
    policy_differs          the policy inside a bundle is not the reader's own
    scope_mismatch          a bundle does not hold what its manifest says it is about
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
