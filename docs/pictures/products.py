"""Draws the product pictures of the demo shop; needs Chromium.

Comes in: the shapes below. Goes out: `engine/deploy/demo_pictures/NAME.png`, 480 pixels square, in at most 256 colours,
so that they weigh little. Run it after a shape has changed:

    .venv/bin/python docs/pictures/products.py
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "engine" / "deploy" / "demo_pictures"
SIZE = 480
ACROSS = 8  # pictures in a row of the sheet that the browser draws at once
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAPER = "#f8f3e7"

# wall, table, and for each of four harvests the tin's colour
TEAS = {
    "green-tea": ("#e6eadb", "#d6ddc6", ("#4f6b4a", "#7a9160", "#2f5d50", "#9aa86b")),
    "black-tea": ("#f0e2d6", "#e4d1c0", ("#7c3f2f", "#a4633d", "#53312b", "#b98547")),
    "oolong": ("#efe7d3", "#e2d7bb", ("#8f6d32", "#4c5f5a", "#b08d4c", "#6d5a3c")),
    "white-tea": ("#e9e9e6", "#dbdbd6", ("#8d958f", "#b4ab97", "#6f7b7d", "#c3b8a2")),
    "herbal-tea": ("#e3ebe6", "#d1ddd5", ("#5d8070", "#c08a4a", "#8a6d8f", "#a35d4e")),
    "rooibos": ("#f4e0d3", "#e9cdbb", ("#a8492f", "#c9743f", "#8a3a2c", "#d59a5f")),
    "matcha": ("#e5ecd6", "#d5e0bf", ("#5f7f33", "#86a24a", "#43602c", "#a3b96a")),
}
ROOMS = {"teaware": ("#e8e4dd", "#d9d3c8"), "sweets": ("#f3e4e0", "#e8d2cb"), "gifts": ("#e2e8ea", "#cfd9dc")}


def shade(colour: str, by: float) -> str:
    """Return a colour that is darker (below 0) or lighter."""
    end = 255 if by > 0 else 0
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + (end - part) * abs(by)):02x}" for part in parts)


def rounded(colour: str, outline: str, *, dark: str | None = None) -> str:
    """Return a body of one colour: a shade along its right side and a thin light along its left."""
    name = f"c{zlib.crc32((colour + outline).encode()):x}"
    return (
        f'<clipPath id="{name}"><path d="{outline}"/></clipPath><path d="{outline}" fill="{colour}"/>'
        f'<g clip-path="url(#{name})"><path d="M480 0H330q-34 240 0 480h150z" fill="{dark or shade(colour, -0.16)}"/>'
        f'<path d="M0 0h168q-30 240 0 480H0z" fill="{shade(colour, 0.13)}"/></g>'
    )


def shadow(x: int, y: int, width: int) -> str:
    """Return what a thing leaves on the table."""
    return f'<ellipse cx="{x + 14}" cy="{y}" rx="{width}" ry="{max(8, width // 9)}" fill="#2b2417" opacity=".13"/>'


def room(wall: str, table: str) -> str:
    """Return the ground of a picture."""
    return f'<rect width="480" height="480" fill="{wall}"/><rect y="352" width="480" height="128" fill="{table}"/>'


SIGNS = (
    '<path d="M240 262c-34-10-40-44-6-74 34 22 36 60 6 74zm0 0v22" fill="{0}" stroke="{0}" stroke-width="4"/>',
    '<path d="M196 272l30-52 18 26 14-20 28 46z" fill="{0}"/><circle cx="262" cy="204" r="11" fill="{0}"/>',
    '<circle cx="240" cy="226" r="34" fill="none" stroke="{0}" stroke-width="6"/><path d="M214 240q13-12 26 0t26 0" fill="none" stroke="{0}" stroke-width="6"/>',
    '<path d="M240 280c-6-36-34-40-38-70 30 0 38 22 38 40 0-18 8-40 38-40-4 30-32 34-38 70z" fill="{0}"/>',
)


def tin(colour: str, sign: int, *, height: int = 236, width: int = 164) -> str:
    """Return a tea tin with its label."""
    left, top = 240 - width // 2, 396 - height
    body = f"M{left} {top + 36}h{width}v{height - 46}q0 14-14 14h-{width - 28}q-14 0-14-14z"
    lid = f"M{left - 3} {top + 10}q0-10 10-10h{width - 14}q10 0 10 10v36h-{width + 6}z"
    label_top = 240 - 62 + (396 - height - 160) // 2
    drawn = SIGNS[sign % len(SIGNS)].format(shade(colour, -0.1))
    return (
        shadow(240, 396, width // 2 + 26)
        + rounded(colour, body)
        + rounded(shade(colour, -0.12), lid)
        + f'<rect x="{left}" y="{top + 44}" width="{width}" height="4" fill="{shade(colour, -0.3)}"/>'
        + f'<g transform="translate(0 {label_top - 168 + 20})"><rect x="{left + 22}" y="166" width="{width - 44}" height="142" rx="4" fill="{PAPER}"/>'
        + f'{drawn}<path d="M{240 - 26} 294h52" stroke="{shade(colour, -0.1)}" stroke-width="3"/></g>'
    )


def pouch(colour: str, sign: int) -> str:
    """Return a paper bag with a folded top."""
    body = "M150 176l14-64h152l14 64-8 208q0 12-12 12H170q-12 0-12-12z"
    drawn = SIGNS[sign % len(SIGNS)].format(shade(colour, -0.1))
    return (
        shadow(240, 396, 110)
        + rounded(shade(colour, 0.12), body)
        + f'<path d="M164 112h152l5 22H159z" fill="{shade(colour, -0.14)}"/><path d="M154 156h172" stroke="{shade(colour, -0.1)}" stroke-width="3"/>'
        + f'<g transform="translate(0 36)"><circle cx="240" cy="230" r="66" fill="{PAPER}"/>{drawn}</g>'
    )


def caddy(colour: str, sign: int) -> str:
    """Return a small round tin beside a heap of powder or leaves."""
    return f'<g transform="translate(15 111) scale(.72)">{tin(colour, sign)}</g>' + (
        shadow(352, 396, 62)
        + f'<path d="M290 396q16-50 62-56 46 6 62 56z" fill="{shade(colour, 0.1)}"/>'
        + f'<path d="M352 340q46 6 62 56h-44q-2-40-18-56z" fill="{shade(colour, -0.14)}"/>'
    )


def cup(colour: str, *, tea: str = "#b9a35c") -> str:
    """Return a cup without a handle."""
    body = "M150 232h180q4 92-34 150-4 8-14 8h-84q-10 0-14-8-38-58-34-150z"
    return (
        shadow(240, 392, 112)
        + rounded(colour, body)
        + f'<ellipse cx="240" cy="232" rx="90" ry="20" fill="{shade(colour, -0.22)}"/><ellipse cx="240" cy="236" rx="78" ry="14" fill="{tea}"/>'
    )


def bowl(colour: str) -> str:
    """Return a matcha bowl."""
    body = "M112 236h256q-4 108-72 146v12h-112v-12q-68-38-72-146z"
    return (
        shadow(240, 394, 128)
        + rounded(colour, body)
        + f'<ellipse cx="240" cy="236" rx="128" ry="26" fill="{shade(colour, -0.22)}"/><ellipse cx="240" cy="241" rx="112" ry="19" fill="#86a24a"/>'
        + '<path d="M196 238q20 8 44 0t44 0" fill="none" stroke="#a3b96a" stroke-width="4" stroke-linecap="round"/>'
    )


def kyusu(colour: str) -> str:
    """Return a side-handled pot."""
    body = "M132 300q0-84 108-84t108 84-60 92H192q-60-8-60-92z"
    return (
        shadow(240, 393, 128)
        + f'<path d="M330 268l92-34q12-4 16 6l4 12q3 10-8 14l-92 34z" fill="{shade(colour, -0.2)}"/>'
        + f'<path d="M150 288L86 226q-10-8 0-16l10-8 82 56z" fill="{shade(colour, 0.06)}"/>'
        + rounded(colour, body)
        + f'<ellipse cx="240" cy="222" rx="70" ry="15" fill="{shade(colour, -0.24)}"/>'
        + rounded(shade(colour, -0.06), "M178 216q8-34 62-34t62 34q-28 12-62 12t-62-12z")
        + f'<circle cx="240" cy="176" r="14" fill="{shade(colour, -0.2)}"/>'
    )


def glass_pot() -> str:
    """Return a glass pot with tea in it."""
    return (
        shadow(240, 393, 120)
        + '<path d="M336 250q76-2 70 62-6 48-76 46" fill="none" stroke="#b9cccb" stroke-width="16"/>'
        + '<path d="M156 292l-60-60q-8-10 4-16l14-4 56 46z" fill="#cfdedd"/>'
        + '<path d="M138 300q0-92 102-92t102 92-46 92H184q-46 0-46-92z" fill="#d9e6e4"/>'
        + '<path d="M141 306h198q-2 86-44 86H185q-42 0-44-86z" fill="#c98b3a"/><path d="M297 306h42q-2 86-44 86h-20q22-30 22-86z" fill="#b37628"/>'
        + '<path d="M168 262q-14 44 2 92" fill="none" stroke="#f4faf9" stroke-width="8" stroke-linecap="round" opacity=".8"/>'
        + '<rect x="192" y="192" width="96" height="20" rx="8" fill="#b9cccb"/><circle cx="240" cy="180" r="13" fill="#9fb5b4"/>'
    )


def gaiwan(colour: str) -> str:
    """Return a lidded bowl on its saucer."""
    return (
        shadow(240, 397, 126)
        + f'<path d="M122 376h236q-8 20-60 20H182q-52 0-60-20z" fill="{shade(colour, -0.14)}"/>'
        + rounded(colour, "M146 256h188q-6 88-54 118h-80q-48-30-54-118z")
        + rounded(shade(colour, 0.06), "M160 250q10-54 80-54t80 54q-34 14-80 14t-80-14z")
        + f'<rect x="216" y="178" width="48" height="20" rx="8" fill="{shade(colour, -0.12)}"/>'
        + '<path d="M206 312q34-24 68 0" fill="none" stroke="#6f8fa8" stroke-width="5"/><circle cx="240" cy="326" r="7" fill="#6f8fa8"/>'
    )


def whisk() -> str:
    """Return a bamboo whisk."""
    tines = "".join(
        f'<path d="M240 232Q{240 + at * 6} 280 {240 + at * 9} 392" fill="none" stroke="{"#cdb27a" if at % 2 else "#dcc692"}" stroke-width="6"/>'
        for at in range(-8, 9)
    )
    return (
        shadow(240, 394, 96)
        + tines
        + rounded("#d8bd84", "M206 108q0-12 34-12t34 12l6 128q-40 14-80 0z")
        + '<path d="M201 214q39 14 78 0l1 16q-40 14-80 0z" fill="#5a4a2f"/>'
    )


def kettle() -> str:
    """Return a kettle with a swan's neck."""
    return (
        shadow(240, 393, 126)
        + '<path d="M152 330q-70-10-58-96 4-30-20-40" fill="none" stroke="#575c60" stroke-width="15" stroke-linecap="round"/>'
        + '<path d="M316 206q92-6 84 74-4 48-48 66" fill="none" stroke="#3c3f42" stroke-width="18" stroke-linecap="round"/>'
        + rounded("#6d7377", "M166 216h148l30 160q2 18-18 18H154q-20 0-18-18z")
        + '<rect x="162" y="202" width="156" height="20" rx="8" fill="#3c3f42"/><circle cx="240" cy="190" r="14" fill="#3c3f42"/>'
    )


def box(colour: str, ribbon: str) -> str:
    """Return a box with a ribbon."""
    return (
        shadow(240, 397, 132)
        + rounded(colour, "M124 250h232v134q0 12-12 12H136q-12 0-12-12z")
        + rounded(shade(colour, 0.08), "M112 208h256q6 0 6 6v40H106v-40q0-6 6-6z")
        + f'<rect x="222" y="208" width="36" height="188" fill="{ribbon}"/><rect x="246" y="208" width="12" height="188" fill="{shade(ribbon, -0.14)}"/>'
        + f'<path d="M240 206q-70 4-74-34 4-30 74 34zm0 0q70 4 74-34-4-30-74 34z" fill="{ribbon}"/>'
        + f'<path d="M240 206q40-36 66-42" fill="none" stroke="{shade(ribbon, -0.2)}" stroke-width="4"/>'
    )


def sweets(colour: str, number: int) -> str:
    """Return sweets on a plate."""
    plate = (
        shadow(240, 396, 146)
        + '<path d="M92 366h296q-10 30-82 30H174q-72 0-82-30z" fill="#fbf7ee"/><path d="M330 366h58q-10 30-82 30h-20q40-8 44-30z" fill="#e6dfd0"/>'
    )
    rolls = (
        rounded(colour, "M128 366v-66q0-12 12-12h76q12 0 12 12v66z")
        + rounded(shade(colour, -0.14), "M252 366v-66q0-12 12-12h76q12 0 12 12v66z")
        + rounded(shade(colour, 0.14), "M190 288v-58q0-12 12-12h76q12 0 12 12v58z")
    )
    balls = "".join(
        f'<circle cx="{x}" cy="{y}" r="45" fill="{tone}"/><path d="M{x + 10} {y - 44}q50 10 34 62-16 32-50 26 40-30 16-88z" fill="{shade(tone, -0.12)}"/>'
        for x, y, tone in (
            (166, 322, colour),
            (314, 322, shade(colour, 0.24)),
            (240, 316, shade(colour, -0.2)),
        )
    )
    bars = "".join(
        f'<rect x="{132 + 74 * at}" y="{246 - 14 * (at % 2)}" width="60" height="{120 + 14 * (at % 2)}" rx="6" fill="{tone}"/>'
        f'<rect x="{176 + 74 * at}" y="{246 - 14 * (at % 2)}" width="16" height="{120 + 14 * (at % 2)}" rx="6" fill="{shade(tone, -0.14)}"/>'
        for at, tone in enumerate((colour, shade(colour, -0.24), shade(colour, 0.2)))
    )
    jar = (
        rounded(shade(colour, 0.1), "M176 232h128q16 0 16 20v96q0 18-18 18H178q-18 0-18-18v-96q0-20 16-20z")
        + f'<rect x="170" y="200" width="140" height="34" rx="8" fill="{shade(colour, -0.34)}"/><rect x="188" y="268" width="104" height="66" rx="4" fill="{PAPER}"/>'
        + f'<path d="M214 300h52" stroke="{shade(colour, -0.34)}" stroke-width="4"/>'
    )
    return plate + (rolls, balls, bars, jar)[number]


def pictures() -> Iterator[tuple[str, str]]:
    """Yield each picture's name and what is drawn."""
    for kind, (wall, table, colours) in TEAS.items():
        for number, colour in enumerate(colours):
            shape = caddy(colour, number) if kind == "matcha" else (tin, pouch)[number % 2](colour, number)
            yield f"{kind}-{number + 1}", room(wall, table) + shape
    ground = room(*ROOMS["teaware"])
    things = {
        "pot-black": kyusu("#3d3b39"), "pot-red": kyusu("#a2553d"), "pot-glass": glass_pot(), "gaiwan": gaiwan("#f3f1ea"),
        "whisk": whisk(), "bowl-moss": bowl("#6f7a52"), "bowl-snow": bowl("#f2efe6"), "cup-blue": cup("#4d6a86"),
        "cup-sand": cup("#d3bd98"), "glass": cup("#d5e3e2", tea="#c98b3a"), "kettle": kettle(),
        "caddy": tin("#8a4a34", 3, height=190, width=150), "jar": sweets("#cfd8d4", 3), "case": box("#b9a27a", "#5a4a2f"),
    }  # fmt: skip
    for name, shape in things.items():
        yield name, ground + shape
    for number, colour in enumerate(("#8a4f4a", "#d8a9a0", "#5f4632", "#d9a441")):
        yield f"sweets-{number + 1}", room(*ROOMS["sweets"]) + sweets(colour, number)
    for number, (colour, ribbon) in enumerate(
        (("#2f5d50", "#e8d9b5"), ("#f1ead9", "#a8492f"), ("#7b8fa1", "#f8f3e7"), ("#b5552f", "#f1ead9"))
    ):
        yield f"gift-{number + 1}", room(*ROOMS["gifts"]) + box(colour, ribbon)


def main() -> None:
    """Draw all of them on one sheet, and cut it up."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"needs one of: {', '.join(BROWSERS)}")
    drawn = list(pictures())
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.png"
        draw(browser, drawn, sheet)
        width, pixels = read_png(sheet.read_bytes())
    FOLDER.mkdir(exist_ok=True)
    for place, (name, _) in enumerate(drawn):
        left, top = place % ACROSS * SIZE, place // ACROSS * SIZE
        rows = [pixels[(top + y) * width + left : (top + y) * width + left + SIZE] for y in range(SIZE)]
        (FOLDER / f"{name}.png").write_bytes(write_png(rows))
    total = sum(path.stat().st_size for path in FOLDER.glob("*.png"))
    sys.stdout.write(f"{len(drawn)} pictures, {total // 1024} KB\n")


def draw(browser: str, drawn: list[tuple[str, str]], sheet: Path) -> None:
    """Have the browser draw a sheet of all pictures."""
    down = -(-len(drawn) // ACROSS)
    cells = "".join(
        f'<svg x="{place % ACROSS * SIZE}" y="{place // ACROSS * SIZE}" width="{SIZE}" height="{SIZE}" viewBox="42 66 400 400">{shape}</svg>'
        for place, (_, shape) in enumerate(drawn)
    )
    page = sheet.with_suffix(".html")
    page.write_text(
        f'<!doctype html><body style="margin:0"><svg xmlns="http://www.w3.org/2000/svg" width="{SIZE * ACROSS}" height="{SIZE * down}">{cells}</svg>',
        encoding="utf-8",
    )
    subprocess.run(  # noqa: S603 - the browser of this machine, on a page of our own
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
         f"--window-size={SIZE * ACROSS},{SIZE * down}", f"--screenshot={sheet}", page.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip


def read_png(raw: bytes) -> tuple[int, list[tuple[int, int, int]]]:
    """Return width and pixels of a PNG as browsers write them: 8 bits, three or four channels, not interlaced."""
    width, _height, depth, kind = struct.unpack(">IIBB", raw[16:26])
    assert depth == 8
    assert kind in (2, 6)
    data, at = b"", 8
    while at < len(raw):
        (size,) = struct.unpack(">I", raw[at : at + 4])
        if raw[at + 4 : at + 8] == b"IDAT":
            data += raw[at + 8 : at + 8 + size]
        at += size + 12
    step = 3 if kind == 2 else 4
    lines = unfiltered(zlib.decompress(data), width * step, step)
    return width, [
        (line[x], line[x + 1], line[x + 2]) for line in lines for x in range(0, width * step, step)
    ]


def unfiltered(data: bytes, stride: int, step: int) -> Iterator[bytearray]:
    """Yield the rows of a PNG's data with their filters undone."""
    above = bytearray(stride)
    for start in range(0, len(data), stride + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
        for x in range(stride) if kind else ():
            left, up = row[x - step] if x >= step else 0, above[x]
            corner = above[x - step] if x >= step else 0
            row[x] = (row[x] + (left, up, (left + up) // 2, paeth(left, up, corner))[kind - 1]) & 255
        yield row
        above = row


def paeth(left: int, up: int, corner: int) -> int:
    """Return the neighbour that is nearest to left + up - corner (PNG's fourth filter)."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def write_png(rows: list[list[tuple[int, int, int]]]) -> bytes:
    """Return a PNG of the rows' 256 commonest colours; the others become the nearest of them."""
    counted = Counter(pixel for row in rows for pixel in row)
    palette = [colour for colour, _ in counted.most_common(256)]
    index = {colour: place for place, colour in enumerate(palette)}
    for colour in counted:
        if colour not in index:
            index[colour] = min(
                range(len(palette)),
                key=lambda at: sum((a - b) ** 2 for a, b in zip(palette[at], colour, strict=True)),
            )
    raw = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", b"".join(map(bytes, palette))),
        (b"IDAT", zlib.compress(raw, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


if __name__ == "__main__":
    main()
