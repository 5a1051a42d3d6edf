"""The aggregator as a VEN of a utility's VTN: registration, events, needs made of them, reports it asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_links",
        sa.Column("url", sa.Text(), nullable=False, comment="2.0b address of the utility's VTN"),
        sa.Column("registration", sa.LargeBinary(), comment="Registration as JSON; null while not registered"),
        sa.Column("wish", sa.Text(), comment="what the operator wants done: register, cancel; null: nothing"),
        sa.Column("enabled", sa.Boolean(), nullable=False, comment="false after `cancel`, until `register`"),
        sa.Column("announced", sa.LargeBinary(), comment="what was announced last, as JSON; null: nothing yet"),
        sa.Column("reached_ms", sa.BigInteger(), comment="last answer of the VTN, wall clock"),
        sa.Column("failed_ms", sa.BigInteger(), comment="last failure, wall clock; null when it answered since"),
        sa.Column("error", sa.Text(), comment="the last failure"),
        sa.PrimaryKeyConstraint("url"),
    )
    op.create_table(
        "upstream_events",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("modification_number", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False, comment="DrEvent as JSON"),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="see upstream.records"),
        sa.Column("offset_s", sa.Integer(), nullable=False, comment="drawn within the start-after window"),
        sa.Column("free_ms", sa.BigInteger(), comment="cancelled: when its homes are let go"),
        sa.Column("proposal", sa.LargeBinary(), comment="Wanted as JSON: what waits for the operator, or was asked"),
        sa.Column("note", sa.Text(), nullable=False, comment="why it stands where it does"),
        sa.Column("opt_type", sa.Text(), comment="optIn, optOut; null while it is not decided"),
        sa.Column("opt_code", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False, comment="of the oadrDistributeEvent it last came in"),
        sa.Column("owed", sa.Boolean(), nullable=False, comment="the VTN waits for an answer"),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "upstream_needs",
        sa.Column("need_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), sa.ForeignKey("upstream_events.event_id"), nullable=False, index=True),
        sa.Column("modification_number", sa.BigInteger(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False, comment="RequestReduction as JSON"),
        sa.Column("state", sa.Text(), nullable=False, comment="see upstream.records"),
        sa.Column("withdraw_ms", sa.BigInteger(), comment="when its homes are let go before its end"),
        sa.Column("delivered_wh", sa.LargeBinary(), comment="per interval as settled, JSON; null before, or few homes"),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.Column("settled_ms", sa.BigInteger(), comment="when it was closed"),
        sa.PrimaryKeyConstraint("need_id"),
    )
    op.create_table(
        "upstream_reports",
        sa.Column("report_request_id", sa.Text(), nullable=False),
        sa.Column("report_specifier_id", sa.Text(), nullable=False),
        sa.Column("r_ids", sa.LargeBinary(), nullable=False, comment="JSON"),
        sa.Column("granularity_s", sa.Integer(), nullable=False),
        sa.Column("report_back_s", sa.Integer(), nullable=False, comment="0: once"),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), comment="null: no end"),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("reported_ms", sa.BigInteger(), nullable=False, comment="intervals that end by then were sent"),
        sa.Column("read_ms", sa.BigInteger(), nullable=False, comment="readings received by then were sent"),
        sa.Column("state", sa.Text(), nullable=False, comment="running, completed, cancelled"),
        sa.Column("error", sa.Text(), comment="why the last report was not taken"),
        sa.PrimaryKeyConstraint("report_request_id"),
    )
