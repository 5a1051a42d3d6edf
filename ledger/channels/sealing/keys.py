"""The keys of a restricted channel: one for each epoch of its membership, wrapped for each member by HPKE.

    channel key (32 random bytes, one an epoch) ── HPKE to each member's cosigning key ──▶ channel-keys.json
              └── HKDF ──▶ encryption key, nonce key          (ledger.channels.sealing)

The file holds no secret in clear: it may travel as it is, and whoever is not named in it learns nothing but who is.
When members change, a new epoch begins at the height at which the change takes effect: who left cannot open what comes
after; who joined is given the earlier keys too, for it replays the channel from its first block.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519
from nacl.exceptions import CryptoError

from contracts.core.codec import decode, encode
from contracts.core.errors import CodecError
from contracts.core.units import Count, Id, MemberName, NoteKey
from ledger.channels.errors import ChannelKeyInvalid, ChannelKeyMissing
from runtime.keys import PrivateKey

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
FILE_BYTES_MAX: Final = 4 << 20
_INFO: Final = b"gridpact/channel-key/v1\0"

KeyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]


class Wrapped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An epoch's key for one member, known by its cosigning key."""

    member: MemberName
    key: NoteKey
    wrapped: str


class Epoch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The key with which blocks from `from_height` on are sealed; key_id: first bytes of its SHA-256."""

    from_height: Count
    key_id: KeyId
    wrapped: tuple[Wrapped, ...]


class KeyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept in the file, epochs by height."""

    format: Literal["gridpact/channel-keys/v1"]
    channel: Id
    epochs: tuple[Epoch, ...]

    def at(self, height: int) -> Epoch:
        """The epoch of a block to be sealed."""
        return [epoch for epoch in self.epochs if epoch.from_height <= height][-1]


class ChannelKeys:
    """The keys of one channel as one member holds them; `key` is that member's cosigning key."""

    def __init__(self, file: KeyFile, key: PrivateKey) -> None:
        heights = [epoch.from_height for epoch in file.epochs]
        if not heights or heights != sorted(set(heights)) or heights[0] > 1:
            raise ChannelKeyInvalid(f"the keys of channel {file.channel} do not cover its heights, each by one epoch")
        self.file = file
        self._key = key
        self._opened: dict[str, bytes] = {}
        self._path: Path | None = None
        self._stamp = 0

    @classmethod
    def create(cls, channel: str, members: Mapping[str, str], key: PrivateKey) -> ChannelKeys:
        """The first epoch. members: name -> cosigning key as text. Raises ChannelKeyInvalid."""
        return cls(
            KeyFile(
                format="gridpact/channel-keys/v1",
                channel=channel,
                epochs=(_epoch(channel, 0, members, secrets.token_bytes(KEY_BYTES)),),
            ),
            key,
        )

    @classmethod
    def load(cls, path: Path, channel: str, key: PrivateKey) -> ChannelKeys:
        """The file's keys; what it gains later is found by `refresh`. Raises ChannelKeyMissing if there is no file,
        ChannelKeyInvalid if it cannot be used."""
        try:
            stamp = path.stat().st_mtime_ns
            file = decode(path.read_bytes(), KeyFile, bytes_max=FILE_BYTES_MAX)
        except FileNotFoundError:
            raise ChannelKeyMissing(
                f"channel {channel} is restricted and {path} is not there: take the file from another member"
            ) from None
        except (CodecError, OSError) as error:
            raise ChannelKeyInvalid(f"the channel keys {path} cannot be used: {error}") from None
        if file.channel != channel:
            raise ChannelKeyInvalid(f"{path} holds the keys of channel {file.channel}, not of {channel}")
        loaded = cls(file, key)
        loaded._path, loaded._stamp = path, stamp
        return loaded

    def refresh(self) -> bool:
        """Reads the file again if it was replaced (then True): a further epoch needs no restart. Raises
        ChannelKeyInvalid where it takes back what was there."""
        if self._path is None or not self._path.exists() or self._path.stat().st_mtime_ns == self._stamp:
            return False
        newer = ChannelKeys.load(self._path, self.file.channel, self._key)
        known = [(epoch.from_height, epoch.key_id) for epoch in self.file.epochs]
        if [(epoch.from_height, epoch.key_id) for epoch in newer.file.epochs][: len(known)] != known:
            raise ChannelKeyInvalid(f"{self._path} does not continue the keys of channel {self.file.channel}")
        self.file, self._stamp = newer.file, newer._stamp
        return True

    def save(self, path: Path) -> None:
        """Replaces the file at once."""
        partial = path.with_suffix(".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(encode(self.file))
        partial.replace(path)

    def rotated(self, from_height: int, members: Mapping[str, str]) -> ChannelKeys:
        """With a further epoch for exactly these members; those that are new get the earlier keys too. Raises
        ChannelKeyInvalid, ChannelKeyMissing."""
        last = self.file.epochs[-1]
        if from_height <= last.from_height:
            raise ChannelKeyInvalid(f"an epoch begins at {last.from_height} already: the next one begins later")
        channel = self.file.channel
        earlier = []
        for epoch in self.file.epochs:
            known = {each.key for each in epoch.wrapped}
            added = {name: key for name, key in members.items() if key not in known}
            secret = self.secret(epoch) if added else b""
            more = tuple(_wrap(channel, name, key, secret) for name, key in sorted(added.items()))
            earlier.append(msgspec.structs.replace(epoch, wrapped=(*epoch.wrapped, *more)))
        new = _epoch(channel, from_height, members, secrets.token_bytes(KEY_BYTES))
        return ChannelKeys(msgspec.structs.replace(self.file, epochs=(*earlier, new)), self._key)

    def members(self) -> dict[str, str]:
        """Name -> cosigning key of those who have the newest key."""
        return {each.member: each.key for each in self.file.epochs[-1].wrapped}

    def at(self, height: int) -> Epoch:
        """The epoch of a block to be sealed."""
        return self.file.at(height)

    def by_id(self, key_id: str) -> Epoch:
        """The epoch of a sealed block. Raises ChannelKeyMissing."""
        for epoch in self.file.epochs:
            if epoch.key_id == key_id:
                return epoch
        raise ChannelKeyMissing(
            f"channel {self.file.channel} is sealed with the key {key_id}, which the file of channel keys does not "
            "hold: take the newest file from another member, or, where this one was removed from the channel, run "
            f"`dr-ledger channels leave {self.file.channel}` and start it again"
        )

    def secret(self, epoch: Epoch) -> bytes:
        """The epoch's key. Raises ChannelKeyMissing where it was not wrapped for this member, ChannelKeyInvalid."""
        opened = self._opened.get(epoch.key_id)
        if opened is None:
            opened = self._opened[epoch.key_id] = self._unwrap(epoch)
        return opened

    def _unwrap(self, epoch: Epoch) -> bytes:
        channel = self.file.channel
        mine = [each for each in epoch.wrapped if each.key == self._key.public]
        if not mine:
            raise ChannelKeyMissing(
                f"the key {epoch.key_id} of channel {channel} is not for this member: one that holds it runs "
                "`dr-ledger channels key` with this member among the new ones"
            )
        private = X25519PrivateKey.from_private_bytes(self._key.agreement_secret())
        try:
            opened = _suite().decrypt(bytes.fromhex(mine[0].wrapped), private, info=_info(channel))
        except (InvalidTag, ValueError):
            raise ChannelKeyInvalid(f"the key {epoch.key_id} of channel {channel} does not open: damaged") from None
        if key_id(opened) != epoch.key_id or len(opened) != KEY_BYTES:
            raise ChannelKeyInvalid(f"the key {epoch.key_id} of channel {channel} is another one than it says")
        return opened


def key_id(secret: bytes) -> str:
    """What a sealed block names its key by."""
    return sha256(b"gridpact/channel-key-id/v1\0" + secret).digest()[:KEY_ID_BYTES].hex()


def _epoch(channel: str, from_height: int, members: Mapping[str, str], secret: bytes) -> Epoch:
    if not members:
        raise ChannelKeyInvalid(f"channel {channel} would have no members")
    wrapped = tuple(_wrap(channel, name, members[name], secret) for name in sorted(members))
    return Epoch(from_height=from_height, key_id=key_id(secret), wrapped=wrapped)


def _wrap(channel: str, name: str, key: str, secret: bytes) -> Wrapped:
    try:
        raw = crypto_sign_ed25519_pk_to_curve25519(bytes.fromhex(key.removeprefix("ed25519:")))
        sealed = _suite().encrypt(secret, X25519PublicKey.from_public_bytes(raw), info=_info(channel))
    except (ValueError, CryptoError, RuntimeError) as error:
        raise ChannelKeyInvalid(f"the cosigning key of {name} cannot be encrypted to: {error}") from None
    return Wrapped(member=name, key=key, wrapped=sealed.hex())


def _info(channel: str) -> bytes:
    return _INFO + channel.encode()


def _suite() -> Suite:
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
