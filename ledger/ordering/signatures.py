"""The signatures a replica judges, and those it makes.

Verdicts are reached once a replica, in batches, and remembered for a while.

A verdict is a pure function of (key, message, signature), so remembering it changes nothing but the time it takes:
ingress, the checks of a block and the contracts all ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger.log.checkpoint import (
    checkpoint_text,
    cosign_checkpoint,
    cosigner_key,
    log_key,
    render_note,
    sign_checkpoint,
)
from ledger.ordering.transactions import Triple
from ledger.store.cache.bounded import Remembered
from runtime.keys import PrivateKey, verify

REMEMBERED_MAX: Final = 32_768


class Verdicts:
    """A bounded memory of verdicts; may be used from several threads, which at worst forget one."""

    def __init__(self, remembered_max: int = REMEMBERED_MAX) -> None:
        self._known = Remembered[Triple, bool](remembered_max)

    def verify(self, public: str, message: bytes, signature: bytes) -> bool:
        """Does the signature fit? (The signature of `contracts.core.context.Verify`.)"""
        triple = (public, message, signature)
        found = self._known.get(triple)
        if found is None:
            found = verify(public, message, signature)
            self._known.put(triple, found)
        return found

    def ahead(self, triples: Sequence[Triple]) -> None:
        """Verify those not yet known, one after the other: on a thread of the caller's if it has others to serve.

        Not spread over the cores: the members of a consortium keep them busy, and handing over costs a tenth more."""
        for triple in triples:
            self.verify(*triple)


class CheckpointSigner:
    """Signs checkpoints with a member's two keys: 0x01 under the log's name, 0x04 under its own.

    The caller makes the note durable before anybody sees it, and never asks for two trees of one size."""

    def __init__(self, origin: str, log: PrivateKey, member: str, cosigner: PrivateKey) -> None:
        self.origin = origin
        self.member = member
        self._log = log
        self._cosigner = cosigner
        self._log_key = log_key(origin, _raw(log))
        self._cosigner_key = cosigner_key(member, _raw(cosigner))

    def note(self, size: int, root: bytes, time_s: int, *, cosigned: bool = True) -> bytes:
        """The signed checkpoint; `time_s` is the wall clock's. Not cosigned: a block this member cannot vouch for."""
        text = checkpoint_text(self.origin, size, root)
        lines = [sign_checkpoint(text, self._log_key, self._log.sign)]
        if cosigned:
            lines.append(cosign_checkpoint(text, self._cosigner_key, self._cosigner.sign, time_s))
        return render_note(text, lines)

    def sign_block(self, message: bytes) -> bytes:
        """The proposer's signature of a block header, by the key members know each other by."""
        return self._cosigner.sign(message)


def _raw(key: PrivateKey) -> bytes:
    return bytes.fromhex(key.public.partition(":")[2])
