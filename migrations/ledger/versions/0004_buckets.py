"""No index over the buckets of the state: a replica holds their leaves in memory, and nobody else asks by bucket."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("records_bucket", "records")


def downgrade() -> None:
    op.create_index("records_bucket", "records", ["channel", "bucket"])
