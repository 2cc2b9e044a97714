"""The tables: what the engine remembers.

Grouped by the stage that writes them: facts, audience, journeys, outbox, delivery, and the installation itself.
The schema is created by the migrations in `alembic/` only; `alembic check` holds the two together. Times are
`Instant` (UTC), money is `Money`, both from `engine.store.types`.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

from engine.store.types import Document, Instant, Key, Money

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Key, primary_key=True, autoincrement=True)


# ── facts: what we were told, and its projections ────────────────────────────────────────────────────────────────────

customers = Table(
    "customers",
    metadata,
    _id(),
    Column("external_id", Text, unique=True),
    Column("email", Text, unique=True),  # normalised: trimmed, lower case
    Column("first_name", Text),
    Column("last_name", Text),
    Column("locale", Text),
    Column("timezone", Text),  # as told, if it is a zone
    Column("country", Text),  # ISO 3166, upper case
    Column(
        "zone", Text, index=True
    ),  # the zone decisions use: told, else the country's only one; NULL is the shop's
    Column("birthday", Text),  # YYYY-MM-DD or MM-DD, as told
    Column("created_at", Instant),
    Column("created_on", Text),  # YYYY-MM-DD where created_at was told as a day alone
    Column("tags", Document),
    Column("points", Integer),
    Column("points_expire_at", Instant),
    Column("points_expire_on", Text),  # YYYY-MM-DD where points_expire_at was told as a day alone
    Column("tier", Text),
    Column("referral_code", Text),
    Column("referral_url", Text),
    Column("subscription_status", Text),
    Column("properties", Document),
    Column("updated_at", Instant),  # own time of the newest customers fact
    Column(
        "told_at", Document
    ),  # {field: microseconds} where a field was last told at another time than updated_at
    Column("first_seen_at", Instant, nullable=False),  # when the first fact about this customer arrived
    # projected from orders and events, in the transaction of the fact
    Column("orders", Integer, nullable=False, server_default=text("0")),
    Column("spent", Money, nullable=False, server_default=text("0")),
    Column("first_order_at", Instant),
    Column("last_order_at", Instant),
    Column("average_gap_days", Float),
    Column("usual_gap_days", Float),  # the median of the gaps between orders, from 3 orders up
    Column("last_activity_at", Instant),
    Column("quarantined_at", Instant),
    Column("erased_at", Instant),
)

# Every id by which a customer was ever named; a merged customer's ids point at the one that stayed.
customer_ids = Table(
    "customer_ids",
    metadata,
    Column("external_id", Text, primary_key=True),
    Column("customer_id", Key, ForeignKey("customers.id"), nullable=False, index=True),
)

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("title", Text),
    Column("category", Text),
    Column("brand", Text),
    Column("price", Money),
    Column("currency", Text),
    Column("url", Text),
    Column("image_url", Text),
    Column("stock", Integer),  # NULL: not tracked
    Column("available", Boolean),
    Column("days_of_supply", Float),  # of one piece, as stated
    Column("learned_days", Float),  # of one piece, learned from repeated purchases
    Column("learned_repeats", Float),  # orders with it for each customer who bought it, learned
    Column("variant_group", Text),
    Column("properties", Document),
    Column("first_seen_at", Instant, nullable=False),
    Column("updated_at", Instant),
    Column(
        "told_at", Document
    ),  # {field: microseconds} where a field was last told at another time than updated_at
    Index("ix_products_category", "category"),
)

# A change of the catalogue that customers may care about; never written for a product's first load.
product_changes = Table(
    "product_changes",
    metadata,
    _id(),
    Column("sku", Text, nullable=False),
    Column("change", Text, nullable=False),  # back_in_stock | price_drop | low_stock
    Column("at", Instant, nullable=False),
    Column("old_price", Money),
    Column("new_price", Money),
    Column("old_stock", Integer),
    Column("new_stock", Integer),
    Index("ix_product_changes_sku_at", "sku", "at"),
)

# What the price was and since when: a drop is measured against the price when the customer saw it.
product_prices = Table(
    "product_prices",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("since", Instant, primary_key=True),
    Column("price", Money, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("customer_id", Key, ForeignKey("customers.id")),  # NULL: an anonymous sale, for popularity only
    Column("placed_at", Instant, nullable=False),
    Column("status", Text, nullable=False),  # the newest by its own time
    Column("status_at", Instant, nullable=False),
    Column("paid_at", Instant),
    Column("shipped_at", Instant),
    Column("delivered_at", Instant),
    Column("cancelled_at", Instant),  # once set, the order counts for nothing
    Column("refunded_at", Instant),
    Column("returned_at", Instant),
    Column("currency", Text),
    Column("total", Money, nullable=False, server_default=text("0")),
    Column("refunded", Money, nullable=False, server_default=text("0")),
    Column("discount", Money),
    Column("coupon", Text),
    Column("shipments", Document),
    Column("refunds", Document),
    Column("returns", Document),
    Column("properties", Document),
    Column("updated_at", Instant, nullable=False),
    Column(
        "told_at", Document
    ),  # {field: microseconds} where a field was last told at another time than updated_at
    Index("ix_orders_customer_id_placed_at", "customer_id", "placed_at"),
    Index("ix_orders_placed_at", "placed_at"),
)

# Further names of an order: a shop's webhooks and its files do not call it the same.
order_names = Table(
    "order_names",
    metadata,
    Column("name", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Text, ForeignKey("orders.order_id"), primary_key=True),
    Column("line_no", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Float, nullable=False, server_default=text("1")),
    Column("price", Money),
    Index("ix_order_lines_sku", "sku"),
)

carts = Table(
    "carts",
    metadata,
    Column("cart_id", Text, primary_key=True),
    Column("customer_id", Key, ForeignKey("customers.id"), index=True),
    Column("updated_at", Instant, nullable=False),
    Column(
        "told_at", Document
    ),  # {field: microseconds} where a field was last told at another time than updated_at
    Column("url", Text),
    Column("checkout_url", Text),
    Column("currency", Text),
    Column("value", Money),
    Column("properties", Document),
)

cart_lines = Table(
    "cart_lines",
    metadata,
    Column("cart_id", Text, ForeignKey("carts.cart_id"), primary_key=True),
    Column("line_no", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Float, nullable=False, server_default=text("1")),
    Column("price", Money),
    Index("ix_cart_lines_sku", "sku"),
)

# Everything that happened to a customer, append-only: told events, events raised by other facts, and the engine's own.
events = Table(
    "events",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),  # the fact's identity: told twice, it is here once
    Column("customer_id", Key, ForeignKey("customers.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("arrived_at", Instant, nullable=False),
    Column("value", Money),
    Column("order_id", Text),
    Column("cart_id", Text),
    Column("sku", Text),
    Column("properties", Document),  # the whole fact as told, canonical field names
    Column("backfill", Boolean, nullable=False, server_default=text("false")),
    Index("ix_events_customer_id_name_occurred_at", "customer_id", "name", "occurred_at"),
    Index(
        "ix_events_sku_name_occurred_at",
        "sku",
        "name",
        "occurred_at",
        sqlite_where=text("sku IS NOT NULL"),
        postgresql_where=text("sku IS NOT NULL"),
    ),
)

# Facts that no tick has looked at yet: written in the ingest's transaction, deleted in the tick's.
fact_inbox = Table(
    "fact_inbox",
    metadata,
    _id(),
    Column("event_id", Key),
    Column("change_id", Key),
)

# Facts that a flow could not consume yet (paused, frozen or poisoned): it meets them when it goes on.
arrivals = Table(
    "arrivals",
    metadata,
    _id(),
    Column("flow", Text, nullable=False),
    Column("event_id", Key),
    Column("change_id", Key),
    Index("ix_arrivals_flow_id", "flow", "id"),
)

# Facts of a virtual database whose time has not come: nothing sees them before `arrives_at`.
staged_facts = Table(
    "staged_facts",
    metadata,
    _id(),
    Column("arrives_at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Document, nullable=False),
    Column("backfill", Boolean, nullable=False, server_default=text("false")),
    Index("ix_staged_facts_arrives_at_id", "arrives_at", "id"),
)

# Content hashes of the newest telling of each fact, so that the same file again changes nothing. A reading that tells a
# key several times keeps them all; a later reading with other content starts anew, so that A, B, A ends at A.
fact_digests = Table(
    "fact_digests",
    metadata,
    Column("key", Key, primary_key=True, autoincrement=False),  # hash of kind and key
    Column("told_at", Instant, nullable=False),  # time of receipt of that reading
    Column("contents", LargeBinary, nullable=False),  # 8 bytes a content
)

# ── consent ──────────────────────────────────────────────────────────────────────────────────────────────────────────

consents = Table(
    "consents",
    metadata,
    _id(),
    Column("customer_id", Key, ForeignKey("customers.id"), nullable=False, index=True),
    Column("topic", Text, nullable=False),  # a topic of homing.toml, or `all`
    Column("state", Text, nullable=False),  # granted | withdrawn | pending
    Column("basis", Text, nullable=False, server_default="opt_in"),  # opt_in | soft_opt_in
    Column("at", Instant),  # NULL: not dated, which never overrides a withdrawal
    Column("received_at", Instant, nullable=False),
    Column("source", Text),
    Column("wording", Text),
)

# The ledger folded per topic; order of arrival does not matter. A topic is granted when the newest grant of it or of
# `all` is later than the newest withdrawal of it or of `all`. An undated grant stands at the beginning of time.
consent_state = Table(
    "consent_state",
    metadata,
    Column("customer_id", Key, ForeignKey("customers.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("granted_at", Instant),
    Column("soft_granted_at", Instant),
    Column("pending_at", Instant),
    Column("withdrawn_at", Instant),
)

suppressions = Table(
    "suppressions",
    metadata,
    _id(),
    Column("address_hash", LargeBinary, nullable=False),  # keyed hash of the normalised address
    Column("customer_id", Key, index=True),
    Column("scope", Text, nullable=False),  # all | marketing
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    UniqueConstraint("address_hash", "scope", "customer_id"),
)

# Keyed hashes of erased ids and addresses: a later file that names them changes nothing and mails nobody.
erased = Table(
    "erased",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("at", Instant, nullable=False),
)

# ── definitions ──────────────────────────────────────────────────────────────────────────────────────────────────────

flow_versions = Table(
    "flow_versions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("flow", Text, nullable=False, index=True),
    Column("behaviour_hash", Text, nullable=False),
    Column("definition", Document, nullable=False),  # normalised flow, with the segments it uses inlined
    Column("created_at", Instant, nullable=False),
)

flows = Table(
    "flows",
    metadata,
    Column("flow", Text, primary_key=True),
    Column("version", Text, ForeignKey("flow_versions.hash"), nullable=False),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("applied_at", Instant, nullable=False),  # first made live: facts before this never trigger it
    Column("version_at", Instant, nullable=False),  # when this version was applied
    Column("paused_at", Instant),
    Column("frozen_at", Instant),
    Column("frozen_reason", Text),
    Column("allowance", Integer),  # what `apply --allow-audience` lets through the brake
)

# Templates, layouts, blocks and offers as applied: what the daemon renders, wherever it runs.
sources = Table(
    "sources",
    metadata,
    Column("path", Text, primary_key=True),  # templates/… or flows/offers.yaml, with forward slashes
    Column("content", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

applies = Table(
    "applies",
    metadata,
    _id(),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("changes", Document, nullable=False),  # [{flow, change, from, to}]
)

# ── journeys ─────────────────────────────────────────────────────────────────────────────────────────────────────────

# Every time-based trigger is a row with the moment at which it becomes true; a newer fact replaces the moment.
timers = Table(
    "timers",
    metadata,
    _id(),
    Column("flow", Text, nullable=False),
    Column("trigger_no", Integer, nullable=False),
    Column("customer_id", Key, ForeignKey("customers.id"), nullable=False),
    Column(
        "key", Text, nullable=False
    ),  # what the newer fact must share to replace it: cart, order, product, field
    Column(
        "armed_at", Instant, nullable=False
    ),  # own time of the fact that set it: an older one never moves it
    Column("due_at", Instant, nullable=False),
    Column("until", Instant),  # after this moment the chance is gone
    Column("occurrence", Text, nullable=False),  # what makes the entry unique
    Column("event_id", Key),
    Column("payload", Document),  # the trigger fact as it was
    # The customer first: no further index has to find a customer's.
    UniqueConstraint("customer_id", "flow", "trigger_no", "key"),
    Index("ix_timers_flow_due_at_id", "flow", "due_at", "id"),
)

enrollments = Table(
    "enrollments",
    metadata,
    _id(),
    Column("flow", Text, nullable=False),
    Column("version", Text, ForeignKey("flow_versions.hash"), nullable=False),
    Column("customer_id", Key, ForeignKey("customers.id"), nullable=False),
    Column("occurrence", Text, nullable=False),
    Column(
        "slot", Text, nullable=False, server_default=""
    ),  # live enrollments of a customer are unique in it
    Column("scope_key", Text),  # the cart, order, product or year of `re_entry: {per: …}`
    Column("entered_at", Instant, nullable=False),
    Column("since_at", Instant, nullable=False),  # exits count facts after this moment
    Column("event_id", Key),  # the triggering fact, which never counts itself
    Column("order_id", Text),
    Column("cart_id", Text),
    Column("sku", Text),
    Column("context", Document, nullable=False),  # {trigger, products, facts, answers, trigger_no}
    Column("state", Text, nullable=False),  # active | waiting | completed | exited | held_out | failed
    Column("position", Text),  # identity of the step to take next; NULL: none
    Column("anchor_at", Instant, nullable=False),  # when the previous step was due
    Column("next_at", Instant),  # when to look again; NULL: never
    Column("visit", Integer, nullable=False, server_default=text("0")),
    Column("goal_at", Instant),
    Column("left_at", Instant),
    Column("left_reason", Text),
    UniqueConstraint("customer_id", "flow", "occurrence"),
    Index(
        "uq_enrollments_live",
        "flow",
        "customer_id",
        "slot",
        unique=True,
        sqlite_where=text("state IN ('active', 'waiting')"),
        postgresql_where=text("state IN ('active', 'waiting')"),
    ),
    Index(
        "ix_enrollments_due",
        "next_at",
        "id",
        sqlite_where=text("state IN ('active', 'waiting')"),
        postgresql_where=text("state IN ('active', 'waiting')"),
    ),
    Index("ix_enrollments_flow_entered_at", "flow", "entered_at"),
    Index("ix_enrollments_flow_version_state_position", "flow", "version", "state", "position"),
)

# Each decision, with its reason and its inputs.
journal = Table(
    "journal",
    metadata,
    _id(),
    Column("at", Instant, nullable=False),
    Column("flow", Text, nullable=False),
    Column("customer_id", Key, nullable=False),
    Column("enrollment_id", Key),
    Column("message_id", Key),
    Column("step", Text),
    Column("decision", Text, nullable=False),  # entered | refused | sent | skipped | deferred | waiting | …
    Column("reason", Text),
    Column("detail", Document),  # {clauses: [{clause, holds}], until, arm, …, then: a wait}
    Index("ix_journal_customer_id_flow_id", "customer_id", "flow", "id"),
    Index("ix_journal_at", "at"),
    Index("ix_journal_flow_decision_step_reason", "flow", "decision", "step", "reason"),  # counts by flow
)

segment_members = Table(
    "segment_members",
    metadata,
    Column("flow", Text, primary_key=True),
    Column("trigger_no", Integer, primary_key=True),
    Column("customer_id", Key, ForeignKey("customers.id"), primary_key=True),
    Column("since", Instant, nullable=False),
)

# How far calendar triggers and nightly work have come: (flow, trigger) or a name of our own → the last moment done.
marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Instant, nullable=False),
)

# ── outbox ───────────────────────────────────────────────────────────────────────────────────────────────────────────

messages = Table(
    "messages",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),  # enrollment, step, visit
    Column("enrollment_id", Key, ForeignKey("enrollments.id"), nullable=False, index=True),
    Column("flow", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("channel", Text, nullable=False, server_default="email"),  # email | webhook
    Column("template", Text),
    Column("customer_id", Key, ForeignKey("customers.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("topic", Text),
    Column("priority", Integer, nullable=False),
    Column(
        "state", Text, nullable=False
    ),  # pending claimed handing_over accepted delivered bounced failed dropped unknown
    Column("reason", Text),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant),  # due_at of the step + max_lateness
    Column("try_at", Instant, nullable=False),  # not before this moment
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("claimed_by", Text),
    Column("fence", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Instant),  # machine time, at most 60 s ahead
    Column("counted_at", Instant),  # the moment of the hand-over: caps count it
    Column("accepted_at", Instant),
    Column("settled_at", Instant),
    Column("sandbox", Boolean, nullable=False, server_default=text("false")),
    Column("provider", Text),
    Column("provider_id", Text),
    Column("subject", Text),
    Column("locale", Text),
    Column(
        "content", Document
    ),  # what the sender needs beyond the enrollment: subject, offer, webhook body, slots
    Index(
        "ix_messages_open",
        "try_at",
        "id",
        sqlite_where=text("state IN ('pending', 'claimed', 'handing_over')"),
        postgresql_where=text("state IN ('pending', 'claimed', 'handing_over')"),
    ),
    Index("ix_messages_customer_id_counted_at", "customer_id", "counted_at"),
    Index("ix_messages_flow_counted_at", "flow", "counted_at"),
)

attempts = Table(
    "attempts",
    metadata,
    _id(),
    Column("message_id", Key, ForeignKey("messages.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("worker", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("outcome", Text),  # accepted | retry | failed | unknown; NULL: begun
    Column("detail", Text),
)

# What is under way, in the words of the partial indexes above: SQLite takes such an index only where a statement says the
# same with constants, never with bound values.


def _one_of(column: Column[str], words: tuple[str, ...]) -> ColumnElement[bool]:
    return column.in_([literal_column(f"'{word}'") for word in words])


INSIDE = _one_of(enrollments.c.state, ("active", "waiting"))
UNSETTLED = _one_of(messages.c.state, ("pending", "claimed", "handing_over"))

# Codes handed out, and codes of a pool that wait to be.
offer_codes = Table(
    "offer_codes",
    metadata,
    _id(),
    Column("offer", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("customer_id", Key, index=True),
    Column("message_id", Key),
    Column("issued_at", Instant),
    Column("expires_at", Instant),
    Column("used_at", Instant),
    Column("used_order_id", Text),
    Index("ix_offer_codes_offer_customer_id", "offer", "customer_id"),
    Index("ix_offer_codes_code", "code"),
)

# ── feedback ─────────────────────────────────────────────────────────────────────────────────────────────────────────

delivery_events = Table(
    "delivery_events",
    metadata,
    _id(),
    Column("key", Text, nullable=False, unique=True),
    Column("message_id", Key, nullable=False, index=True),
    Column(
        "kind", Text, nullable=False
    ),  # delivered | deferred | bounced | blocked | opened | clicked | complained | …
    Column("at", Instant, nullable=False),
    Column("machine", Boolean, nullable=False, server_default=text("false")),
    Column("raw", Document),
)

# ── the web side ─────────────────────────────────────────────────────────────────────────────────────────────────────

# Keys that shops send facts with: shown once, kept as a hash.
write_keys = Table(
    "write_keys",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", Document, nullable=False),  # [write, …]
    Column("origins", Document, nullable=False),  # pages that may use it from a browser; [] is any
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

# What a visitor did before anybody knew who it was; told again as the customer's own once that is known.
held_facts = Table(
    "held_facts",
    metadata,
    _id(),
    Column("visitor", Text, nullable=False),  # anonymous id
    Column("key", Text, nullable=False),  # the call's message id: told twice, it waits once
    Column("at", Instant, nullable=False),
    Column("payload", Document, nullable=False),
    UniqueConstraint("visitor", "key"),
    Index("ix_held_facts_at", "at"),
)

# Who a visitor turned out to be: the newest word counts for what comes later.
visitors = Table(
    "visitors",
    metadata,
    Column("visitor", Text, primary_key=True),
    Column("customer", Text, nullable=False, index=True),  # external id or address
    Column("at", Instant, nullable=False),
)

# Deliveries of webhooks that were taken in, so that a repeated one changes nothing.
receipts = Table(
    "receipts",
    metadata,
    Column("source", Text, primary_key=True),  # shopify | woocommerce
    Column("key", Text, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
)

# What came in and could not be understood, whole, so that it can be tried again.
raw_inbox = Table(
    "raw_inbox",
    metadata,
    _id(),
    Column("source", Text, nullable=False),  # segment | shopify | woocommerce | sendgrid
    Column("topic", Text, nullable=False, server_default=""),
    Column("hash", LargeBinary, nullable=False, unique=True),  # the same thing again is kept once
    Column("at", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("1")),
    Index("ix_raw_inbox_source_id", "source", "id"),
)

# How often somebody asked lately, for limits that hold across processes: a level that leaks, for each key's hash.
askings = Table(
    "askings",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("level", Float, nullable=False),
    Column("at", Instant, nullable=False, index=True),
)

# ── recommendations and scores ───────────────────────────────────────────────────────────────────────────────────────

product_ranks = Table(
    "product_ranks",
    metadata,
    Column("strategy", Text, primary_key=True),  # bestsellers | trending | popular_in_category
    Column("scope", Text, primary_key=True),  # the category, or empty
    Column("rank", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("score", Float, nullable=False),
)

product_affinities = Table(
    "product_affinities",
    metadata,
    Column("strategy", Text, primary_key=True),  # bought_together | similar
    Column("sku", Text, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("other", Text, nullable=False),
    Column("score", Float, nullable=False),
)

customer_scores = Table(
    "customer_scores",
    metadata,
    Column("customer_id", Key, ForeignKey("customers.id"), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("rfm_r", Integer),
    Column("rfm_f", Integer),
    Column("rfm_m", Integer),
    Column("spent_percentile", Float),
    Column("churn_risk", Float),
    Column("predicted_value", Money),
)

# ── the installation ─────────────────────────────────────────────────────────────────────────────────────────────────

# Small facts about this database: virtual clock, fingerprint, secrets for tokens and hashes, when it went live.
meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Document),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", Instant, nullable=False),
    Column("fence", Integer, nullable=False, server_default=text("0")),
)

quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),  # fact | template | customer | flow
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", Document),
    Column("tries", Integer, nullable=False, server_default=text("1")),
    Column("at", Instant, nullable=False),
    Column("resolved_at", Instant),
    Index("ix_quarantine_kind_subject", "kind", "subject"),
)
