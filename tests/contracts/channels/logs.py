"""What members of a channel sign and show: verifier keys, checkpoints, logs, proofs; by the toy signatures of world."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.channels.registry import ChannelRecord
from contracts.consortium.membership import validator_set
from contracts.core import commands as c
from contracts.core import proofs
from contracts.core.codec import encode
from contracts.core.envelope import Header, Transaction
from contracts.core.facts import Fact
from ledger.log import merkle
from ledger.log.entry import block_entry, fact_part, receipt, transaction_entry
from ledger.log.tiles import TileId
from ledger.verify.merkle import leaf_hash
from tests.contracts.world import key_of, sign

A_STATEMENT = c.Statement(size=1, root="0" * 64, time_s=0, signature="0" * 128)


def vkey(name: str, kind: int, public: str) -> str:
    """The verifier key of `ed25519:<hex>` under a name."""
    raw = bytes((kind,)) + bytes.fromhex(public.partition(":")[2])
    key_id = hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8]
    return f"{name}+{key_id}+{proofs.base64_text(raw)}"


def a_member(name: str, origin: str = "test/main", **given: Any) -> c.Member:
    """A member whose keys follow from its name."""
    defaults: dict[str, Any] = {
        "log_vkey": vkey(origin, 1, key_of(f"log {name}")),
        "cosigner_vkey": vkey(name, 4, key_of(name)),
        "peer_url": f"https://{name}.example",
    }
    return c.Member(name=name, **{**defaults, **given})


def channel_members(*names: str) -> tuple[c.ChannelMember, ...]:
    return tuple(c.ChannelMember(name=name, key=key_of(name)) for name in names)


def a_cosignature(
    name: str, origin: str, size: int, root: str, time_s: int = 1_767_225_600, signed_by: str | None = None
) -> c.Cosignature:
    signature = sign(key_of(signed_by or name), proofs.cosigned_bytes(origin, size, root, time_s))
    return c.Cosignature(member=name, time_s=time_s, signature=signature.hex())


class Log:
    """A channel's log: each transaction of `world.World` as a block of its own, or several before `seal`."""

    def __init__(self, channel: str, origin: str, members: Sequence[str]) -> None:
        self.channel = channel
        self.origin = origin
        self.members = list(members)
        self.height = 0
        self.time_ms = 0
        self.leaves: list[bytes] = []
        self.tiles: dict[TileId, bytes] = {}
        self.sizes: list[int] = []
        self._pending: list[bytes] = []
        self._places: dict[str, dict[str, Any]] = {}

    @property
    def size(self) -> int:
        return self.sizes[-1] if self.sizes else 0

    def record(self, transaction: Transaction, identity: str, code: str, facts: Sequence[Fact]) -> None:
        """One executed transaction, in the block at hand."""
        bodies, salt = [encode(fact) for fact in facts], bytes.fromhex(transaction.salt)
        result = receipt(code, bodies, salt, bytes(32))
        entry = transaction_entry(
            msgspec.to_builtins(transaction.header),
            bytes.fromhex(transaction.signature),
            hashlib.sha256(result).digest(),
        )
        self._places[identity] = {
            "index": len(self.leaves) + len(self._pending),
            "header": transaction.header,
            "signature": transaction.signature,
            "receipt": msgspec.json.decode(result, type=proofs.Receipt),
            "facts": bodies,
            "salt": salt,
        }
        self._pending.append(entry)

    def seal(self, time_ms: int) -> int:
        """Ends the block with its summary; the new size."""
        self.height, self.time_ms = self.height + 1, time_ms
        named = [(name, key_of(name)) for name in self.members]
        summary = block_entry(
            channel=self.channel, height=self.height, previous=bytes(32), time_ms=time_ms,
            tx_count=len(self._pending), first_index=len(self.leaves), state_root=bytes(32), receipts_root=bytes(32),
            contracts_root=bytes(32), validator_set=validator_set(named), order_revision=0,
        )  # fmt: skip
        self.leaves += [*self._pending, summary]
        self._pending = []
        self.tiles = dict(merkle.append(0, [leaf_hash(leaf) for leaf in self.leaves], {}).tiles)
        self.sizes.append(len(self.leaves))
        return self.size

    def root(self, size: int) -> str:
        return merkle.append(0, [leaf_hash(leaf) for leaf in self.leaves[:size]], {}).root.hex()

    def path(self, index: int, size: int) -> tuple[str, ...]:
        return tuple(item.hex() for item in merkle.inclusion_proof(index, size, self._tiles_at(size)))

    def prefix_path(self, old: int, new: int) -> tuple[str, ...]:
        """The path of contracts.core.proofs.prefix_roots."""
        hashes = [item.hex() for item in merkle.consistency_proof(old, new, self._tiles_at(new))]
        return tuple([self.root(old), *hashes] if old & (old - 1) == 0 else hashes)

    def anchor(self, known: ChannelRecord | None, signers: Sequence[str], **given: Any) -> c.AnchorCheckpoint:
        """The newest checkpoint cosigned by `signers`, after what `known` has anchored."""
        size = self.size
        root = self.root(size)
        before = known.size if known is not None else 0
        defaults: dict[str, Any] = {
            "channel": self.channel,
            "size": size,
            "root": root,
            "cosignatures": tuple(a_cosignature(name, self.origin, size, root) for name in signers),
            "summary": msgspec.json.decode(self.leaves[size - 1], type=proofs.BlockSummary),
            "summary_path": self.path(size - 1, size),
            "consistency": self.prefix_path(before, size) if 0 < before < size else (),
            "members": (),
        }
        return c.AnchorCheckpoint(**{**defaults, **given})

    def proof(self, identity: str, fact: str, size: int) -> proofs.FactProof:
        """The first fact of this name that a transaction produced, under the checkpoint of `size` leaves."""
        place = self._places[identity]
        names = [msgspec.json.decode(body)["fact"] for body in place["facts"]]
        part = fact_part(place["facts"], place["salt"], names.index(fact))
        return proofs.FactProof(
            size=size,
            index=place["index"],
            path=self.path(place["index"], size),
            header=place["header"],
            signature=place["signature"],
            receipt=place["receipt"],
            fact_index=part["index"],
            fact_salt=part["salt"],
            fact_path=tuple(part["path"]),
            fact=part["body"],
        )

    def _tiles_at(self, size: int) -> dict[TileId, bytes]:
        return dict(merkle.append(0, [leaf_hash(leaf) for leaf in self.leaves[:size]], {}).tiles)


def an_anchor() -> c.AnchorCheckpoint:
    """The first checkpoint of a channel nobody knows."""
    log = Log("vn-1", "test/vn-1", ["m1"])
    log.seal(1)
    return log.anchor(None, ["m1"])


def a_fact_proof() -> proofs.FactProof:
    """A proof of no fact that matters."""
    header = Header(
        channel="vn-1", contract="bridge", command="BridgeBurn", sender="d0", nonce="n", not_after_ms=0,
        commitment="0" * 64,
    )  # fmt: skip
    return proofs.FactProof(
        size=1, index=0, path=(), header=header, signature="0" * 128,
        receipt=proofs.Receipt(code="ok", facts=1, facts_root="0" * 64, writes="0" * 64),
        fact_index=0, fact_salt="0" * 64, fact_path=(), fact="{}",
    )  # fmt: skip
