"""How a choice of members was found, and the event of each contract: homes of one round have events of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "dispatch_rounds",
        sa.Column("solved", sa.LargeBinary(), comment="Solved as JSON; null: of a choice before this was kept"),
    )
    op.add_column("sc2_plans", sa.Column("dr_event_id", sa.Text(), comment="null: that of its round"))


def downgrade() -> None:
    op.drop_column("sc2_plans", "dr_event_id")
    op.drop_column("dispatch_rounds", "solved")
