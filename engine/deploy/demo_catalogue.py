"""The catalogue of the demo shop: teas, sweets and teaware, made from a seed.

Goes out: `Article` values, each a row of the canonical products file plus what the demo's customers need to choose
(how popular it is, what it is bought with). Titles, prices, brands and pictures are invented.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from engine.deploy.pictures import PATH

SHOP = "https://kiyomi.test"
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Article:
    """One product: `days` is how long one piece lasts a usual drinker, None for what does not run out.

    `pictures` is the address below which its picture is.
    """

    sku: str
    title: str
    category: str
    brand: str
    price: Decimal
    group: str
    days: float | None
    days_stated: bool
    popularity: float
    stock: int
    pictures: str = f"{SHOP}{PATH}"

    def row(self, at: str, **changes: Any) -> dict[str, Any]:
        """Return the canonical products row as of a time, with some fields changed."""
        row: dict[str, Any] = {
            "sku": self.sku,
            "updated_at": at,
            "title": self.title,
            "category": self.category,
            "brand": self.brand,
            "price": str(self.price),
            "currency": "EUR",
            "url": f"{SHOP}/products/{self.group}?variant={self.sku}",
            "image_url": f"{self.pictures}/{_picture(self)}.png",
            "stock": self.stock,
            "available": True,
            "group": self.group,
        }
        if self.days is not None and self.days_stated:
            row["days_of_supply"] = self.days
        return {**row, **changes}


# category: (letters of the sku, brands, [(name, price of 100 g)], grams a day)
_LOOSE: dict[str, tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], float]] = {
    "green tea": (
        "GRN", ("Kiyomi", "Uji Garden", "Yame Hills"),
        (("Sencha Asatsuyu", "11.90"), ("Sencha Fukamushi", "13.50"), ("Gyokuro Shade", "28.00"), ("Genmaicha", "7.90"),
         ("Hojicha Roast", "8.50"), ("Bancha Autumn", "5.90"), ("Kukicha Stem", "7.50"), ("Tamaryokucha", "12.80"),
         ("Dragon Well", "15.90"), ("Green Spring Snail", "17.50"), ("Jasmine Pearls", "16.90"), ("Kabusecha", "18.50")),
        4.0,
    ),
    "black tea": (
        "BLK", ("Kiyomi", "Hill Station", "Old Harbour"),
        (("Darjeeling First Flush", "19.90"), ("Darjeeling Second Flush", "16.50"), ("Assam Golden Tips", "9.90"),
         ("Ceylon Uva", "8.50"), ("Earl Grey", "7.90"), ("Lady Grey", "8.20"), ("English Breakfast", "6.90"),
         ("East Frisian Blend", "7.20"), ("Keemun", "12.50"), ("Lapsang Souchong", "10.90"), ("Yunnan Gold", "18.90"),
         ("Masala Chai", "7.90")),
        5.0,
    ),
    "oolong": (
        "OOL", ("Formosa Peak", "Kiyomi"),
        (("Alishan High Mountain", "24.90"), ("Dong Ding", "19.90"), ("Oriental Beauty", "29.90"), ("Tie Guan Yin", "17.90"),
         ("Milk Oolong", "14.90"), ("Baozhong", "16.90"), ("Da Hong Pao", "26.50"), ("Honey Oolong", "18.50")),
        5.0,
    ),
    "white tea": (
        "WHT", ("Kiyomi", "Fuding Valley"),
        (("Silver Needle", "27.50"), ("White Peony", "14.90"), ("Moonlight White", "18.90"), ("Aged White Cake", "22.00")),
        4.0,
    ),
    "herbal tea": (
        "HRB", ("Wild Meadow", "Kiyomi"),
        (("Chamomile", "4.90"), ("Peppermint", "4.50"), ("Lemon Verbena", "7.90"), ("Ginger and Lemon", "5.90"),
         ("Mountain Herbs", "6.50"), ("Fennel, Anise, Caraway", "4.90"), ("Rose Hip", "4.50"), ("Elderflower", "6.90"),
         ("Buckwheat", "6.20"), ("Evening Calm", "6.90")),
        4.0,
    ),
    "rooibos": (
        "ROO", ("Red Cedar", "Kiyomi"),
        (("Rooibos Pure", "4.90"), ("Rooibos Vanilla", "5.90"), ("Rooibos Orange", "5.90"), ("Honeybush", "6.50"),
         ("Rooibos Chai", "6.20")),
        5.0,
    ),
}  # fmt: skip
_PACKS = ((50, Decimal("0.58")), (100, Decimal("1")), (250, Decimal("2.25")), (500, Decimal("4.20")))

# category: (letters, brand, [(name, price, days a piece lasts or None)])
_PIECES: dict[str, tuple[str, str, tuple[tuple[str, str, float | None], ...]]] = {
    "matcha": (
        "MAT", "Uji Garden",
        (("Ceremonial Matcha 30 g", "24.90", 20), ("Everyday Matcha 30 g", "15.90", 20), ("Everyday Matcha 100 g", "39.00", 60),
         ("Cooking Matcha 100 g", "14.90", 45), ("Cooking Matcha 250 g", "29.90", 110), ("First Harvest Matcha 20 g", "32.00", 14),
         ("Hojicha Powder 50 g", "12.90", 30)),
    ),
    "teaware": (
        "WAR", "Kiln & Clay",
        (("Kyusu Teapot Black", "48.00", None), ("Kyusu Teapot Red Clay", "52.00", None), ("Glass Teapot 1 l", "29.90", None),
         ("Gaiwan White", "24.00", None), ("Travel Gaiwan Set", "39.00", None), ("Bamboo Whisk", "18.90", None),
         ("Matcha Bowl Moss", "34.00", None), ("Matcha Bowl Snow", "34.00", None), ("Bamboo Scoop", "6.90", None),
         ("Whisk Holder", "9.90", None), ("Yunomi Cup Blue", "14.90", None), ("Yunomi Cup Sand", "14.90", None),
         ("Double-Walled Glass", "12.90", None), ("Cast Iron Teapot", "69.00", None), ("Cast Iron Warmer", "29.00", None),
         ("Temperature Kettle", "89.00", None), ("Tea Scale", "24.90", None), ("Tea Timer", "12.50", None),
         ("Basket Strainer", "8.90", None), ("Paper Filters 100", "4.90", 50), ("Tea Tin Cherry Bark", "42.00", None),
         ("Tea Tin Washi", "9.90", None), ("Storage Jar 500 ml", "14.90", None), ("Tasting Cup Set", "36.00", None),
         ("Cold Brew Bottle", "19.90", None), ("Thermos Tumbler", "27.90", None), ("Tea Tray Bamboo", "44.00", None),
         ("Cleaning Brush", "5.50", None), ("Descaler 250 ml", "7.90", 90), ("Tea Towel Linen", "11.90", None)),
    ),
    "sweets": (
        "SWT", "Little Wagashi",
        (("Yokan Azuki", "7.90", 14), ("Yokan Chestnut", "9.50", 14), ("Mochi Assortment", "8.90", 7), ("Matcha Chocolate", "5.90", 10),
         ("Hojicha Chocolate", "5.90", 10), ("Shortbread Earl Grey", "6.50", 10), ("Almond Biscotti", "6.90", 10),
         ("Rice Crackers Nori", "4.50", 7), ("Pineapple Cakes", "12.90", 10), ("Candied Ginger", "5.50", 20),
         ("Rock Sugar", "3.90", 40), ("Clotted Cream Fudge", "6.90", 12), ("Honey Acacia", "7.90", 45), ("Honey Lime Blossom", "8.50", 45),
         ("Sesame Brittle", "4.90", 10), ("Oat Milk Barista 6 pack", "14.90", 21)),
    ),
    "gift sets": (
        "GFT", "Kiyomi",
        (("Green Tea Tasting Box", "29.00", None), ("Black Tea Tasting Box", "27.00", None), ("Oolong Tasting Box", "35.00", None),
         ("Matcha Starter Set", "59.00", None), ("Tea Advent Calendar", "49.00", None), ("Tea for Two", "44.00", None),
         ("Caffeine-Free Evening Box", "24.00", None), ("New Home Set", "79.00", None), ("Spring Picnic Set", "39.00", None),
         ("Thank-You Tin", "16.00", None), ("Birthday Tin", "16.00", None), ("Gift Card 50", "50.00", None)),
    ),
}  # fmt: skip

# Who buys the left is offered the right by taste: what makes "bought together" find something.
PAIRS = {
    "Ceremonial Matcha 30 g": ("Bamboo Whisk", "Matcha Bowl Moss"),
    "Everyday Matcha 30 g": ("Bamboo Whisk", "Oat Milk Barista 6 pack"),
    "Everyday Matcha 100 g": ("Oat Milk Barista 6 pack", "Whisk Holder"),
    "Sencha Asatsuyu": ("Kyusu Teapot Black", "Yunomi Cup Blue"),
    "Sencha Fukamushi": ("Kyusu Teapot Red Clay", "Yokan Azuki"),
    "Earl Grey": ("Shortbread Earl Grey", "Tea Towel Linen"),
    "English Breakfast": ("Clotted Cream Fudge", "Basket Strainer"),
    "East Frisian Blend": ("Rock Sugar", "Cast Iron Warmer"),
    "Alishan High Mountain": ("Gaiwan White", "Pineapple Cakes"),
    "Tie Guan Yin": ("Travel Gaiwan Set", "Tasting Cup Set"),
    "Ginger and Lemon": ("Honey Acacia", "Candied Ginger"),
}


# What is drawn in docs/pictures/products.py: of some titles their own picture, of a category four to take turns.
_PICTURES = {
    "pot-black": ("Kyusu Teapot Black", "Cast Iron"), "pot-red": ("Kyusu Teapot Red",),
    "pot-glass": ("Glass Teapot", "Cold Brew", "Descaler"), "gaiwan": ("Gaiwan", "Travel Gaiwan"),
    "whisk": ("Bamboo Whisk", "Bamboo Scoop", "Whisk Holder", "Cleaning Brush"), "bowl-moss": ("Matcha Bowl Moss",),
    "bowl-snow": ("Matcha Bowl Snow", "Basket Strainer"), "cup-blue": ("Yunomi Cup Blue", "Tasting Cup"),
    "cup-sand": ("Yunomi Cup Sand", "Thermos"), "glass": ("Double-Walled", "Tea Timer"), "kettle": ("Temperature Kettle",),
    "caddy": ("Tea Tin",), "jar": ("Storage Jar",), "case": ("Tea Tray", "Tea Scale", "Tea Towel", "Paper Filters"),
    "sweets-2": ("Mochi", "Shortbread"), "sweets-3": ("Yokan", "Matcha Chocolate", "Hojicha Chocolate", "Almond"),
    "sweets-4": ("Honey", "Rock Sugar", "Candied Ginger", "Oat Milk"), "sweets-1": ("Pineapple", "Clotted", "Sesame", "Rice"),
}  # fmt: skip
_OF_TITLE = tuple((start, name) for name, starts in _PICTURES.items() for start in starts)
_OF_CATEGORY = {"gift sets": "gift"}


def _picture(article: Article) -> str:
    """Return the name of the article's picture."""
    own = next((name for start, name in _OF_TITLE if article.title.startswith(start)), None)
    number = int(article.group.split("-")[1])
    kind = _OF_CATEGORY.get(article.category, article.category.replace(" ", "-"))
    return own or f"{kind}-{number % 4 + 1}"


def make_catalogue(rng: random.Random, size: int, pictures: str = f"{SHOP}{PATH}") -> list[Article]:
    """Return exactly `size` articles, the same for the same seed; popularity falls off as in real shops (1/rank).

    >>> [article.sku for article in make_catalogue(random.Random(1), 3)]
    ['GRN-001-050', 'GRN-001-100', 'GRN-001-250']
    """
    articles = list(_all_articles(rng))[:size]
    if len(articles) < size:
        articles += _more_harvests(articles, size - len(articles))
    ranks = list(range(1, len(articles) + 1))
    rng.shuffle(ranks)
    return [
        replace(article, popularity=1 / rank**0.8, pictures=pictures)
        for article, rank in zip(articles, ranks, strict=True)
    ]


def _all_articles(rng: random.Random) -> Iterator[Article]:
    for category, (letters, brands, teas, grams) in _LOOSE.items():
        for number, (name, price) in enumerate(teas, 1):
            brand, stated = rng.choice(brands), rng.random() < 0.6
            for weight, factor in _PACKS:
                group = f"{letters}-{number:03d}"
                cost = (Decimal(price) * factor).quantize(CENT)
                days = round(weight / grams / 1.5, 1)
                yield Article(
                    f"{group}-{weight:03d}",
                    f"{name} {weight} g",
                    category,
                    brand,
                    cost,
                    group,
                    days,
                    stated,
                    1.0,
                    rng.randint(12, 400),
                )
    for category, (letters, brand, pieces) in _PIECES.items():
        for number, (name, price, lasts) in enumerate(pieces, 1):
            sku = f"{letters}-{number:03d}"
            yield Article(
                sku,
                name,
                category,
                brand,
                Decimal(price),
                sku,
                lasts,
                rng.random() < 0.6,
                1.0,
                rng.randint(4, 150),
            )


def _more_harvests(known: list[Article], count: int) -> list[Article]:
    """Return further harvests of what is there, for shops that are to be larger."""
    more: list[Article] = []
    for number in range(count):
        source, harvest = known[number % len(known)], number // len(known) + 2
        more.append(
            replace(
                source,
                sku=f"{source.sku}-H{harvest}",
                group=f"{source.group}-H{harvest}",
                title=f"{source.title}, harvest {harvest}",
            )
        )
    return more
