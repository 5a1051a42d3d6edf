"""What was forecast and what was known then, which model serves and why, and who moved between clusters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forecast_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="homes, virtual_nodes"),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("issued_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("known_until_ms", sa.BigInteger(), nullable=False, comment="end of the latest reading used"),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False, comment="name in the catalogue"),
        sa.Column("run", sa.LargeBinary(), nullable=False, comment="Run as JSON, compressed"),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("forecast_runs_by_start", "forecast_runs", ["program", "scope", "start_ms"])
    op.create_table(
        "forecast_choices",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="homes, virtual_nodes"),
        sa.Column("chosen_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "choice", sa.LargeBinary(), nullable=False, comment="Chosen as JSON: the model, its skill, the table"
        ),
        sa.PrimaryKeyConstraint("program", "scope", "chosen_ms"),
    )
    op.create_table(
        "cluster_reviews",
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("reviewed_ms", sa.BigInteger(), nullable=False),
        sa.Column("review", sa.LargeBinary(), nullable=False, comment="Review as JSON: who is where, moves, quality"),
        sa.PrimaryKeyConstraint("program", "reviewed_ms"),
    )


def downgrade() -> None:
    op.drop_table("cluster_reviews")
    op.drop_table("forecast_choices")
    op.drop_table("forecast_runs")
