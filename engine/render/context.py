"""What a template may say: the names, their fields, and the values behind them.

Whoever makes a mail hands over plain mappings in a frozen `RenderContext`; templates see read-only `Record`s of them.
A known field without a value is None, so that `customer.first_name or 'Hello'` works; a field that does not exist is
an error with a likely name. Addresses of pages and pictures that are not http(s) come out as None, money as Decimal.
The same `KINDS` serve the lint, which knows every field without any values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from engine.flows import fields
from engine.full_names import full_name
from engine.render.brand import palette
from engine.render.errors import RenderError
from engine.render.locales import to_decimal, to_moment


@dataclass(frozen=True, slots=True)
class Kind:
    """The fields of one kind of thing: name → type.

    A type is `text`, `number`, `money`, `time`, `url`, `flag`, `any` or another kind, with `*` for many. An open kind
    may have any further field (a fact's own properties); there, what is not known is None. A kind that is `extended`
    has the fields that its values bring along too (further keys of `[shop]`), and no others.
    """

    fields: Mapping[str, str]
    open: bool = False
    extended: bool = False


def _fields(**types: str) -> dict[str, str]:
    return {name: kind for kind, names in types.items() for name in names.split()}


_ASKED = {"moment": "time", "date": "time", "texts": "any"}


def _asked(known: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that conditions can ask for: a mail can say them too."""
    return {name: _ASKED.get(kind, kind) for name, kind in known.items() if "." not in name}


_PRODUCT = _asked(fields.PRODUCT) | _fields(
    text="strategy",
    money="price old_price",
    url="url image_url",
    properties="properties",
)
_CUSTOMER = _asked(fields.CUSTOMER) | _fields(
    text="name language",
    url="referral_url",
    money="spent predicted_value",
    rfm="rfm",
    properties="properties",
)
_BRAND = _fields(
    text=(
        "background surface ink muted line accent on_accent accent_text soft font heading_font radius tone logo_alt "
        "dark_background dark_surface dark_ink dark_muted dark_line dark_accent dark_on_accent dark_soft"
    ),
    url="logo",
    number="logo_width",
)
_TRIGGER = _fields(
    text="event sku order_id cart_id currency",
    time="at run_out_at",
    number="order_number years quantity",
    money="value price old_price",
    any="facts lines products",
    product="product",
)
_ORDER = _asked(fields.ORDER) | _fields(
    money="total discount value refunded",
    **{"line*": "lines", "shipment*": "shipments", "refund*": "refunds", "return*": "returns"},
)
_CART = _asked(fields.CART) | _fields(url="url checkout_url", money="value value_now", **{"line*": "lines"})
_OFFER = _fields(
    text="name code currency buy_one_get_one gift early_access",
    number="percent",
    money="amount",
    flag="free_shipping",
    time="expires_at",
    product="product",
)

KINDS: Mapping[str, Kind] = {
    "customer": Kind(_CUSTOMER),
    "rfm": Kind(_fields(number="r f m")),
    "properties": Kind({}, open=True),
    "shop": Kind(
        _fields(text="name timezone locale currency postal_address phone email", url="url logo"),
        extended=True,
    ),
    "sender": Kind(_fields(text="email name reply_to")),
    "brand": Kind(_BRAND, extended=True),
    "trigger": Kind(_TRIGGER, open=True),
    "order": Kind(_ORDER),
    "cart": Kind(_CART),
    "line": Kind(
        {**_PRODUCT, "quantity": "number", "total": "money", "price_now": "money", "total_now": "money"}
    ),
    "product": Kind(_PRODUCT),
    "shipment": Kind(_fields(text="carrier", url="tracking_url", time="estimated_at", any="skus")),
    "refund": Kind(_fields(money="amount", flag="full")),
    "return": Kind(_fields(text="status reason")),
    "offer": Kind(_OFFER),
    "answer": Kind(
        _fields(text="event choice text survey", number="score days rating", time="at"), open=True
    ),
    "flow": Kind(_fields(text="name summary topic topic_name kind step", any="version")),
    "words": Kind({}, extended=True),
    "links": Kind(_fields(text="unsubscribe preferences view_in_browser", call="answer snooze")),
}

NAMES: Mapping[str, str] = {
    "customer": "customer", "shop": "shop", "sender": "sender", "brand": "brand", "trigger": "trigger",
    "order": "order", "cart": "cart", "product": "product", "products": "product*",
    "facts": "trigger*", "offer": "offer",
    "answer": "answer", "flow": "flow", "now": "time", "links": "links", "words": "words", "blocks": "blocks",
    "locale": "text", "direction": "text", "subject": "text", "preheader": "text",
}  # fmt: skip
"""Every name that any template may use, with its type; a template's recommend blocks come on top (`product*`)."""


class LinkMaker(Protocol):
    """Makes the links of one mail to one customer: opaque https URLs that name nobody."""

    def unsubscribe(self) -> str:
        """Return the link that ends the mail's topic (RFC 8058)."""
        ...

    def preferences(self) -> str:
        """Return the link to the preference page."""
        ...

    def view_in_browser(self) -> str:
        """Return the link to this mail as a page."""
        ...

    def answer(self, event: str, **facts: object) -> str:
        """Return the link to a page whose button records the fact."""
        ...

    def snooze(self, days: int) -> str:
        """Return the link that asks for a later reminder."""
        ...


@dataclass(frozen=True, slots=True)
class RenderContext:
    """Everything that one mail says, as plain mappings with the field names of `KINDS`.

    `facts` are what a gathering trigger took together.
    `now` is the customer's own clock (aware): its time zone is the one that times are written in. `picks` holds the
    products of each recommend block by name. What a flow does not have (a cart, an offer) is None.
    """

    customer: Mapping[str, Any]
    shop: Mapping[str, Any]
    sender: Mapping[str, Any]
    flow: Mapping[str, Any]
    now: datetime
    links: LinkMaker
    brand: Mapping[str, Any] = field(default_factory=dict)
    trigger: Mapping[str, Any] | None = None
    order: Mapping[str, Any] | None = None
    cart: Mapping[str, Any] | None = None
    product: Mapping[str, Any] | None = None
    products: Sequence[Mapping[str, Any]] = ()
    facts: Sequence[Mapping[str, Any]] = ()
    offer: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    picks: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def values(self, constants: Mapping[str, Any]) -> dict[str, Any]:
        """Return the names of a template with their read-only values; `constants` are those of the shop and the brand."""
        names: dict[str, Any] = {
            "customer": record("customer", self.customer),
            "sender": record("sender", self.sender),
            "flow": record("flow", self.flow),
            "trigger": record("trigger", self.trigger),
            "order": record("order", self.order),
            "cart": record("cart", self.cart),
            "product": record("product", self.product),
            "offer": record("offer", self.offer),
            "answer": record("answer", self.answer),
            **constants,
            "products": _records("product", self.products),
            "facts": _records("trigger", self.facts),
            "now": self.now,
            "links": Links(self.links),
        }
        for name, products in self.picks.items():
            names[name] = _records("product", products)
        return names


class Record:
    """A read-only thing of one kind, as a template sees it; each known field is read once."""

    __slots__ = ("_kind", "_known", "_values")

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        self._kind = kind
        self._values = values
        self._known: dict[str, Any] | None = None  # most things of a mail are never asked for

    def __getattr__(self, name: str) -> Any:
        known = self._known
        if known is None:
            known = self._known = {}
        elif name in known:
            return known[name]
        reader = READERS[self._kind].get(name)
        if reader is not None:
            value = known[name] = reader(self._values)
            return value
        kind = KINDS[self._kind]
        own = kind.open or (kind.extended and name in self._values)
        if not own or name.startswith("_"):
            raise AttributeError(name)
        return _open_value(self._values.get(name))

    def __getitem__(self, name: str) -> Any:
        try:
            return self.__getattr__(str(name))  # never the object's own attributes
        except AttributeError:
            raise KeyError(name) from None

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{self._kind}>"

    def __str__(self) -> str:
        return ""


class Links:
    """The `links` of a template: three plain links, and two that are called."""

    __slots__ = ("_maker",)

    def __init__(self, maker: LinkMaker) -> None:
        self._maker = maker

    @property
    def unsubscribe(self) -> str:
        """The link that ends the mail's topic."""
        return self._maker.unsubscribe()

    @property
    def preferences(self) -> str:
        """The link to the preference page."""
        return self._maker.preferences()

    @property
    def view_in_browser(self) -> str:
        """The link to this mail as a page."""
        return self._maker.view_in_browser()

    def answer(self, event: str, **facts: object) -> str:
        """Return the link to a page whose button records the fact."""
        return self._maker.answer(event, **facts)

    def snooze(self, days: int) -> str:
        """Return the link that asks for a later reminder."""
        return self._maker.snooze(days)


def constants(shop: Mapping[str, Any], brand: Mapping[str, Any]) -> dict[str, Record]:
    """Return what is the same in every mail of a shop, as templates see it; later changes of the mappings do not show."""
    return {"shop": Record("shop", dict(shop)), "brand": Record("brand", palette(brand))}


def kind_of(thing: Record) -> str:
    """Return the kind of a record: a key of `KINDS`."""
    return thing._kind  # noqa: SLF001 - templates must not see it as a field


def refuse_whole(value: Any) -> None:
    """Raise RenderError for what no output can write: a whole record or list."""
    if isinstance(value, Record):
        raise RenderError(f"this writes a whole {kind_of(value)}; name one of its fields")
    if isinstance(value, (tuple, list, dict)):
        raise RenderError("this writes a whole list; loop over it, or use `| join`")


def record(kind: str, values: Mapping[str, Any] | Record | None) -> Record | None:
    """Return the values as a thing of that kind; None stays None."""
    if values is None or isinstance(values, Record):
        return values
    return Record(kind, values)


def _records(kind: str, things: Sequence[Mapping[str, Any]]) -> tuple[Record | None, ...]:
    """Return many things of one kind."""
    return tuple([Record(kind, item) if type(item) is dict else record(kind, item) for item in things])


def safe_url(value: object) -> str | None:
    """Return an http(s) URL that is safe inside a mail, percent-encoded; None for anything else.

    >>> safe_url("https://kiyomi.test/茶?q=a b")
    'https://kiyomi.test/%E8%8C%B6?q=a%20b'
    >>> safe_url("javascript:alert(1)")
    """
    return _safe_url(str(value).strip())


@lru_cache(maxsize=8192)
def _safe_url(text: str) -> str | None:
    if not text.isprintable() or len(text) > 2_000:
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc:
        return None
    if not parts.netloc.isascii():
        try:
            text = text.replace(parts.netloc, parts.netloc.encode("idna").decode("ascii"), 1)
        except UnicodeError:
            return None
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]")


def _absent(kind: str | None) -> Any:
    if kind is not None and kind.endswith("*"):
        return ()
    return Record("properties", {}) if kind == "properties" else None


def _converted(kind: str | None, value: Any) -> Any:
    if kind is None or kind == "any":
        return _open_value(value)
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    if kind.endswith("*"):
        return tuple(record(kind[:-1], item) for item in value)
    return record(kind, value)


def _open_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Record("properties", value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(_open_value(item) for item in value)
    return _plain(value) if isinstance(value, str) else value


def _time(value: Any) -> Any:
    moment = to_moment(value) if isinstance(value, str) else value
    return value if moment is None else moment


def _number(value: Any) -> Any:
    return to_decimal(value) if isinstance(value, str) else value


def _reader(kind: str, name: str, type_: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return what reads one known field from a thing's values."""
    derive = _DERIVED.get((kind, name))
    absent = _absent(type_)
    convert = _SCALARS.get(type_) or partial(_converted, type_)

    def read(values: Mapping[str, Any]) -> Any:
        value = values.get(name)
        if value is None:
            return absent if derive is None else derive(values)
        return convert(value)

    def read_text(values: Mapping[str, Any]) -> Any:
        value = values.get(name)
        return value if type(value) is str and value.isascii() else read(values)  # nothing turns in it

    return read_text if type_ == "text" else read


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "text": lambda value: _plain(value if type(value) is str else str(value)),
    "number": _number,
    "money": to_decimal,
    "time": _time,
    "url": safe_url,
    "flag": bool,
}


_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def _plain(text: str) -> str:
    r"""Return text without marks that turn the direction of what stands behind it: the shop's own words, too.

    >>> _plain("Ann\u202e")
    'Ann'
    """
    return text if text.isascii() else _TURNS.sub("", text)


def _full_name(values: Mapping[str, Any]) -> str | None:
    first, last = (str(values.get(key) or "") for key in ("first_name", "last_name"))
    return _plain(full_name(first, last)) or None


def _language(values: Mapping[str, Any]) -> str | None:
    locale = values.get("locale")
    return str(locale).replace("_", "-").split("-")[0].lower() if locale else None


def _in_stock(values: Mapping[str, Any]) -> bool:
    stock = to_decimal(values.get("stock"))
    return values.get("available") is not False and (stock is None or stock > 0)


def _line_total(values: Mapping[str, Any]) -> Decimal | None:
    price, quantity = to_decimal(values.get("price")), to_decimal(values.get("quantity", 1))
    return None if price is None or quantity is None else price * quantity


def _lines_value(values: Mapping[str, Any]) -> Decimal | None:
    totals = [_line_total(line) for line in values.get("lines") or () if isinstance(line, Mapping)]
    known = [total for total in totals if total is not None]
    return sum(known, Decimal(0)) if known else None


def _total_now(values: Mapping[str, Any]) -> Decimal | None:
    """Return what a line costs at today's price, where that is known, else at its own."""
    today = values.get("price_now")
    if today is None:
        return _line_total(values)
    price, quantity = to_decimal(today), to_decimal(values.get("quantity", 1))
    return None if price is None or quantity is None else price * quantity


def _value_now(values: Mapping[str, Any]) -> Decimal | None:
    """Return what the lines that can be bought cost today; None where one of them has no price."""
    lines = [line for line in values.get("lines") or () if isinstance(line, Mapping) and _in_stock(line)]
    totals = [_total_now(line) for line in lines]
    return None if None in totals else sum((total for total in totals if total is not None), Decimal(0))


def _order_value(values: Mapping[str, Any]) -> Decimal | None:
    total = to_decimal(values.get("total"))
    return _lines_value(values) if total is None else total


_DERIVED: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Any]] = {
    ("customer", "name"): _full_name,
    ("customer", "language"): _language,
    ("customer", "orders"): lambda _: 0,
    ("line", "in_stock"): _in_stock,
    ("product", "in_stock"): _in_stock,
    ("line", "total"): _line_total,
    ("line", "total_now"): _total_now,
    ("line", "quantity"): lambda _: 1,
    ("cart", "value"): _lines_value,
    ("cart", "value_now"): _value_now,
    ("order", "value"): _order_value,
    ("order", "total"): _lines_value,
}

READERS: dict[str, dict[str, Callable[[Mapping[str, Any]], Any]]] = {kind: {} for kind in KINDS}
"""What reads each known field of each kind."""
for _kind, _known in KINDS.items():
    READERS[_kind].update({name: _reader(_kind, name, type_) for name, type_ in _known.fields.items()})
