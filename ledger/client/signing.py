"""Signed reads of a restricted channel: who asks proves by a key that it is of the channel.

    Gridpact-Key: ed25519:...     public key of a party, or the cosigning key of a member
    Gridpact-Time: 1790000000000  wall time in ms; the replica takes it for a minute before and after
    Gridpact-Signature: hex       of "gridpact/read/v1" 0x00 method 0x00 channel 0x00 path with query 0x00 time

The path begins with /v1/channels/, whatever stands before it at a proxy, and is signed as it is sent.
"""

from __future__ import annotations

import time
from typing import Final

from yarl import URL

from runtime.keys import PrivateKey

KEY_HEADER: Final = "Gridpact-Key"
TIME_HEADER: Final = "Gridpact-Time"
SIGNATURE_HEADER: Final = "Gridpact-Signature"
READ_HEADERS: Final = (KEY_HEADER, TIME_HEADER, SIGNATURE_HEADER)
CHANNEL_RESTRICTED: Final = "channel-restricted"
"""Type of the problem by which a replica asks for a signature."""

WINDOW_MS: Final = 60_000
_CONTEXT: Final = "gridpact/read/v1"
_BELOW: Final = "/v1/channels/"


def read_bytes(method: str, channel: str, target: str, time_ms: int) -> bytes:
    """What is signed; `target`: path with query from /v1/channels/ on, percent-encoded."""
    return "\0".join((_CONTEXT, method, channel, target, str(time_ms))).encode()


def signed_headers(key: PrivateKey, method: str, channel: str, url: URL) -> dict[str, str]:
    """Headers of a read of `url`, signed now."""
    time_ms = time.time_ns() // 1_000_000
    target = url.raw_path_qs
    message = read_bytes(method, channel, target[target.rindex(_BELOW, 0, len(url.raw_path)) :], time_ms)
    return {KEY_HEADER: key.public, TIME_HEADER: str(time_ms), SIGNATURE_HEADER: key.sign(message).hex()}
