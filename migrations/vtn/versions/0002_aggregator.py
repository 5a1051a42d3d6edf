"""What the aggregator decided: needs, plans, rounds, choices, deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "needs",
        sa.Column("need_id", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False, comment="RequestReduction as JSON"),
        sa.Column("state", sa.Text(), nullable=False, comment="open, closed"),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("need_id"),
    )
    op.create_table(
        "sc1_plans",
        sa.Column("contract_id", sa.Text(), nullable=False),
        sa.Column("need_id", sa.Text(), sa.ForeignKey("needs.need_id"), nullable=False, index=True),
        sa.Column("virtual_node", sa.Text(), nullable=False, comment="ledger party"),
        sa.Column("kind", sa.Text(), nullable=False, comment="initial, assist, refused"),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("offer", sa.LargeBinary(), nullable=False),
        sa.Column("offer_signature", sa.Text(), nullable=False),
        sa.Column("planned_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("contract_id"),
    )
    op.create_table(
        "dispatch_rounds",
        sa.Column("sc1", sa.Text(), sa.ForeignKey("sc1_plans.contract_id"), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("dr_event_id", sa.Text(), nullable=False, comment="empty: nobody could be called"),
        sa.Column("target_wh", sa.LargeBinary(), nullable=False),
        sa.Column("lacking_wh", sa.LargeBinary(), nullable=False),
        sa.Column("planned_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sc1", "round"),
    )
    op.create_table(
        "sc2_plans",
        sa.Column("contract_id", sa.Text(), nullable=False),
        sa.Column("sc1", sa.Text(), nullable=False, index=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False, index=True),
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("reliability_bp", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("contract_id"),
    )
    op.create_table(
        "dispatch_choices",
        sa.Column("need_id", sa.Text(), sa.ForeignKey("needs.need_id"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="the need, or the SC1 whose members were chosen"),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("choice", sa.LargeBinary(), nullable=False, comment="Choice as JSON"),
        sa.Column("target_wh", sa.LargeBinary(), nullable=False),
        sa.Column("chosen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "round", "candidate"),
    )
    op.create_table(
        "delivery_intervals",
        sa.Column("sc1", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("delivery", sa.LargeBinary(), nullable=False, comment="IntervalDelivery as JSON"),
        sa.PrimaryKeyConstraint("sc1", "start_ms"),
    )
