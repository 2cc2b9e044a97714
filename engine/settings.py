"""The project's settings: `homing.toml`, overridden by `HOMING_SECTION_KEY`, as frozen values.

A file that holds only `[shop]`, `[sender]` and so on works; every key has its default here. `load` collects findings
(S…) instead of raising; secrets are not settings and stay in the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from zoneinfo import available_timezones

from engine.calendar import Duration, QuietHours, is_zone
from engine.diagnostics import Finding, Span, did_you_mean, has_errors, is_sure, no_utf8
from engine.errors import FindingsError, UsageError
from engine.toml_places import Place, places

FILE = "homing.toml"
DEFAULT_TOPICS = {"reminders": "Reminders", "offers": "Offers and news"}
DEFAULT_TOPIC_WORDS = {
    "reminders": {"ja": "リマインダー", "zh-Hant": "提醒"},
    "offers": {"ja": "おすすめと新着のお知らせ", "zh-Hant": "優惠與新訊"},
}


@dataclass(frozen=True, slots=True)
class Shop:
    """Who sends: the shop as customers know it."""

    name: str = "My shop"
    url: str = "https://shop.test"
    timezone: str = "UTC"
    locale: str = "en"
    currency: str = "EUR"
    postal_address: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sender:
    """A name and address that mails come from."""

    email: str = ""
    name: str = ""
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How mails leave."""

    mode: Literal["sandbox", "live"] = "sandbox"
    provider: str = "mailbox"
    allow: tuple[str, ...] = ()
    rate: str = "20/s"
    options: Mapping[str, Any] = field(default_factory=dict)  # [delivery.PROVIDER]
    domains: Mapping[str, str] = field(default_factory=dict)  # [delivery.domains]: recipients' domain → rate


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` marketing mails to one customer in any stretch of `per`."""

    count: int
    per: Duration

    @classmethod
    def parse(cls, text: str) -> Cap:
        """Read `1 per 16h`; raise ValueError with a plain sentence."""
        match = re.fullmatch(r"\s*(\d{1,5})\s+per\s+(\S+)\s*", str(text))
        if match is None:
            raise ValueError(f'"{text}" is not a cap such as 1 per 16h')
        return cls(int(match[1]), Duration.parse(match[2]))

    def __str__(self) -> str:
        """Return the cap as it is written: `1 per 16h`."""
        return f"{self.count} per {self.per}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What protects customers from too much mail."""

    quiet_hours: QuietHours | None = field(default_factory=lambda: QuietHours.parse("21:00-08:00"))
    caps: tuple[Cap, ...] = (Cap(1, Duration(seconds=16 * 3600)), Cap(4, Duration(days=7)))
    max_lateness: Duration = Duration(seconds=24 * 3600)
    global_holdout: Decimal = Decimal(0)
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """All of `homing.toml`; `root` is the project's folder."""

    root: Path
    shop: Shop = Shop()
    sender: Sender = Sender()
    senders: Mapping[str, Sender] = field(default_factory=dict)
    brand: Mapping[str, Any] = field(default_factory=dict)
    database_url: str = "sqlite:///homing.db"
    broker_url: str = ""  # of a distributed installation
    delivery: Delivery = Delivery()
    web_url: str = ""
    trusted_proxies: tuple[str, ...] = ()  # whose X-Forwarded headers are believed
    track_clicks: bool = False  # lead the links of marketing mails over our own, and count
    track_opens: bool = False
    topics: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_TOPICS))
    topic_words: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: dict(DEFAULT_TOPIC_WORDS))
    soft_opt_in: frozenset[str] = frozenset()  # topics that a soft opt-in is enough for
    policy: Policy = field(default_factory=Policy)
    webhooks: Mapping[str, str] = field(default_factory=dict)
    recommend: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def link_base(self) -> str:
        """Base of the links in mails: `[web] url`, else the shop's URL."""
        return (self.web_url or self.shop.url).rstrip("/")

    def topic_title(self, topic: str, languages: Iterable[str]) -> str:
        """Return what a topic is called in the first of the languages that has a name for it, else in the shop's own."""
        words = self.topic_words.get(topic, {})
        return next((words[name] for name in languages if name in words), self.topics.get(topic, topic))

    def sender_named(self, name: str | None) -> Sender:
        """Return the sender of that name, else the default one."""
        return self.senders.get(name, self.sender) if name else self.sender


SECTIONS: dict[str, tuple[str, ...]] = {
    "shop": ("name", "url", "timezone", "locale", "currency", "postal_address", "phone", "email", "logo"),
    "brand": (),
    "sender": ("email", "name", "reply_to"),
    "senders": (),
    "database": ("url",),
    "broker": ("url",),
    "delivery": ("mode", "provider", "allow", "rate", "domains", "smtp", "sendgrid", "mailbox"),
    "web": ("url", "trusted_proxies", "track_clicks", "track_opens"),
    "topics": (),
    "policy": ("quiet_hours", "caps", "max_lateness", "global_holdout", "exclude", "soft_opt_in"),
    "webhooks": (),
    "recommend": ("per_category", "never", "always", "boost"),
}

# [brand] takes keys of a shop's own beside these.
BRAND_COLOURS = (
    "background", "surface", "ink", "muted", "line", "accent", "on_accent", "accent_text", "soft", "dark_background",
    "dark_surface", "dark_ink", "dark_muted", "dark_line", "dark_accent", "dark_on_accent", "dark_soft",
)  # fmt: skip
BRAND = (*BRAND_COLOURS, "font", "heading_font", "radius", "tone", "logo", "logo_alt", "logo_width")

# [delivery.PROVIDER]; the providers read these themselves.
OPTIONS: dict[str, tuple[str, ...]] = {
    "mailbox": ("path", "durable"),
    "smtp": (
        "host", "port", "security", "user", "envelope_sender", "hello_name", "connect_seconds", "answer_seconds",
        "group_seconds", "ca_file",
    ),
    "sendgrid": (
        "url", "connect_seconds", "answer_seconds", "connections", "group_seconds", "click_tracking", "open_tracking", "ca_file",
    ),
}  # fmt: skip


def find_project(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds homing.toml; raise UsageError where there is none."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / FILE).exists():
            return folder
    raise UsageError(f"no {FILE} here or above; `homing init DIR` makes a project")


def load(root: Path, environ: Mapping[str, str] = os.environ, *, strict: bool = True) -> Settings:
    """Read the project's settings; raise FindingsError where they cannot be used.

    Not `strict`, only a file that is no TOML raises: what is wrong with a setting stands in `findings`, and its default
    holds, so that everything else can be looked at too.
    """
    path, source = root / FILE, ""
    try:
        source = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(source)
    except FileNotFoundError as error:
        raise UsageError(f"{root} holds no {FILE}; `homing init DIR` makes a project") from error
    except OSError as error:
        raise FindingsError([_no_file(error)]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FindingsError([_broken_toml(error, source)]) from error
    except (ValueError, RecursionError) as error:  # digits and brackets beyond what Python reads
        raise FindingsError([_TOO_MUCH]) from error
    reader = _Reader(source, _with_environment(raw, environ), environ)
    settings = reader.settings(root)
    if strict and has_errors(settings.findings):
        raise FindingsError(settings.findings)
    return settings


_TOO_MUCH = Finding(
    "S101", "error", "this file holds a number of thousands of digits, or lists a thousand deep", Span(FILE, 1, 1),
    help="remove what is no setting",
)  # fmt: skip


def findings_in(source: str, root: Path, environ: Mapping[str, str] = os.environ) -> tuple[Finding, ...]:
    """Return what would be wrong with the settings if homing.toml held this text."""
    try:
        text = source.removeprefix("\ufeff").replace("\r\n", "\n")
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return (_broken_toml(error, text),)
    except (ValueError, RecursionError):
        return (_TOO_MUCH,)
    return _Reader(text, _with_environment(raw, environ), environ).settings(root).findings


def place_of(known: Mapping[tuple[str, ...], Place], *path: str) -> Place | None:
    """Return where a setting stands, else the section that it belongs to, else None."""
    for end in range(len(path), 0, -1):
        if path[:end] in known:
            return known[path[:end]]
    return None


def setting_place(root: Path, *path: str) -> Span:
    """Return where the value of a setting stands in a project's homing.toml, else its section, else the first line."""
    try:
        source = (root / FILE).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return Span(FILE, 1, 1)
    place = place_of(places(source, FILE), *path)
    return place.value if place is not None else Span(FILE, 1, 1)


_QUOTED = re.compile(r"#.*|\"(?:[^\"\\]|\\.)*\"|'[^']*'|([\"'])")
_TOML = (
    ("Invalid value", "this is no value"),
    ("Invalid statement", "this is neither a key nor a section"),
    ("Expected '=' after a key", "a = is wanted after the key"),
    ("Expected newline or end of document after a statement", "something stands behind the value"),
    ("Cannot overwrite a value", "this key stands twice"),
    ("Cannot declare", "this section stands twice"),
    ("Unclosed array", "this [ is not closed"),
    ("Unterminated string", "a quote is not closed"),
    ("Unescaped '\\' in a string", "a backslash begins an escape; write it twice, or use single quotes"),
)


def _no_file(error: OSError) -> Finding:
    what = (
        "it is a folder"
        if isinstance(error, IsADirectoryError)
        else (error.strerror or "it cannot be opened").lower()
    )
    way_out = "put a file of that name there, which Homing may read"
    return Finding("S101", "error", f"this file cannot be read: {what}", Span(FILE), help=way_out)


def _broken_toml(error: Exception, source: str = "") -> Finding:
    if isinstance(error, UnicodeDecodeError):
        span, message = no_utf8(FILE, error)
        return Finding("S101", "error", message, span, help="save the file as UTF-8 text")
    where = re.search(r"line (\d+), column (\d+)", str(error))
    span = Span(FILE, int(where[1]), int(where[2])) if where else Span(FILE, 1, 1)
    message = re.sub(r"\s*\(at .*\)", "", str(error))
    opened = _open_quote(source, message, span.line if where else 0)
    if opened >= 0:
        place = Span(FILE, source.count("\n", 0, opened) + 1, opened - source.rfind("\n", 0, opened))
        way_out = f"close it with {source[opened]} at the end of the text"
        return Finding("S101", "error", "this quote is not closed", place, help=way_out)
    way_out = "mend the line; text stands in quotes"
    for words, plain in _TOML:
        if message.startswith(words):
            return Finding("S101", "error", f"this file is no TOML: {plain}", span, help=way_out)
    return Finding("S101", "error", f"this file is no TOML: {message}", span, help=way_out)


def _open_quote(source: str, message: str, line: int) -> int:
    """Return the offset of the quote that nothing closes, where the reader gave up for it (at `line`, or the end), else -1."""
    if message.startswith('Expected "\'"'):
        return source.rfind("'")  # nothing behind it closes it: it is the last one of the file
    if not line or not message.startswith(("Illegal character '\\n'", "Found invalid character '\\n'")):
        return -1
    lines = source.split("\n")
    before = sum(len(each) + 1 for each in lines[: line - 1])
    return next((before + each.start() for each in _QUOTED.finditer(lines[line - 1]) if each[1]), -1)


def _with_environment(raw: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for section, keys in SECTIONS.items():
        for key in keys:
            value = environ.get(f"HOMING_{section.upper()}_{key.upper()}")
            if value is not None:
                table = merged.setdefault(section, {})
                if isinstance(table, dict):
                    table[key] = (
                        [part.strip() for part in value.split(",") if part.strip()]
                        if key in _LISTS
                        else value
                    )
    return merged


_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_RATE = re.compile(r"\s*[1-9]\d{0,8}\s*(?:/|per)\s*(?:[1-9]\d{0,5})?\s*[smhd]\s*", re.IGNORECASE)
_DOMAIN = re.compile(r"[^@\s.]+(?:\.[^@\s.]+)+")
_ALLOWED = re.compile(r"[^@\s]*@[^@\s]+")
_LISTS = {"allow", "caps", "exclude", "soft_opt_in", "trusted_proxies"}


_WRITTEN = {
    "quiet_hours": '"21:00-08:00"', "max_lateness": '"24h"', "global_holdout": '"10%"', "rate": '"20/s"', "per_category": "2",
}  # fmt: skip


class _Reader:
    """Turns the raw tables into settings, collecting findings with their lines."""

    def __init__(self, source: str, raw: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.places, self.raw, self.environ = places(source, FILE), raw, environ
        self.findings: list[Finding] = []

    def add(self, code: str, message: str, *path: str, key: bool = False, **more: Any) -> None:
        """Tell what is wrong with a setting, at its value (or its key); a variable that overrides it is named."""
        severity = more.pop("severity", "error")
        variable = "HOMING_" + "_".join(path[:2]).upper()
        if len(path) > 1 and variable in self.environ:
            message, place = f"{message} (it comes from {variable} in the environment)", None
        else:
            place = place_of(self.places, *path)
        span = Span(FILE, 1, 1) if place is None else place.key if key else place.value
        self.findings.append(Finding(code, severity, message, span, **more))

    def table(self, section: str) -> dict[str, Any]:
        value = self.raw.get(section, {})
        if not isinstance(value, dict):
            self.add(
                "S102",
                f"[{section}] is a section with keys",
                section,
                help=f"write [{section}] on a line of its own",
            )
            return {}
        return value

    def text(self, section: str, key: str, default: str) -> str:
        value = self.table(section).get(key, default)
        if not isinstance(value, str):
            self.add("S102", f"{key} in [{section}] is text", section, key, help=f'write {key} = "…"')
            return default
        return value

    def texts(self, section: str, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        value = self.table(section).get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.add(
                "S102", f"{key} in [{section}] is a list of texts", section, key, help=f'write {key} = ["…"]'
            )
            return default
        return tuple(value)

    def switch(self, section: str, key: str) -> bool:
        value = self.table(section).get(key, False)
        if f"HOMING_{section.upper()}_{key.upper()}" in self.environ and isinstance(value, str):
            value = {"true": True, "1": True, "false": False, "0": False, "": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            self.add(
                "S102", f"{key} in [{section}] is true or false", section, key, help=f"write {key} = true"
            )
            return False
        return value

    def parsed(self, section: str, key: str, read: Any, default: Any) -> Any:
        if key not in self.table(section):
            return default
        try:
            return read(self.table(section)[key])
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            shown = _WRITTEN.get(key)
            way_out = f"write {key} = {shown}" if shown else "`homing explain S103` shows how it is written"
            self.add("S103", str(error), section, key, help=way_out)
            return default

    def settings(self, root: Path) -> Settings:
        self._unknown_keys()
        shop = self._shop()
        senders = {
            name: Sender(**{k: str(v) for k, v in value.items() if k in ("email", "name", "reply_to")})
            for name, value in self.table("senders").items()
            if isinstance(value, dict)
        }
        return Settings(
            root=root,
            shop=shop,
            sender=Sender(
                self.text("sender", "email", ""),
                self.text("sender", "name", shop.name),
                self.text("sender", "reply_to", ""),
            ),
            senders=senders,
            brand=self._brand(),
            database_url=self.text("database", "url", "sqlite:///homing.db"),
            broker_url=self.text("broker", "url", ""),
            delivery=self._delivery(),
            web_url=self.text("web", "url", ""),
            trusted_proxies=self.texts("web", "trusted_proxies", ()),
            track_clicks=self.switch("web", "track_clicks"),
            track_opens=self.switch("web", "track_opens"),
            **self._topics(shop.locale),
            soft_opt_in=frozenset(self.texts("policy", "soft_opt_in", ())),
            policy=self._policy(),
            webhooks={key: str(value) for key, value in self.table("webhooks").items()},
            recommend=self.table("recommend"),
            findings=tuple(dict.fromkeys(self.findings)),
        )

    def _topics(self, locale: str) -> dict[str, Any]:
        """Return what topics are called in the shop's own language, and in those that have a name of their own."""
        titles: dict[str, str] = {}
        words: dict[str, dict[str, str]] = {}
        for key, value in self.table("topics").items():
            known = value if isinstance(value, dict) else {"": value}
            if not known or not all(isinstance(text, str) and text.strip() for text in known.values()):
                self.add("S102", f"{key} in [topics] is text, or one text for each language", "topics", key,
                         help=f'write {key} = "…", or {key} = {{en = "…", ja = "…"}}')  # fmt: skip
                continue
            own = (locale.replace("_", "-"), locale.replace("_", "-").split("-")[0], "", "en")
            titles[key] = next((known[name] for name in own if name in known), next(iter(known.values())))
            words[key] = {name: text for name, text in known.items() if name}
        if not titles:
            return {}
        return {"topics": titles, "topic_words": words}

    def _unknown_keys(self) -> None:
        for section, value in self.raw.items():
            if section not in SECTIONS:
                self.add(
                    "S104",
                    f"[{section}] is no section that Homing knows",
                    section,
                    key=True,
                    effect="nothing in it has any effect",
                    help=did_you_mean(section, SECTIONS) or f"known: {', '.join(SECTIONS)}",
                    fixable=is_sure(section, SECTIONS),
                )
            elif SECTIONS[section] and isinstance(value, dict) and section != "shop":
                for key in value:
                    if key not in SECTIONS[section]:
                        self._unknown(key, SECTIONS[section], section)
            if section == "senders" and isinstance(value, dict):
                for name, sender in value.items():
                    self._unknown_within(sender, SECTIONS["sender"], section, name)
            if section == "delivery" and isinstance(value, dict):
                for name, known in OPTIONS.items():
                    self._unknown_within(value.get(name), known, section, name)

    def _unknown_within(self, table: object, known: tuple[str, ...], *section: str) -> None:
        for key in table if isinstance(table, dict) else ():
            if key not in known:
                self._unknown(key, known, *section)

    def _unknown(self, key: str, known: tuple[str, ...], *section: str) -> None:
        hint = did_you_mean(key, known)
        self.add(
            "S104", f'"{key}" is no key of [{".".join(section)}]', *section, key, key=True, fixable=is_sure(key, known),
            effect="it has no effect; what was meant keeps its default", help=hint or f"known: {', '.join(known)}",
        )  # fmt: skip

    def _brand(self) -> Mapping[str, Any]:
        """Return what [brand] says; a colour that is none would leave buttons without a ground."""
        brand = self.table("brand")
        for key, value in brand.items():
            if (
                key in BRAND_COLOURS
                and value != ""
                and not (isinstance(value, str) and _COLOUR.fullmatch(value))
            ):
                self.add("S103", f'"{value}" is not a colour such as #2f5d50', "brand", key,
                         effect="mails would show nothing in its place", help=f'write {key} = "#2f5d50", with three or six digits')  # fmt: skip
            near = get_close_matches(key, BRAND, n=1, cutoff=0.8) if key not in BRAND else []
            if near:
                effect = f"templates find it as brand.{key}; {near[0]} keeps its default"
                self.add("S104", f'"{key}" is no key of [brand] that the layouts use', "brand", key, key=True,
                         severity="warning", effect=effect, help=f'did you mean "{near[0]}"?', fixable=True)  # fmt: skip
        return brand

    def _shop(self) -> Shop:
        known = {item.name for item in fields(Shop)} - {"extra"}
        default = Shop()
        values = {key: self.text("shop", key, getattr(default, key)) for key in sorted(known)}
        if not is_zone(values["timezone"]):
            self.add(
                "S105",
                f'"{values["timezone"]}" is not an IANA time zone',
                "shop",
                "timezone",
                help=did_you_mean(values["timezone"], available_timezones()) or "for example Europe/Berlin",
            )
            values["timezone"] = "UTC"
        extra = {key: value for key, value in self.table("shop").items() if key not in known}
        for key in sorted(set(extra) - set(SECTIONS["shop"])):
            # Any key may stand in [shop], for templates; one that nearly is a known one hardly was meant so.
            near = get_close_matches(key, SECTIONS["shop"], n=1, cutoff=0.8)
            if near:
                effect = f"templates find it as shop.{key}; {near[0]} keeps its default"
                hint = f'did you mean "{near[0]}"?'
                self.add("S104", f'"{key}" is no key of [shop] that Homing uses', "shop", key, key=True,
                         severity="warning", effect=effect, help=hint, fixable=is_sure(key, SECTIONS["shop"]))  # fmt: skip
        return Shop(**values, extra=extra)

    def _delivery(self) -> Delivery:
        mode = self.text("delivery", "mode", "sandbox")
        if mode not in ("sandbox", "live"):
            self.add(
                "S106",
                f'mode is "sandbox" or "live", not "{mode}"',
                "delivery",
                "mode",
                help=did_you_mean(mode, ["sandbox", "live"]) or 'write "sandbox" or "live"',
                fixable=is_sure(mode, ["sandbox", "live"]),
            )
        provider = self.text("delivery", "provider", "mailbox")
        options = self.table("delivery").get(provider, {})
        rate = self.text("delivery", "rate", "20/s")
        if not _RATE.fullmatch(rate):
            self.add(
                "S103",
                f'"{rate}" is not a rate such as 20/s',
                "delivery",
                "rate",
                help='write "20/s" or "500/h"',
            )
        for number, entry in enumerate(self.texts("delivery", "allow", ())):
            if not _ALLOWED.fullmatch(entry):
                self.add("S103", f'"{entry}" is neither an address nor an @domain', "delivery", "allow", str(number),
                         severity="warning", effect="it lets nobody through", help='write "me@shop.test" or "@shop.test"')  # fmt: skip
        return Delivery(
            "live" if mode == "live" else "sandbox", provider, self.texts("delivery", "allow", ()), rate,
            options if isinstance(options, dict) else {}, self._domains(),
        )  # fmt: skip

    def _domains(self) -> Mapping[str, str]:
        """Read `[delivery.domains]`: how fast mails may come in at some domains."""
        told = self.table("delivery").get("domains", {})
        rates: dict[str, str] = {}
        for domain, rate in told.items() if isinstance(told, dict) else ():
            if isinstance(rate, str) and _RATE.fullmatch(rate) and _DOMAIN.fullmatch(domain):
                rates[domain.lower()] = rate
            else:
                self.add("S103", f'"{domain}" = "{rate}" is no domain and its rate', "delivery", "domains", domain,
                         effect="mails to that domain would leave at the full rate", help='write "docomo.ne.jp" = "5/s"')  # fmt: skip
        if not isinstance(told, dict):
            self.add("S103", "domains is a table of rates", "delivery", "domains",
                     help='write [delivery.domains] and below it "docomo.ne.jp" = "5/s"')  # fmt: skip
        return rates

    def _policy(self) -> Policy:
        default = Policy()
        return Policy(
            quiet_hours=self.parsed("policy", "quiet_hours", QuietHours.parse, default.quiet_hours),
            caps=self._caps(default.caps),
            max_lateness=self.parsed("policy", "max_lateness", Duration.parse, default.max_lateness),
            global_holdout=self.parsed("policy", "global_holdout", percent, default.global_holdout),
            exclude=self.texts("policy", "exclude", ()),
        )

    def _caps(self, default: tuple[Cap, ...]) -> tuple[Cap, ...]:
        if "caps" not in self.table("policy"):
            return default
        caps: list[Cap] = []
        for number, text in enumerate(self.texts("policy", "caps", ())):
            try:
                caps.append(Cap.parse(text))
            except (ValueError, ArithmeticError) as error:
                self.add("S103", str(error), "policy", "caps", str(number), help='write "1 per 16h"')
        return tuple(caps)


def percent(text: object) -> Decimal:
    """Read `10%` as Decimal("0.1"); raise ValueError with a plain sentence.

    >>> percent("10%")
    Decimal('0.1')
    """
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*", str(text))
    if match is None or Decimal(match[1]) > 100:
        raise ValueError(f'"{text}" is not a share such as 10%')
    return Decimal(match[1]) / 100
