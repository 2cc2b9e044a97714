"""What a person is called in full, in the order of the script that the name is written in.

Comes in: the first and the last name as the shop knows them. Goes out: one line, such as for the `To` of a mail. Promises:
names in Han, kana or Hangul stand family first, as everybody who reads these scripts writes them; all others as given.
"""

from __future__ import annotations

import re

# Ranges of the Unicode Standard, chapter 18 (East Asia): kana, CJK ideographs with extension A, Hangul, compatibility forms.
_KANA = "\u3040-\u30ff\uff66-\uff9f"
_EAST_ASIAN = re.compile(rf"[{_KANA}\u3005\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+\Z")
_KANA_ALONE = re.compile(rf"[{_KANA}]+\Z")


def full_name(first: str | None, last: str | None) -> str:
    """Return a person's full name; empty where neither part is known.

    A name of kana alone keeps a space between its parts, as nothing else tells where one ends.

    >>> full_name("Grace", "Okafor"), full_name("結衣", "佐藤"), full_name("ユイ", "サトウ"), full_name("Ann", None)
    ('Grace Okafor', '佐藤結衣', 'サトウ ユイ', 'Ann')
    """
    parts = [part.strip() for part in (first, last) if part and part.strip()]
    if len(parts) < 2 or not all(_EAST_ASIAN.match(part) for part in parts):
        return " ".join(parts)
    return (" " if any(_KANA_ALONE.match(part) for part in parts) else "").join(reversed(parts))
