"""Signatures that only a crafting signer makes, on which Ed25519 libraries disagree (RFC 8032 arithmetic)."""

from __future__ import annotations

from hashlib import sha512

from ledger.log.checkpoint import checkpoint_text, render_note
from ledger.verify.note import ED25519, NoteSignature, VerifierKey
from tests.ledger.log.sample import ORIGIN

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SECRET, NONCE = 1234567890123456789, 9876543210987654321

Point = tuple[int, int]


def crafted() -> dict[str, tuple[bytes, bytes]]:
    """(note, policy) by what is wrong with them; `sound` is not."""
    low = torsion()
    key, shifted = times(BASE, SECRET), add(times(BASE, SECRET), low)
    return {
        "sound": sign(key, times(BASE, NONCE), NONCE),
        "nonce of mixed order": sign(key, add(times(BASE, NONCE), low), NONCE),
        "key of mixed order": sign(shifted, times(BASE, NONCE), NONCE),
        "nonce of small order": sign(key, (0, 1), 0),
        "nonce not reduced": sign(key, (0, 1), 0, nonce_bytes=(P + 1).to_bytes(32, "little")),
        "scalar not reduced": sign(key, times(BASE, NONCE), NONCE, more=L),
        "key of small order": sign(low, times(BASE, NONCE), NONCE, secret=0),
        "key of order one": sign((0, 1), times(BASE, NONCE), NONCE, secret=0),
        "key not reduced": sign((0, 1), times(BASE, NONCE), NONCE, secret=0, key_bytes=(P + 1).to_bytes(32, "little")),
        "key off the curve": sign(key, times(BASE, NONCE), NONCE, key_bytes=off_curve()),
    }


def sign(
    key: Point,
    nonce_point: Point,
    nonce: int,
    *,
    secret: int = SECRET,
    more: int = 0,
    key_bytes: bytes | None = None,
    nonce_bytes: bytes | None = None,
) -> tuple[bytes, bytes]:
    """A checkpoint note whose line holds under the equation, and the policy with its key. The size of the log is
    searched so that a torsion component of the key does not vanish under the challenge."""
    public, r = key_bytes or encode(key), nonce_bytes or encode(nonce_point)
    for size in range(1, 100):
        text = checkpoint_text(ORIGIN, size, bytes(32))
        challenge = int.from_bytes(sha512(r + public + text.encode()).digest(), "little") % L
        if challenge % 8:
            break
    scalar = (nonce + challenge * secret) % L + more
    vkey = VerifierKey(ORIGIN, ED25519, public)
    line = NoteSignature(ORIGIN, vkey.key_id, r + scalar.to_bytes(32, "little"))
    return render_note(text, [line]), f"log {vkey.encode()}\nquorum none\n".encode()


def torsion() -> Point:
    """A point of order 8."""
    for y in range(2, 100):
        x = root(y)
        if x is not None and times(times((x, y), L), 4) != (0, 1):
            return times((x, y), L)
    raise AssertionError("no such point")


def off_curve() -> bytes:
    return next(y for y in range(2, 100) if root(y) is None).to_bytes(32, "little")


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(point: Point, scalar: int) -> Point:
    total = (0, 1)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def root(y: int) -> int | None:
    """The even x of the point with this y, None where there is none."""
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * pow(2, (P - 1) // 4, P) % P
    if v * x * x % P != u:
        return None
    return P - x if x & 1 else x


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE: Point = (root(4 * pow(5, -1, P) % P) or 0, 4 * pow(5, -1, P) % P)
