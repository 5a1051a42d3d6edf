"""Errors of the contracts.

    ContractError
    ├── CodecError      bytes that are not one canonical value
    └── Refusal         a rule said no; carries a code of `CODES`, leaves no trace in the state

A refusal is part of the log (its code is in the receipt), so codes are stable names: add, never rename.
"""

from typing import Final

CODES: Final[dict[str, str]] = {
    "account_exists": "an account with this id is already open",
    "amount_invalid": "an amount must be a positive integer of minor units",
    "anchor_inconsistent": "the checkpoint does not continue the one anchored before",
    "anchor_stale": "a checkpoint of this size or a larger one is anchored already",
    "anchor_unknown": "no checkpoint of this size is anchored",
    "approvals_missing": "not enough members signed the change",
    "bad_signature": "the signature does not fit the sender's key",
    "baseline_invalid": "the baseline commitment does not fit the contract's intervals or preset",
    "body_invalid": "the body is not the canonical form of this command",
    "bridge_spent": "this proof was used before",
    "change_pending": "another change of the members has not taken effect yet",
    "channel_exists": "a channel with this name is already known",
    "channel_invalid": "the channel's name, origin, members or quorum do not fit each other",
    "channel_unanchored": "no checkpoint of the channel's members is anchored yet",
    "channel_unknown": "no such channel is known here, or the bridge does not lead that way",
    "children_open": "a contract below this one has not ended",
    "commitment_mismatch": "salt and body do not give the commitment of the header",
    "contract_exists": "a contract with this id already exists",
    "contract_unknown": "no contract has this id",
    "deadline_passed": "the deadline for this step has passed",
    "depth_exceeded": "contracts called each other too deep",
    "device_engaged": "the device is under contract in this time already",
    "duplicate": "this transaction was executed before; the first result stands",
    "escrow_exceeded": "more than the escrow holds was asked for",
    "funds_insufficient": "the account does not hold enough free funds",
    "illegal_transition": "the contract's state does not allow this step",
    "interval_invalid": "the intervals are empty, misaligned or outside the parent's time frame",
    "issue_elsewhere": "money enters on the parent channel; here it comes over the bridge",
    "key_in_use": "this key already belongs to a party",
    "limit_exceeded": "a limit on size or number was exceeded",
    "measurement_conflict": "another value was recorded for this interval",
    "measurement_future": "the interval has not ended yet",
    "need_closed": "the need is closed",
    "need_exists": "a need with this id already exists",
    "need_unknown": "no need has this id",
    "member_exists": "a member of this name is or was there already",
    "member_unknown": "no member has this name at this height",
    "members_too_few": "those who stay could not make anything final",
    "nonce_reused": "this sender used the nonce for another transaction",
    "not_equivocation": "the two checkpoints do not contradict each other",
    "not_party": "the sender is not the party that may do this",
    "offer_invalid": "the signed offer is missing, expired, or does not cover these terms",
    "out_of_range": "a number is outside the range a record can hold",
    "party_exists": "a party with this id already exists",
    "party_revoked": "the party was revoked",
    "party_unknown": "no party has this id",
    "price_invalid": "the price is above what the contract above pays",
    "proof_invalid": "the proof does not lead to what it must",
    "proof_of_possession": "the new key did not sign its own enrolment",
    "quorum_not_met": "not enough members of the channel cosigned the checkpoint",
    "role_not_allowed": "the sender's role may not issue this command",
    "same_key": "both sides of the contract hold the same key",
    "same_party": "both sides are the same party",
    "terms_mismatch": "the accepted terms are not those of the contract",
    "too_early": "the step may only be taken later",
    "transfer_exists": "a transfer with this id already exists",
    "transfer_resolved": "the pending transfer was already posted or voided",
    "transfer_unknown": "no transfer has this id",
    "transaction_expired": "the block's time is after the header's not_after_ms",
    "command_unknown": "no contract has this command",
    "verifier_key_invalid": "a verifier key is missing, damaged, or of another name or type",
    "wrong_channel": "the header names another channel",
}


class ContractError(Exception):
    """Root of what this package raises."""


class CodecError(ContractError):
    """The bytes are not the canonical form of one value; the message says where they differ."""


class Refusal(ContractError):
    """A rule refused a command. `code` is a key of `CODES`; `detail` is for logs only and never stored."""

    def __init__(self, code: str, detail: str = "") -> None:
        if code not in CODES:
            raise KeyError(code)
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail or CODES[code]}")
