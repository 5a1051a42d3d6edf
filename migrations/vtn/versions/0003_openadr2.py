"""OpenADR 2.0b in full: pushed messages, events withdrawn from one VEN, reports of every kind in both directions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _messages()
    _reports()
    _source_requests()
    op.add_column(
        "event_deliveries",
        sa.Column(
            "withdrawn",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="cancelled for this VEN alone",
        ),
    )
    op.alter_column(
        "event_deliveries",
        "state",
        existing_comment="queued, delivered, opted_in, opted_out",
        comment="queued, delivered, acknowledged, opted_in, opted_out",
    )
    op.alter_column(
        "report_requests",
        "status",
        existing_comment="requested, running, cancelled",
        comment="requested, running, completed, refused, cancelled",
    )
    op.alter_column("report_requests", "report_back_s", comment="0: one report only (rule 324)")
    op.add_column(
        "report_requests",
        sa.Column(
            "duration_s",
            sa.Integer(),
            nullable=True,
            comment="length of the period that is wanted; null or 0: no end",
        ),
    )


def _messages() -> None:
    op.add_column(
        "messages",
        sa.Column(
            "failures", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="pushes in a row that failed"
        ),
    )
    op.add_column(
        "messages",
        sa.Column(
            "not_before_ms",
            sa.BigInteger(),
            nullable=True,
            comment="not pushed before: somebody is at it, or it failed",
        ),
    )
    op.add_column(
        "messages",
        sa.Column("last_error", sa.Text(), nullable=True, comment="what went wrong with the last push"),
    )


def _reports() -> None:
    op.create_table(
        "measurements",
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False),
        sa.Column("r_id", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False, comment="0: a value at a moment"),
        sa.Column("value", sa.Text(), nullable=False, comment="decimal string in the unit the VEN described"),
        sa.Column("quality", sa.Text(), nullable=False, comment="ok, estimated, bad, missing"),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "r_id", "start_ms"),
    )
    op.create_table(
        "resource_states",
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False),
        sa.Column("r_id", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("manual_override", sa.Boolean(), nullable=False),
        sa.Column("load_control", sa.LargeBinary(), nullable=True, comment="LoadControlState as JSON"),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "r_id", "start_ms"),
    )
    op.create_table(
        "green_button_feeds",
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False),
        sa.Column("feed_digest", sa.Text(), nullable=False, comment="SHA-256 of the feed: the same one again is one"),
        sa.Column("report_request_id", sa.Text(), nullable=False),
        sa.Column("feed", sa.Text(), nullable=False, comment="Atom feed as XML"),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "feed_digest"),
    )


def _source_requests() -> None:
    op.create_table(
        "source_requests",
        sa.Column("ven_id", sa.Text(), sa.ForeignKey("vens.ven_id"), nullable=False),
        sa.Column("report_request_id", sa.Text(), nullable=False),
        sa.Column("report_specifier_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="running, completed, cancelled"),
        sa.Column("granularity_s", sa.Integer(), nullable=False),
        sa.Column("report_back_s", sa.Integer(), nullable=False, comment="0: one report only (rule 324)"),
        sa.Column("start_ms", sa.BigInteger(), nullable=False, comment="first interval that is wanted"),
        sa.Column("end_ms", sa.BigInteger(), nullable=True, comment="null: no end"),
        sa.Column("payloads", sa.LargeBinary(), nullable=False, comment="rIDs and reading types as JSON"),
        sa.Column("reported_ms", sa.BigInteger(), nullable=False, comment="intervals before this were acknowledged"),
        sa.Column("due_ms", sa.BigInteger(), nullable=True, comment="when the next report is due; null: none is"),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "report_request_id"),
    )
    op.create_index(
        "source_requests_due",
        "source_requests",
        ["due_ms"],
        unique=False,
        postgresql_where=sa.text("due_ms IS NOT NULL"),
    )
