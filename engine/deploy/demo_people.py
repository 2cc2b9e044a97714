"""The customers of the demo shop: invented people of several countries, languages and time zones.

Goes out: `Person` values: a row of the canonical customers file, the consents given, and how this person shops.
Names are common given and family names put together by chance; every address ends in @example.test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Land:
    """A country the shop ships to: language, zones, common names, days a parcel takes, share of the customers."""

    country: str
    locale: str
    zones: tuple[str, ...]
    names: str
    parcel_days: tuple[int, int]
    share: int


LANDS = (
    Land("DE", "de", ("Europe/Berlin",), "de", (1, 3), 30),
    Land(
        "US",
        "en-US",
        ("America/New_York", "America/Chicago", "America/Los_Angeles", "America/Denver"),
        "en",
        (5, 10),
        14,
    ),
    Land("JP", "ja", ("Asia/Tokyo",), "ja", (5, 9), 13),
    Land("GB", "en-GB", ("Europe/London",), "en", (3, 6), 11),
    Land("TW", "zh-TW", ("Asia/Taipei",), "zh", (5, 9), 9),
    Land("FR", "fr", ("Europe/Paris",), "fr", (2, 5), 6),
    Land("AT", "de-AT", ("Europe/Vienna",), "de", (2, 4), 5),
    Land("CH", "de-CH", ("Europe/Zurich",), "de", (2, 5), 4),
    Land("NL", "nl", ("Europe/Amsterdam",), "nl", (2, 4), 4),
    Land("AU", "en-AU", ("Australia/Sydney", "Australia/Perth", "Australia/Brisbane"), "en", (7, 14), 3),
    Land("IN", "en-IN", ("Asia/Kolkata",), "in", (6, 12), 1),
)

# Family names and given names, each as written and as spelled in an address.
_NAMES: dict[str, tuple[str, str]] = {
    "de": (
        (
            "Müller/mueller Schmidt Weber Wagner Becker Hoffmann Koch Richter Klein Wolf Schröder/schroeder Neumann Braun Krüger/krueger "
            "Zimmermann Hartmann Lange Krause Lehmann Köhler/koehler Herrmann König/koenig Huber Kaiser Fuchs Vogel Jäger/jaeger Sommer"
        ),
        (
            "Anna Lena Sophie Marie Katharina Julia Laura Hannah Clara Greta Ida Frieda Jürgen/juergen Thomas Stefan Jonas Lukas Paul Felix "
            "Maximilian Karl Emil Anton Matthias Jörg/joerg Sabine Petra Heike Björn/bjoern Zoë/zoe"
        ),
    ),
    "en": (
        (
            "Smith Jones Taylor Brown Wilson Evans Walker Wright Robinson Thompson White Hughes Edwards Green Hall Wood Harris Clarke "
            "O'Neill/oneill O'Brien/obrien Reed Cooper Bailey Bell Ward Morgan Parker Bennett"
        ),
        (
            "Olivia Amelia Isla Ava Grace Lily Emily Sophia Charlotte Harriet George Oliver Noah Jack Arthur Leo Oscar Henry Theodore "
            "James Michael Susan Linda Karen Steven Mary-Jane/maryjane Alexandra Christopher"
        ),
    ),
    "fr": (
        (
            "Martin Bernard Dubois Durand Moreau Laurent Simon Michel Lefèvre/lefevre Leroy Roux Fournier Girard Bonnet Mercier Blanc "
            "Guérin/guerin Faure Rousseau"
        ),
        (
            "Camille Léa/lea Manon Chloé/chloe Inès/ines Jeanne Louise Alice Hugo Louis Gabriel Raphaël/raphael Jules Adam Lucas Théo/theo "
            "François/francois Zoé/zoe Benoît/benoit"
        ),
    ),
    "nl": (
        "Jansen Bakker Visser Smit Meijer Mulder Bos Vos Peters Hendriks Dekker Brouwer Dijkstra Kuiper Postma",
        "Emma Julia Mila Tess Sophie Zoë/zoe Sara Eva Daan Bram Sem Lucas Finn Luuk Thijs Jasper Anneke Willem",
    ),
    "ja": (
        (
            "佐藤/sato 鈴木/suzuki 高橋/takahashi 田中/tanaka 伊藤/ito 渡辺/watanabe 山本/yamamoto 中村/nakamura 小林/kobayashi 加藤/kato "
            "吉田/yoshida 山田/yamada 佐々木/sasaki 山口/yamaguchi 松本/matsumoto 井上/inoue 木村/kimura 林/hayashi 清水/shimizu 斎藤/saito"
        ),
        (
            "陽菜/hina 結衣/yui さくら/sakura 美咲/misaki 葵/aoi 凛/rin 花子/hanako 恵/megumi 直美/naomi 由美子/yumiko 翔太/shota 大輔/daisuke "
            "健太/kenta 蓮/ren 悠斗/yuto 拓海/takumi 誠/makoto 浩/hiroshi 健一/kenichi ひかり/hikari"
        ),
    ),
    "zh": (
        "陳/chen 林/lin 黃/huang 張/chang 李/lee 王/wang 吳/wu 劉/liu 蔡/tsai 楊/yang 許/hsu 鄭/cheng 謝/hsieh 郭/kuo 洪/hung 曾/tseng",
        (
            "雅婷/yating 怡君/yichun 淑芬/shufen 美玲/meiling 佳穎/chiaying 欣怡/hsinyi 詩涵/shihhan 宜庭/yiting 志明/chihming 家豪/chiahao "
            "俊傑/chunchieh 建宏/chienhung 冠宇/kuanyu 承恩/chengen 宗翰/tsunghan 心怡/hsinyi"
        ),
    ),
    "in": (
        "Sharma Patel Iyer Nair Reddy Gupta Khan Das",
        "Priya Ananya Aarav Rohan Meera Arjun Kavya Vikram",
    ),
}
_PARSED = {
    language: tuple(
        tuple(
            (written, latin or written.lower())
            for written, _, latin in (name.partition("/") for name in part.split())
        )
        for part in parts
    )
    for language, parts in _NAMES.items()
}

# How people shop: share, and the shortest and longest personal cycle in days.
KINDS = {
    "regular": (26, (20, 60)),
    "occasional": (36, (70, 170)),
    "gifts": (12, (150, 365)),
    "lapsed": (14, (18, 45)),
    "looking": (12, (0, 0)),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Who this customer is and how they shop; `stops_at` is when they silently stop buying, where they do."""

    number: int
    external_id: str
    land: Land
    joined_at: datetime
    kind: str
    cycle_days: float
    stops_at: datetime | None
    row: dict[str, Any]
    consents: tuple[dict[str, Any], ...]


def make_person(seed: int, number: int, first: datetime, start: datetime, end: datetime) -> Person:
    """Return customer `number` of a seeded shop; the same whatever the number of customers.

    `first` is when the shop's records begin, `start` the present of the demo, `end` its last moment.
    """
    rng = random.Random(f"{seed} person {number}")  # noqa: S311 - a demo is repeatable, not secret
    land = rng.choices(LANDS, [each.share for each in LANDS])[0]
    kind = rng.choices(list(KINDS), [share for share, _ in KINDS.values()])[0]
    joined = _joined(rng, kind, first, start, end)
    shortest, longest = KINDS[kind][1]
    stops = joined + (start - joined) * rng.uniform(0.3, 0.8) if kind == "lapsed" else None
    external_id = f"C{10_000 + number}"
    row = _customer_row(rng, external_id, land, joined)
    return Person(
        number,
        external_id,
        land,
        joined,
        kind,
        rng.uniform(shortest, longest),
        stops,
        row,
        tuple(_consents(rng, external_id, joined, end)),
    )


def _joined(rng: random.Random, kind: str, first: datetime, start: datetime, end: datetime) -> datetime:
    """Return when the customer signed up: mostly before the records begin, some in the demo's own days."""
    if kind == "lapsed":
        return first + (start - first) * rng.uniform(0, 0.4)
    chance = rng.random()
    if chance < 0.6:
        return first + timedelta(minutes=rng.randint(0, 60 * 24 * 20))
    return first + (start - first) * rng.random() if chance < 0.93 else start + (end - start) * rng.random()


def _customer_row(rng: random.Random, external_id: str, land: Land, joined: datetime) -> dict[str, Any]:
    family_names, given_names = _PARSED[land.names]
    (family, family_latin), (given, given_latin) = rng.choice(family_names), rng.choice(given_names)
    row: dict[str, Any] = {
        "external_id": external_id,
        "updated_at": iso(joined),
        "created_at": iso(joined),
        "email": f"{given_latin}.{family_latin}.{external_id[1:]}@example.test",
        "first_name": given,
        "last_name": family,
        "locale": land.locale,
        "country": land.country,
        "favourite": rng.choice(
            ("green tea", "black tea", "oolong", "herbal tea", "matcha", "white tea", "rooibos")
        ),
    }
    if rng.random() < 0.85:
        row["timezone"] = rng.choice(land.zones)
    if rng.random() < 0.62:
        row["birthday"] = _birthday(rng)
    if rng.random() < 0.04:
        del row["first_name"], row["last_name"]  # a guest checkout gives an address only
    if rng.random() < 0.05:
        row["tags"] = ["wholesale"]
    return row


def _birthday(rng: random.Random) -> str:
    if rng.random() < 0.02:
        return rng.choice(("02-29", "1984-02-29", "1996-02-29"))
    born = date(1945, 1, 1) + timedelta(days=rng.randint(0, 62 * 365))
    return born.isoformat() if rng.random() < 0.7 else f"{born:%m-%d}"


def _consents(rng: random.Random, external_id: str, joined: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return what the customer agreed to, in order: most granted, some pending, never asked, or withdrawn later."""
    where = rng.choice(("checkout", "footer form", "account page"))
    wording = "Yes, write to me about my tea and about offers. I can unsubscribe at any time."

    def consent(
        topic: str, state: str, at: datetime, basis: str = "opt_in", source: str = where
    ) -> dict[str, Any]:
        return {
            "customer": external_id, "topic": topic, "state": state, "basis": basis, "at": iso(at), "source": source, "wording": wording,
        }  # fmt: skip

    chance, soon = rng.random(), joined + timedelta(minutes=rng.randint(1, 90))
    if chance < 0.66:
        given = [consent("all", "granted", soon)]
    elif chance < 0.76:
        given = [consent("reminders", "granted", soon)]
    elif chance < 0.80:
        given = [consent("offers", "granted", soon)]
    elif chance < 0.86:
        given = [consent("reminders", "granted", soon, "soft_opt_in", "sale")]
    elif chance < 0.93:
        given = [consent("all", "pending", soon)]
        if rng.random() < 0.5:
            given.append(
                consent("all", "granted", soon + timedelta(hours=rng.randint(1, 40)), source="double opt-in")
            )
    else:
        return []
    if rng.random() < 0.08:
        later = joined + (end - joined) * rng.uniform(0.1, 1.0)
        given.append(
            consent(
                rng.choice(("all", "offers")),
                "withdrawn",
                max(later, soon + timedelta(days=2)),
                source="unsubscribe link",
            )
        )
    return given


def iso(moment: datetime) -> str:
    """Return a moment as the facts files write it: UTC, whole seconds.

    >>> iso(datetime(2026, 3, 1, 9, tzinfo=UTC))
    '2026-03-01T09:00:00+00:00'
    """
    return moment.astimezone(UTC).replace(microsecond=0).isoformat()
