"""The newest checkpoint that a quorum of members cosigned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "finality",
        sa.Column("channel", sa.Text(collation="C"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column(
            "note",
            sa.LargeBinary(),
            nullable=False,
            comment="newest checkpoint that a quorum of members cosigned",
        ),
        sa.PrimaryKeyConstraint("channel"),
    )


def downgrade() -> None:
    op.drop_table("finality")
