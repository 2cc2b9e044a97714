"""Further names of orders: a shop's webhooks and its files do not call an order the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "order_names",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_order_names")),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("order_names")
