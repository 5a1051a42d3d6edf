"""XML signatures of a VEN: its messages are signed, and only those that its VTN signed are believed.

A signer is the VTN if its certificate comes from the authorities the VEN was enrolled with and names the VTN's host,
or has the fingerprint the settings name.

    signature ── holds? ── signer the VTN? ── timestamp within the skew, both ways? ── nonce new? ──▶ the message
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from openadr.client.trust import VtnTrust
from openadr.errors import SignatureRefused
from openadr.v2 import Leniency, Message, Verified
from openadr.v2.document.safe import complete, parse_safely
from openadr.v2.document.signature import PrivateKey, is_signed, sign, verify_tree
from openadr.v2.parsing import read
from runtime.clock import Clock

SKEW_MS = 120_000
"""How far the VTN's clock may be from ours, either way."""
_SEEN_MAX = 10_000

Signer = Callable[[], tuple[PrivateKey, bytes]]
"""The key and the PEM certificate to sign with now: a renewed one is taken up with the next message."""


class Nonces(Protocol):
    """Which messages came already."""

    def admit(self, nonce: str, expires_ms: int, now_ms: int) -> bool:
        """True the first time a nonce comes. It is kept until `expires_ms`, when the time alone refuses the message
        (wall clock)."""


class RecentNonces:
    """Nonces in memory, at most 10,000 at a time: beyond that nothing more is believed until the oldest expire."""

    def __init__(self) -> None:
        self._expiries: dict[str, int] = {}

    def admit(self, nonce: str, expires_ms: int, now_ms: int) -> bool:
        if nonce in self._expiries:
            return False
        if len(self._expiries) >= _SEEN_MAX:
            self._expiries = {each: until_ms for each, until_ms in self._expiries.items() if until_ms > now_ms}
            if len(self._expiries) >= _SEEN_MAX:
                return False
        self._expiries[nonce] = expires_ms
        return True


class MessageSigning:
    """Signs as `signer` says and believes one VTN. `host` is the VTN's; `fingerprint` AA:BB:.. instead of
    authorities; `nonces` in memory by default."""

    def __init__(
        self,
        signer: Signer,
        clock: Clock,
        *,
        host: str,
        authorities: Path | None = None,
        fingerprint: str | None = None,
        nonces: Nonces | None = None,
        skew_ms: int = SKEW_MS,
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._trust = VtnTrust(host, authorities=authorities, fingerprint=fingerprint)
        self._nonces = RecentNonces() if nonces is None else nonces
        self._skew_ms = skew_ms
        self.heard: Callable[[int], None] | None = None
        """Hears of the time the VTN put on each message that is believed (wall clock)."""

    def seal(self, body: bytes) -> bytes:
        """The message with our signature."""
        key, certificate = self._signer()
        return sign(body, key, certificate, secrets.token_urlsafe(18), self._clock.wall_ms())

    def open(self, body: bytes, leniencies: list[Leniency], *, lenient: bool = True) -> Message:
        """The message, read from what the VTN's signature covers alone. Raises MessageError; SignatureRefused where
        the signature is missing, not the VTN's, from another time, or came before."""
        root = parse_safely(body)
        try:
            if not is_signed(root):
                raise SignatureRefused("the message is not signed, and this VEN believes signed ones alone")
            verified = verify_tree(root)
            self._check_signer(verified)
            self._check_fresh(verified)
        except SignatureRefused as error:
            raise complete(error, root) from None
        if self.heard is not None:
            self.heard(verified.timestamp_ms)
        return read(verified.root, lenient=lenient, leniencies=leniencies)

    def _check_signer(self, verified: Verified) -> None:
        if not self._trust.signer(verified.certificate_der):
            raise SignatureRefused(f"the message is signed by {verified.fingerprint}, which is not this VEN's VTN")

    def _check_fresh(self, verified: Verified) -> None:
        now_ms = self._clock.wall_ms()
        off_ms = verified.timestamp_ms - now_ms
        if abs(off_ms) > self._skew_ms:
            side = "ahead of" if off_ms > 0 else "behind"
            raise SignatureRefused(f"the signature's time is {abs(off_ms) // 1000} s {side} this VEN's clock")
        if not self._nonces.admit(verified.nonce, verified.timestamp_ms + self._skew_ms, now_ms):
            raise SignatureRefused("the message was received before")
