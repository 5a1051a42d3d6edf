"""Virtual nodes with the homes that moved between them, and the reviews that moved them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "virtual_nodes",
        sa.Column("name", sa.Text(), nullable=False, comment="groupID on the wire; never given twice"),
        sa.Column("label", sa.Text(), nullable=False, comment="what people call it"),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False, comment="feeder"),
        sa.Column("made_by", sa.Text(), nullable=False, comment="formation, operator"),
        sa.Column("state", sa.Text(), nullable=False, comment="active, ending, ended"),
        sa.Column("key_file", sa.Text(), nullable=False, comment="within the folder of keys"),
        sa.Column("party", sa.Text(), comment="ledger party; null until its key is there"),
        sa.Column("quality", sa.LargeBinary(), nullable=False, comment="Quality as JSON"),
        sa.Column("version", sa.Integer(), nullable=False, comment="counts changes from 1"),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("party"),
    )
    op.create_index("virtual_nodes_by_area", "virtual_nodes", ["program", "area"])
    op.create_table(
        "virtual_node_moves",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("moved_ms", sa.BigInteger(), nullable=False),
        sa.Column("ven_id", sa.Text(), nullable=False),
        sa.Column("came_from", sa.Text(), nullable=False, comment="virtual node; empty: it was in none"),
        sa.Column("went_to", sa.Text(), nullable=False, comment="virtual node; empty: it is in none"),
        sa.Column("kind", sa.Text(), nullable=False, comment="formed, joined, reviewed, operator, ended"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("virtual_node_moves_by_ven", "virtual_node_moves", ["ven_id", "sequence"])
    op.create_table(
        "virtual_node_reviews",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("reviewed_ms", sa.BigInteger(), nullable=False),
        sa.Column("review", sa.LargeBinary(), nullable=False, comment="GroupReview as JSON"),
        sa.PrimaryKeyConstraint("program", "reviewed_ms"),
    )


def downgrade() -> None:
    op.drop_table("virtual_node_reviews")
    op.drop_table("virtual_node_moves")
    op.drop_table("virtual_nodes")
