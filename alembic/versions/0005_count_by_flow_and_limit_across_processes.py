"""Count by flow without reading the whole journal, and limits that hold across processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index and the table; the index reads the journal once."""
    op.create_table(
        "askings",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_askings")),
    )
    op.create_index(op.f("ix_askings_at"), "askings", ["at"])
    op.create_index("ix_journal_flow_decision_step_reason", "journal", ["flow", "decision", "step", "reason"])


def downgrade() -> None:
    """Undo it."""
    op.drop_index("ix_journal_flow_decision_step_reason", "journal")
    op.drop_index(op.f("ix_askings_at"), "askings")
    op.drop_table("askings")
