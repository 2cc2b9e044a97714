"""Days that a customer was told without a time: kept beside the moment that they are on the shop's clock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was told before stays a moment until it is told again."""
    with op.batch_alter_table("customers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("created_on", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("points_expire_on", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo it."""
    with op.batch_alter_table("customers", schema=None) as batch_op:
        batch_op.drop_column("points_expire_on")
        batch_op.drop_column("created_on")
