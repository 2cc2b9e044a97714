"""Customers first in the keys of timers and enrollments, which then need no further index to be found by."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TIMERS = ("uq_timers_flow_trigger_no_customer_id_key", "uq_timers_customer_id_flow_trigger_no_key")
ENROLLMENTS = ("uq_enrollments_flow_customer_id_occurrence", "uq_enrollments_customer_id_flow_occurrence")


def upgrade() -> None:
    """Turn the keys round; on SQLite that copies both tables."""
    with op.batch_alter_table("timers") as batch_op:
        batch_op.drop_index("ix_timers_customer_id")
        batch_op.drop_constraint(TIMERS[0], type_="unique")
        batch_op.create_unique_constraint(TIMERS[1], ["customer_id", "flow", "trigger_no", "key"])
    with op.batch_alter_table("enrollments") as batch_op:
        batch_op.drop_index("ix_enrollments_customer_id_flow")
        batch_op.drop_constraint(ENROLLMENTS[0], type_="unique")
        batch_op.create_unique_constraint(ENROLLMENTS[1], ["customer_id", "flow", "occurrence"])


def downgrade() -> None:
    """Turn them back."""
    with op.batch_alter_table("enrollments") as batch_op:
        batch_op.drop_constraint(ENROLLMENTS[1], type_="unique")
        batch_op.create_unique_constraint(ENROLLMENTS[0], ["flow", "customer_id", "occurrence"])
        batch_op.create_index("ix_enrollments_customer_id_flow", ["customer_id", "flow"])
    with op.batch_alter_table("timers") as batch_op:
        batch_op.drop_constraint(TIMERS[1], type_="unique")
        batch_op.create_unique_constraint(TIMERS[0], ["flow", "trigger_no", "customer_id", "key"])
        batch_op.create_index("ix_timers_customer_id", ["customer_id"])
