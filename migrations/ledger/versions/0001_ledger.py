"""The ledger's log, state, facts and checkpoints, with a view for each kind of record people ask for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_VIEWS = {
    "parties": ("party", "party text, role text, key text, sponsor text, area text, status text"),
    "accounts": (
        "account",
        "debits_pending bigint, debits_posted bigint, credits_pending bigint, credits_posted bigint",
    ),
    "transfers": ("transfer", "debit text, credit text, amount_minor bigint, posted_minor bigint, state text"),
    "dr_requests": (
        "need",
        "request jsonb, utility text, open_contracts integer, delivered_wh bigint, closed boolean",
    ),
    "contracts": (
        "contract",
        "contract_id text, level text, parent text, payer text, payee text, status text, accepted_wh bigint, "
        "terms jsonb, terms_digest text",
    ),
    "measurements": ("measurement", "interval_s integer, energy_wh bigint"),
}


def upgrade() -> None:
    _log()
    _results()
    _state()
    for name, (kind, columns) in _VIEWS.items():
        op.execute(_view(name, kind, columns))


def downgrade() -> None:
    for name in _VIEWS:
        op.execute(f"DROP VIEW {name}")
    for table in (
        "refusals", "records", "fact_parties", "facts", "bodies", "transactions", "checkpoints", "tiles", "entries",
        "blocks", "meta",
    ):  # fmt: skip
        op.drop_table(table)


def _log() -> None:
    op.create_table(
        "meta",
        _channel(),
        sa.Column(
            "genesis",
            sa.LargeBinary(),
            nullable=False,
            comment="canonical genesis; its digest is the previous of block 1",
        ),
        sa.Column("policy", sa.LargeBinary(), nullable=False, comment="tlog-policy: whom clients believe"),
        sa.PrimaryKeyConstraint("channel"),
    )
    op.create_table(
        "blocks",
        _channel(),
        sa.Column("height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False, comment="canonical header as ordered"),
        sa.Column("signature", sa.LargeBinary(), nullable=False, comment="the proposer's, over the header"),
        sa.Column("order_revision", sa.BigInteger(), nullable=False, comment="the orderer's number of this block"),
        sa.Column("time_ms", sa.BigInteger(), nullable=False, comment="block time (domain clock)"),
        sa.Column("tx_count", sa.Integer(), nullable=False),
        sa.Column("first_index", sa.BigInteger(), nullable=False, comment="leaf of the block's first entry"),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="leaves of the log after the block"),
        sa.Column("state_root", sa.LargeBinary(), nullable=False),
        sa.Column("summary_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the last entry"),
        sa.PrimaryKeyConstraint("channel", "height"),
    )
    op.create_table(
        "entries",
        _channel(),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="canonical entry, the leaf's bytes"),
        sa.PrimaryKeyConstraint("channel", "log_index"),
    )
    op.create_table(
        "tiles",
        _channel(),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="up to 256 hashes of 32 bytes"),
        sa.PrimaryKeyConstraint("channel", "level", "number"),
    )
    op.create_table(
        "checkpoints",
        _channel(),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False, comment="signed note, made durable before anybody sees it"),
        sa.PrimaryKeyConstraint("channel", "size"),
    )


def _results() -> None:
    op.create_table(
        "transactions",
        _channel(),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("sender", sa.Text(collation="C"), nullable=False),
        sa.Column("nonce", sa.Text(collation="C"), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False, comment="ok, or why it was refused"),
        sa.Column(
            "registered", sa.Boolean(), nullable=False, comment="its id is taken: authentic, and not a duplicate"
        ),
        sa.Column("receipt", sa.LargeBinary(), nullable=False, comment="canonical receipt; its hash is in the entry"),
        sa.Column(
            "content_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the transaction's canonical bytes"
        ),
        sa.PrimaryKeyConstraint("channel", "log_index"),
    )
    op.create_index(
        "transactions_id", "transactions", ["channel", "id"], unique=True, postgresql_where=sa.text("registered")
    )
    op.create_index(
        "transactions_nonce",
        "transactions",
        ["channel", "sender", "nonce"],
        unique=True,
        postgresql_where=sa.text("registered AND code <> 'nonce_reused'"),
    )
    op.create_table(
        "bodies",
        _channel(),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column(
            "body", sa.LargeBinary(), nullable=False, comment="canonical command; with the salt it gives the commitment"
        ),
        sa.PrimaryKeyConstraint("channel", "log_index"),
    )
    op.create_table(
        "facts",
        _channel(),
        *_position(),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "transaction_id", sa.Text(collation="C"), nullable=True, comment="null: a deadline, not a transaction"
        ),
        sa.Column("subject", sa.Text(collation="C"), nullable=True, comment="contract or need"),
        sa.Column("parties", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="canonical fact"),
        sa.PrimaryKeyConstraint("channel", "height", "log_index", "ordinal"),
    )
    op.create_index("facts_subject", "facts", ["channel", "subject", "height", "log_index", "ordinal"])
    op.create_table(
        "fact_parties",
        _channel(),
        sa.Column("party", sa.Text(collation="C"), nullable=False),
        *_position(),
        sa.PrimaryKeyConstraint("channel", "party", "height", "log_index", "ordinal"),
    )


def _state() -> None:
    op.create_table(
        "records",
        _channel(),
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False, comment="block that wrote it last; 0 is the genesis"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="canonical record"),
        sa.Column("bucket", sa.Integer(), nullable=False, comment="first 16 bits of key_hash"),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("value_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "kind", "key"),
    )
    op.create_index("records_bucket", "records", ["channel", "bucket"])
    op.create_table(
        "refusals",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("channel", sa.Text(collation="C"), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("command", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )


def _view(name: str, kind: str, columns: str) -> str:
    """The records of one kind, opened; `key` of a party is its public key, so the record's own is `record_key`."""
    names = ", ".join(f"opened.{column.split()[0]}" for column in columns.split(", "))
    return (  # the names are the constants above
        f"CREATE VIEW {name} AS SELECT channel, records.key AS record_key, height, {names} FROM records, "  # noqa: S608
        f"jsonb_to_record(convert_from(body, 'UTF8')::jsonb) AS opened({columns}) WHERE kind = '{kind}'"
    )


def _channel() -> sa.Column[str]:
    return sa.Column("channel", sa.Text(collation="C"), nullable=False)


def _position() -> tuple[sa.Column[int], sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("height", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
    )
