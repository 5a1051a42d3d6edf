"""Which bodies were erased on purpose, so that a missing one is not taken for an edited table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("channel", sa.Text(collation="C"), nullable=False),
        sa.Column("log_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("erased_ms", sa.BigInteger(), nullable=False, comment="wall clock"),
        sa.PrimaryKeyConstraint("channel", "log_index"),
    )


def downgrade() -> None:
    op.drop_table("erasures")
