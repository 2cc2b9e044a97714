"""No last message of an enrollment: nobody wrote it, and `messages` knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take the column away; in place, for the table may be large and others refer to it."""
    op.drop_column("enrollments", "last_message_id")


def downgrade() -> None:
    """Bring the empty column back."""
    op.add_column("enrollments", sa.Column("last_message_id", types.Key, nullable=True))
