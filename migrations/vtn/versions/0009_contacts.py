"""When each VEN was last heard of, and since when somebody listens; a tolerance that nothing rests on any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What is lost in a crash of the database is known again after a minute of polls.
    op.create_table(
        "ven_contacts",
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("contact_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id"),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "contact_watch",
        sa.Column("watch", sa.Integer(), autoincrement=False, nullable=False, comment="always 1"),
        sa.Column("since_ms", sa.BigInteger(), nullable=False, comment="somebody listened from here on"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False, comment="to here"),
        sa.PrimaryKeyConstraint("watch"),
        prefixes=["UNLOGGED"],
    )
    op.execute(
        "UPDATE programs SET terms = "
        "convert_to((convert_from(terms, 'UTF8')::jsonb - 'monitor_tolerance_percent')::text, 'UTF8')"
    )


def downgrade() -> None:
    op.drop_table("contact_watch")
    op.drop_table("ven_contacts")
