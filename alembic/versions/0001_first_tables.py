"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, each with its indexes."""
    op.create_table(
        "applies",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("changes", types.Document, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applies")),
    )
    op.create_table(
        "arrivals",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("event_id", types.Key, nullable=True),
        sa.Column("change_id", types.Key, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrivals")),
    )
    with op.batch_alter_table("arrivals", schema=None) as batch_op:
        batch_op.create_index("ix_arrivals_flow_id", ["flow", "id"], unique=False)

    op.create_table(
        "customers",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column("birthday", sa.Text(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=True),
        sa.Column("tags", types.Document, nullable=True),
        sa.Column("points", sa.Integer(), nullable=True),
        sa.Column("points_expire_at", types.Instant(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("referral_code", sa.Text(), nullable=True),
        sa.Column("referral_url", sa.Text(), nullable=True),
        sa.Column("subscription_status", sa.Text(), nullable=True),
        sa.Column("properties", types.Document, nullable=True),
        sa.Column("updated_at", types.Instant(), nullable=True),
        sa.Column("told_at", types.Document, nullable=True),
        sa.Column("first_seen_at", types.Instant(), nullable=False),
        sa.Column("orders", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("spent", types.Money(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_order_at", types.Instant(), nullable=True),
        sa.Column("last_order_at", types.Instant(), nullable=True),
        sa.Column("average_gap_days", sa.Float(), nullable=True),
        sa.Column("usual_gap_days", sa.Float(), nullable=True),
        sa.Column("last_activity_at", types.Instant(), nullable=True),
        sa.Column("quarantined_at", types.Instant(), nullable=True),
        sa.Column("erased_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
        sa.UniqueConstraint("email", name=op.f("uq_customers_email")),
        sa.UniqueConstraint("external_id", name=op.f("uq_customers_external_id")),
    )
    with op.batch_alter_table("customers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_customers_zone"), ["zone"], unique=False)

    op.create_table(
        "delivery_events",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("message_id", types.Key, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("machine", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("raw", types.Document, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_events")),
        sa.UniqueConstraint("key", name=op.f("uq_delivery_events_key")),
    )
    with op.batch_alter_table("delivery_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delivery_events_message_id"), ["message_id"], unique=False)

    op.create_table(
        "erased",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_erased")),
    )
    op.create_table(
        "fact_digests",
        sa.Column("key", types.Key, autoincrement=False, nullable=False),
        sa.Column("told_at", types.Instant(), nullable=False),
        sa.Column("contents", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_fact_digests")),
    )
    op.create_table(
        "fact_inbox",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("event_id", types.Key, nullable=True),
        sa.Column("change_id", types.Key, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fact_inbox")),
    )
    op.create_table(
        "flow_versions",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("behaviour_hash", sa.Text(), nullable=False),
        sa.Column("definition", types.Document, nullable=False),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_flow_versions")),
    )
    with op.batch_alter_table("flow_versions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_flow_versions_flow"), ["flow"], unique=False)

    op.create_table(
        "journal",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("enrollment_id", types.Key, nullable=True),
        sa.Column("message_id", types.Key, nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", types.Document, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
    )
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.create_index("ix_journal_at", ["at"], unique=False)
        batch_op.create_index("ix_journal_customer_id_flow_id", ["customer_id", "flow", "id"], unique=False)

    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", types.Instant(), nullable=False),
        sa.Column("fence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_marks")),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", types.Document, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "offer_codes",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("offer", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=True),
        sa.Column("message_id", types.Key, nullable=True),
        sa.Column("issued_at", types.Instant(), nullable=True),
        sa.Column("expires_at", types.Instant(), nullable=True),
        sa.Column("used_at", types.Instant(), nullable=True),
        sa.Column("used_order_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offer_codes")),
    )
    with op.batch_alter_table("offer_codes", schema=None) as batch_op:
        batch_op.create_index("ix_offer_codes_code", ["code"], unique=False)
        batch_op.create_index(batch_op.f("ix_offer_codes_customer_id"), ["customer_id"], unique=False)
        batch_op.create_index("ix_offer_codes_offer_customer_id", ["offer", "customer_id"], unique=False)

    op.create_table(
        "product_affinities",
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "sku", "rank", name=op.f("pk_product_affinities")),
    )
    op.create_table(
        "product_changes",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("old_price", types.Money(), nullable=True),
        sa.Column("new_price", types.Money(), nullable=True),
        sa.Column("old_stock", sa.Integer(), nullable=True),
        sa.Column("new_stock", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product_changes")),
    )
    with op.batch_alter_table("product_changes", schema=None) as batch_op:
        batch_op.create_index("ix_product_changes_sku_at", ["sku", "at"], unique=False)

    op.create_table(
        "product_prices",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("since", types.Instant(), nullable=False),
        sa.Column("price", types.Money(), nullable=False),
        sa.PrimaryKeyConstraint("sku", "since", name=op.f("pk_product_prices")),
    )
    op.create_table(
        "product_ranks",
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "scope", "rank", name=op.f("pk_product_ranks")),
    )
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("price", types.Money(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("stock", sa.Integer(), nullable=True),
        sa.Column("available", sa.Boolean(), nullable=True),
        sa.Column("days_of_supply", sa.Float(), nullable=True),
        sa.Column("learned_days", sa.Float(), nullable=True),
        sa.Column("variant_group", sa.Text(), nullable=True),
        sa.Column("properties", types.Document, nullable=True),
        sa.Column("first_seen_at", types.Instant(), nullable=False),
        sa.Column("updated_at", types.Instant(), nullable=True),
        sa.Column("told_at", types.Document, nullable=True),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_products")),
    )
    with op.batch_alter_table("products", schema=None) as batch_op:
        batch_op.create_index("ix_products_category", ["category"], unique=False)

    op.create_table(
        "quarantine",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", types.Document, nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("resolved_at", types.Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.create_index("ix_quarantine_kind_subject", ["kind", "subject"], unique=False)

    op.create_table(
        "sources",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_sources")),
    )
    op.create_table(
        "staged_facts",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("arrives_at", types.Instant(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", types.Document, nullable=False),
        sa.Column("backfill", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staged_facts")),
    )
    with op.batch_alter_table("staged_facts", schema=None) as batch_op:
        batch_op.create_index("ix_staged_facts_arrives_at_id", ["arrives_at", "id"], unique=False)

    op.create_table(
        "suppressions",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
        sa.UniqueConstraint(
            "address_hash",
            "scope",
            "customer_id",
            name=op.f("uq_suppressions_address_hash_scope_customer_id"),
        ),
    )
    with op.batch_alter_table("suppressions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_suppressions_customer_id"), ["customer_id"], unique=False)

    op.create_table(
        "carts",
        sa.Column("cart_id", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=True),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.Column("told_at", types.Document, nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("checkout_url", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("value", types.Money(), nullable=True),
        sa.Column("properties", types.Document, nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_carts_customer_id")),
        sa.PrimaryKeyConstraint("cart_id", name=op.f("pk_carts")),
    )
    with op.batch_alter_table("carts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_carts_customer_id"), ["customer_id"], unique=False)

    op.create_table(
        "consent_state",
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("granted_at", types.Instant(), nullable=True),
        sa.Column("soft_granted_at", types.Instant(), nullable=True),
        sa.Column("pending_at", types.Instant(), nullable=True),
        sa.Column("withdrawn_at", types.Instant(), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_consent_state_customer_id")),
        sa.PrimaryKeyConstraint("customer_id", "topic", name=op.f("pk_consent_state")),
    )
    op.create_table(
        "consents",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), server_default="opt_in", nullable=False),
        sa.Column("at", types.Instant(), nullable=True),
        sa.Column("received_at", types.Instant(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("wording", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_consents_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
    )
    with op.batch_alter_table("consents", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_consents_customer_id"), ["customer_id"], unique=False)

    op.create_table(
        "customer_ids",
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_customer_ids_customer_id")),
        sa.PrimaryKeyConstraint("external_id", name=op.f("pk_customer_ids")),
    )
    with op.batch_alter_table("customer_ids", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_customer_ids_customer_id"), ["customer_id"], unique=False)

    op.create_table(
        "customer_scores",
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("rfm_r", sa.Integer(), nullable=True),
        sa.Column("rfm_f", sa.Integer(), nullable=True),
        sa.Column("rfm_m", sa.Integer(), nullable=True),
        sa.Column("spent_percentile", sa.Float(), nullable=True),
        sa.Column("churn_risk", sa.Float(), nullable=True),
        sa.Column("predicted_value", types.Money(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_customer_scores_customer_id")
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer_scores")),
    )
    op.create_table(
        "enrollments",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("occurrence", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), server_default="", nullable=False),
        sa.Column("scope_key", sa.Text(), nullable=True),
        sa.Column("entered_at", types.Instant(), nullable=False),
        sa.Column("since_at", types.Instant(), nullable=False),
        sa.Column("event_id", types.Key, nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("cart_id", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("context", types.Document, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=True),
        sa.Column("anchor_at", types.Instant(), nullable=False),
        sa.Column("next_at", types.Instant(), nullable=True),
        sa.Column("visit", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_message_id", types.Key, nullable=True),
        sa.Column("goal_at", types.Instant(), nullable=True),
        sa.Column("left_at", types.Instant(), nullable=True),
        sa.Column("left_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_enrollments_customer_id")),
        sa.ForeignKeyConstraint(["version"], ["flow_versions.hash"], name=op.f("fk_enrollments_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrollments")),
        sa.UniqueConstraint(
            "flow", "customer_id", "occurrence", name=op.f("uq_enrollments_flow_customer_id_occurrence")
        ),
    )
    with op.batch_alter_table("enrollments", schema=None) as batch_op:
        batch_op.create_index("ix_enrollments_customer_id_flow", ["customer_id", "flow"], unique=False)
        batch_op.create_index(
            "ix_enrollments_due",
            ["next_at", "id"],
            unique=False,
            sqlite_where=sa.text("state IN ('active', 'waiting')"),
            postgresql_where=sa.text("state IN ('active', 'waiting')"),
        )
        batch_op.create_index("ix_enrollments_flow_entered_at", ["flow", "entered_at"], unique=False)
        batch_op.create_index(
            "ix_enrollments_flow_version_state_position",
            ["flow", "version", "state", "position"],
            unique=False,
        )
        batch_op.create_index(
            "uq_enrollments_live",
            ["flow", "customer_id", "slot"],
            unique=True,
            sqlite_where=sa.text("state IN ('active', 'waiting')"),
            postgresql_where=sa.text("state IN ('active', 'waiting')"),
        )

    op.create_table(
        "events",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("occurred_at", types.Instant(), nullable=False),
        sa.Column("arrived_at", types.Instant(), nullable=False),
        sa.Column("value", types.Money(), nullable=True),
        sa.Column("order_id", sa.Text(), nullable=True),
        sa.Column("cart_id", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("properties", types.Document, nullable=True),
        sa.Column("backfill", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_events_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("key", name=op.f("uq_events_key")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_customer_id_name_occurred_at", ["customer_id", "name", "occurred_at"], unique=False
        )
        batch_op.create_index(
            "ix_events_sku_name_occurred_at",
            ["sku", "name", "occurred_at"],
            unique=False,
            sqlite_where=sa.text("sku IS NOT NULL"),
            postgresql_where=sa.text("sku IS NOT NULL"),
        )

    op.create_table(
        "flows",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("(true)"), nullable=False),
        sa.Column("applied_at", types.Instant(), nullable=False),
        sa.Column("version_at", types.Instant(), nullable=False),
        sa.Column("paused_at", types.Instant(), nullable=True),
        sa.Column("frozen_at", types.Instant(), nullable=True),
        sa.Column("frozen_reason", sa.Text(), nullable=True),
        sa.Column("allowance", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["version"], ["flow_versions.hash"], name=op.f("fk_flows_version")),
        sa.PrimaryKeyConstraint("flow", name=op.f("pk_flows")),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=True),
        sa.Column("placed_at", types.Instant(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_at", types.Instant(), nullable=False),
        sa.Column("paid_at", types.Instant(), nullable=True),
        sa.Column("shipped_at", types.Instant(), nullable=True),
        sa.Column("delivered_at", types.Instant(), nullable=True),
        sa.Column("cancelled_at", types.Instant(), nullable=True),
        sa.Column("refunded_at", types.Instant(), nullable=True),
        sa.Column("returned_at", types.Instant(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("total", types.Money(), server_default=sa.text("0"), nullable=False),
        sa.Column("refunded", types.Money(), server_default=sa.text("0"), nullable=False),
        sa.Column("discount", types.Money(), nullable=True),
        sa.Column("coupon", sa.Text(), nullable=True),
        sa.Column("shipments", types.Document, nullable=True),
        sa.Column("refunds", types.Document, nullable=True),
        sa.Column("returns", types.Document, nullable=True),
        sa.Column("properties", types.Document, nullable=True),
        sa.Column("updated_at", types.Instant(), nullable=False),
        sa.Column("told_at", types.Document, nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_orders_customer_id")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index("ix_orders_customer_id_placed_at", ["customer_id", "placed_at"], unique=False)
        batch_op.create_index("ix_orders_placed_at", ["placed_at"], unique=False)

    op.create_table(
        "segment_members",
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("trigger_no", sa.Integer(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("since", types.Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_segment_members_customer_id")
        ),
        sa.PrimaryKeyConstraint("flow", "trigger_no", "customer_id", name=op.f("pk_segment_members")),
    )
    op.create_table(
        "timers",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("trigger_no", sa.Integer(), nullable=False),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("armed_at", types.Instant(), nullable=False),
        sa.Column("due_at", types.Instant(), nullable=False),
        sa.Column("until", types.Instant(), nullable=True),
        sa.Column("occurrence", sa.Text(), nullable=False),
        sa.Column("event_id", types.Key, nullable=True),
        sa.Column("payload", types.Document, nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_timers_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timers")),
        sa.UniqueConstraint(
            "flow", "trigger_no", "customer_id", "key", name=op.f("uq_timers_flow_trigger_no_customer_id_key")
        ),
    )
    with op.batch_alter_table("timers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_timers_customer_id"), ["customer_id"], unique=False)
        batch_op.create_index("ix_timers_flow_due_at_id", ["flow", "due_at", "id"], unique=False)

    op.create_table(
        "cart_lines",
        sa.Column("cart_id", sa.Text(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Float(), server_default=sa.text("1"), nullable=False),
        sa.Column("price", types.Money(), nullable=True),
        sa.ForeignKeyConstraint(["cart_id"], ["carts.cart_id"], name=op.f("fk_cart_lines_cart_id")),
        sa.PrimaryKeyConstraint("cart_id", "line_no", name=op.f("pk_cart_lines")),
    )
    with op.batch_alter_table("cart_lines", schema=None) as batch_op:
        batch_op.create_index("ix_cart_lines_sku", ["sku"], unique=False)

    op.create_table(
        "messages",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("enrollment_id", types.Key, nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), server_default="email", nullable=False),
        sa.Column("template", sa.Text(), nullable=True),
        sa.Column("customer_id", types.Key, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", types.Instant(), nullable=False),
        sa.Column("due_at", types.Instant(), nullable=False),
        sa.Column("expires_at", types.Instant(), nullable=True),
        sa.Column("try_at", types.Instant(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", types.Instant(), nullable=True),
        sa.Column("counted_at", types.Instant(), nullable=True),
        sa.Column("accepted_at", types.Instant(), nullable=True),
        sa.Column("settled_at", types.Instant(), nullable=True),
        sa.Column("sandbox", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("content", types.Document, nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f("fk_messages_customer_id")),
        sa.ForeignKeyConstraint(
            ["enrollment_id"], ["enrollments.id"], name=op.f("fk_messages_enrollment_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("key", name=op.f("uq_messages_key")),
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.create_index(
            "ix_messages_customer_id_counted_at", ["customer_id", "counted_at"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_messages_enrollment_id"), ["enrollment_id"], unique=False)
        batch_op.create_index("ix_messages_flow_counted_at", ["flow", "counted_at"], unique=False)
        batch_op.create_index(
            "ix_messages_open",
            ["try_at", "id"],
            unique=False,
            sqlite_where=sa.text("state IN ('pending', 'claimed', 'handing_over')"),
            postgresql_where=sa.text("state IN ('pending', 'claimed', 'handing_over')"),
        )

    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Float(), server_default=sa.text("1"), nullable=False),
        sa.Column("price", types.Money(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_order_lines_order_id")),
        sa.PrimaryKeyConstraint("order_id", "line_no", name=op.f("pk_order_lines")),
    )
    with op.batch_alter_table("order_lines", schema=None) as batch_op:
        batch_op.create_index("ix_order_lines_sku", ["sku"], unique=False)

    op.create_table(
        "attempts",
        sa.Column("id", types.Key, autoincrement=True, nullable=False),
        sa.Column("message_id", types.Key, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", types.Instant(), nullable=False),
        sa.Column("finished_at", types.Instant(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_attempts_message_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempts_message_id"), ["message_id"], unique=False)


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempts_message_id"))

    op.drop_table("attempts")
    with op.batch_alter_table("order_lines", schema=None) as batch_op:
        batch_op.drop_index("ix_order_lines_sku")

    op.drop_table("order_lines")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_messages_open",
            sqlite_where=sa.text("state IN ('pending', 'claimed', 'handing_over')"),
            postgresql_where=sa.text("state IN ('pending', 'claimed', 'handing_over')"),
        )
        batch_op.drop_index("ix_messages_flow_counted_at")
        batch_op.drop_index(batch_op.f("ix_messages_enrollment_id"))
        batch_op.drop_index("ix_messages_customer_id_counted_at")

    op.drop_table("messages")
    with op.batch_alter_table("cart_lines", schema=None) as batch_op:
        batch_op.drop_index("ix_cart_lines_sku")

    op.drop_table("cart_lines")
    with op.batch_alter_table("timers", schema=None) as batch_op:
        batch_op.drop_index("ix_timers_flow_due_at_id")
        batch_op.drop_index(batch_op.f("ix_timers_customer_id"))

    op.drop_table("timers")
    op.drop_table("segment_members")
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.drop_index("ix_orders_placed_at")
        batch_op.drop_index("ix_orders_customer_id_placed_at")

    op.drop_table("orders")
    op.drop_table("flows")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_events_sku_name_occurred_at",
            sqlite_where=sa.text("sku IS NOT NULL"),
            postgresql_where=sa.text("sku IS NOT NULL"),
        )
        batch_op.drop_index("ix_events_customer_id_name_occurred_at")

    op.drop_table("events")
    with op.batch_alter_table("enrollments", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_enrollments_live",
            sqlite_where=sa.text("state IN ('active', 'waiting')"),
            postgresql_where=sa.text("state IN ('active', 'waiting')"),
        )
        batch_op.drop_index("ix_enrollments_flow_version_state_position")
        batch_op.drop_index("ix_enrollments_flow_entered_at")
        batch_op.drop_index(
            "ix_enrollments_due",
            sqlite_where=sa.text("state IN ('active', 'waiting')"),
            postgresql_where=sa.text("state IN ('active', 'waiting')"),
        )
        batch_op.drop_index("ix_enrollments_customer_id_flow")

    op.drop_table("enrollments")
    op.drop_table("customer_scores")
    with op.batch_alter_table("customer_ids", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_customer_ids_customer_id"))

    op.drop_table("customer_ids")
    with op.batch_alter_table("consents", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_consents_customer_id"))

    op.drop_table("consents")
    op.drop_table("consent_state")
    with op.batch_alter_table("carts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_carts_customer_id"))

    op.drop_table("carts")
    with op.batch_alter_table("suppressions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_suppressions_customer_id"))

    op.drop_table("suppressions")
    with op.batch_alter_table("staged_facts", schema=None) as batch_op:
        batch_op.drop_index("ix_staged_facts_arrives_at_id")

    op.drop_table("staged_facts")
    op.drop_table("sources")
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.drop_index("ix_quarantine_kind_subject")

    op.drop_table("quarantine")
    with op.batch_alter_table("products", schema=None) as batch_op:
        batch_op.drop_index("ix_products_category")

    op.drop_table("products")
    op.drop_table("product_ranks")
    op.drop_table("product_prices")
    with op.batch_alter_table("product_changes", schema=None) as batch_op:
        batch_op.drop_index("ix_product_changes_sku_at")

    op.drop_table("product_changes")
    op.drop_table("product_affinities")
    with op.batch_alter_table("offer_codes", schema=None) as batch_op:
        batch_op.drop_index("ix_offer_codes_offer_customer_id")
        batch_op.drop_index(batch_op.f("ix_offer_codes_customer_id"))
        batch_op.drop_index("ix_offer_codes_code")

    op.drop_table("offer_codes")
    op.drop_table("meta")
    op.drop_table("marks")
    op.drop_table("leases")
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.drop_index("ix_journal_customer_id_flow_id")
        batch_op.drop_index("ix_journal_at")

    op.drop_table("journal")
    with op.batch_alter_table("flow_versions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_flow_versions_flow"))

    op.drop_table("flow_versions")
    op.drop_table("fact_inbox")
    op.drop_table("fact_digests")
    op.drop_table("erased")
    with op.batch_alter_table("delivery_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delivery_events_message_id"))

    op.drop_table("delivery_events")
    with op.batch_alter_table("customers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_customers_zone"))

    op.drop_table("customers")
    with op.batch_alter_table("arrivals", schema=None) as batch_op:
        batch_op.drop_index("ix_arrivals_flow_id")

    op.drop_table("arrivals")
    op.drop_table("applies")
