"""What the scheduled analytics did last, how good each day's forecasts were, and the events they proposed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forecast_marks",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="day_ahead, intraday, choice, drift-<scope>"),
        sa.Column("slot_ms", sa.BigInteger(), nullable=False, comment="the time it was due for"),
        sa.Column("done_ms", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, comment="a sentence"),
        sa.Column("detail", sa.LargeBinary(), nullable=False, comment="Alarms as JSON, of drift"),
        sa.PrimaryKeyConstraint("program", "kind"),
    )
    op.create_table(
        "forecast_days",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="homes, virtual_nodes"),
        sa.Column("day", sa.Text(), nullable=False, comment="local day"),
        sa.Column("errors", sa.LargeBinary(), nullable=False, comment="DayErrors as JSON"),
        sa.PrimaryKeyConstraint("program", "scope", "day"),
    )
    op.create_table(
        "event_proposals",
        sa.Column("proposal_id", sa.Text(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False, comment="local day it is for"),
        sa.Column(
            "state", sa.Text(), nullable=False,
            comment="open, approved, requested, submitted, refused, rejected, expired",
        ),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=False, comment="actor as in the audit; empty: nobody"),
        sa.Column("note", sa.Text(), nullable=False, comment="why it was rejected or refused"),
        sa.Column("proposal", sa.LargeBinary(), nullable=False, comment="Proposed as JSON"),
        sa.PrimaryKeyConstraint("proposal_id"),
        sa.UniqueConstraint("program", "area", "day"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("event_proposals")
    op.drop_table("forecast_days")
    op.drop_table("forecast_marks")
