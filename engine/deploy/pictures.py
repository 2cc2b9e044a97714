"""The pictures of the demo shop's products, which also stand in for a sample product's.

A picture's address comes in, its PNG goes out: only the file name counts, so that `homing serve` can answer
`/images/NAME.png` and a preview can show what is on no server. `docs/pictures/products.py` draws them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

PATH = "/images"
"""Where `homing serve` has the pictures, below `[web] url`."""

_FOLDER = Path(__file__).with_name("demo_pictures")


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the file names of all pictures."""
    return frozenset(path.name for path in _FOLDER.glob("*.png"))


@lru_cache(maxsize=64)
def picture(address: str) -> bytes | None:
    """Return the PNG that an address means by its last part; None where there is none of that name."""
    name = address.rpartition("/")[2]
    return (_FOLDER / name).read_bytes() if name in names() else None
