"""The tables of one replica. Every row carries its channel; bytes that are hashed are kept as bytea, as they are.

blocks ──┬── entries        leaf n of the log: header, signature and receipt hash of a transaction; block summaries
         ├── transactions   where a transaction is and what became of it; receipt
         │     └── bodies   salt and command: a table of their own, so that they can be erased
         │           └── erasures   which were erased on purpose
         ├── facts ── fact_parties      what happened, in order; and whom it concerns, in order for each party
         ├── tiles          hashes of the log (tlog-tiles), each row grows to 256 hashes
         └── checkpoints    signed sizes of the log
records        the state after the last block;   meta  genesis and policy;   refusals  never ordered, bounded
finality       the newest checkpoint with a quorum of cosignatures
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()


def _channel() -> Column[str]:
    return Column("channel", Text(collation="C"), primary_key=True)


meta = Table(
    "meta",
    metadata,
    _channel(),
    Column("genesis", LargeBinary, nullable=False, comment="canonical genesis; its digest is the previous of block 1"),
    Column("policy", LargeBinary, nullable=False, comment="tlog-policy: whom clients believe"),
)

blocks = Table(
    "blocks",
    metadata,
    _channel(),
    Column("height", BigInteger, primary_key=True, autoincrement=False),
    Column("header", LargeBinary, nullable=False, comment="canonical header as ordered"),
    Column("signature", LargeBinary, nullable=False, comment="the proposer's, over the header"),
    Column("order_revision", BigInteger, nullable=False, comment="the orderer's number of this block"),
    Column("time_ms", BigInteger, nullable=False, comment="block time (domain clock)"),
    Column("tx_count", Integer, nullable=False),
    Column("first_index", BigInteger, nullable=False, comment="leaf of the block's first entry"),
    Column("size", BigInteger, nullable=False, comment="leaves of the log after the block"),
    Column("state_root", LargeBinary, nullable=False),
    Column("summary_hash", LargeBinary, nullable=False, comment="SHA-256 of the last entry"),
)

entries = Table(
    "entries",
    metadata,
    _channel(),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False, comment="canonical entry, the leaf's bytes"),
)

transactions = Table(
    "transactions",
    metadata,
    _channel(),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("height", BigInteger, nullable=False),
    Column("id", Text(collation="C"), nullable=False),
    Column("sender", Text(collation="C"), nullable=False),
    Column("nonce", Text(collation="C"), nullable=False),
    Column("contract", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("code", Text, nullable=False, comment="ok, or why it was refused"),
    Column("registered", Boolean, nullable=False, comment="its id is taken: authentic, and not a duplicate"),
    Column("receipt", LargeBinary, nullable=False, comment="canonical receipt; its hash is in the entry"),
    Column("content_hash", LargeBinary, nullable=False, comment="SHA-256 of the transaction's canonical bytes"),
    Index("transactions_id", "channel", "id", unique=True, postgresql_where=text("registered")),
    Index(
        "transactions_nonce",
        "channel",
        "sender",
        "nonce",
        unique=True,
        postgresql_where=text("registered AND code <> 'nonce_reused'"),
    ),
)

bodies = Table(
    "bodies",
    metadata,
    _channel(),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="canonical command; with the salt it gives the commitment"),
)

erasures = Table(
    "erasures",
    metadata,
    _channel(),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("erased_ms", BigInteger, nullable=False, comment="wall clock"),
)

facts = Table(
    "facts",
    metadata,
    _channel(),
    Column("height", BigInteger, primary_key=True, autoincrement=False),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("transaction_id", Text(collation="C"), nullable=True, comment="null: a deadline, not a transaction"),
    Column("subject", Text(collation="C"), nullable=True, comment="contract or need"),
    Column("parties", ARRAY(Text), nullable=False),
    Column("body", LargeBinary, nullable=False, comment="canonical fact"),
    Index("facts_subject", "channel", "subject", "height", "log_index", "ordinal"),
)

fact_parties = Table(
    "fact_parties",
    metadata,
    _channel(),
    Column("party", Text(collation="C"), primary_key=True),
    Column("height", BigInteger, primary_key=True, autoincrement=False),
    Column("log_index", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
)

records = Table(
    "records",
    metadata,
    _channel(),
    Column("kind", Text(collation="C"), primary_key=True),
    Column("key", Text(collation="C"), primary_key=True),
    Column("height", BigInteger, nullable=False, comment="block that wrote it last; 0 is the genesis"),
    Column("body", LargeBinary, nullable=False, comment="canonical record"),
    Column("bucket", Integer, nullable=False, comment="first 16 bits of key_hash"),
    Column("key_hash", LargeBinary, nullable=False),
    Column("value_hash", LargeBinary, nullable=False),
)

tiles = Table(
    "tiles",
    metadata,
    _channel(),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False, comment="up to 256 hashes of 32 bytes"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _channel(),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("height", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="signed note, made durable before anybody sees it"),
)

finality = Table(
    "finality",
    metadata,
    _channel(),
    Column("size", BigInteger, nullable=False),
    Column("height", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="newest checkpoint that a quorum of members cosigned"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("channel", Text(collation="C"), nullable=False),
    Column("received_ms", BigInteger, nullable=False, comment="wall clock"),
    Column("transaction_id", Text, nullable=True),
    Column("sender", Text, nullable=True),
    Column("command", Text, nullable=True),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

#: view -> kind of record it shows
VIEWS: Final = {
    "parties": "party",
    "accounts": "account",
    "transfers": "transfer",
    "dr_requests": "need",
    "contracts": "contract",
    "measurements": "measurement",
}
