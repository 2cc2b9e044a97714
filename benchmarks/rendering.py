"""How fast mails are made: `make bench-mails`, or `python -m benchmarks.rendering --mails 10000`.

Prints mails a second on one core (processor time) for the plain way and for compiled structures, cold and warm, each with
its text part; beside them Jinja alone over finished HTML and npm's mjml where it is installed (`--node build/mjml`). All
mails are different, and each is compared with its plain self first. MIME is measured against the standard library's.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from time import process_time

from jinja2 import Environment

from benchmarks.mails import different_mails, shop_mails
from engine.delivery.mime import machine_headers, to_bytes
from engine.render.compose import Envelope, compose
from engine.render.context import RenderContext
from engine.render.library import TemplateLibrary, read_folder
from engine.render.mail import Address, Mail
from engine.render.render import Prepared, plainly, prepare, render

ROOT = Path(__file__).parents[1]
Mails = Sequence[tuple[str, RenderContext]]
Making = Callable[[Sequence[str], Sequence[str], int, int], Iterator[tuple[str, RenderContext]]]
_NODE = """
const mjml = require("mjml"), documents = JSON.parse(require("fs").readFileSync(process.argv[1]));
for (let i = 0; i < 10; i++) mjml(documents[i % documents.length]);
const start = process.cpuUsage();
for (const document of documents) mjml(document);
const used = process.cpuUsage(start);
console.log((used.user + used.system) / 1e6);
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rendering", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument(
        "--node", type=Path, default=ROOT / "build/mjml", help="a folder with node_modules/mjml"
    )
    given = parser.parse_args()
    sources = read_folder(ROOT / "templates")
    library = TemplateLibrary(sources)
    odd, more = _mails(library, given.mails, 7), _mails(library, given.mails, 8)
    usual, few = _mails(library, given.mails, 9, shop_mails), odd[: max(given.mails // 10, 50)]
    later = _mails(library, given.mails, 10, shop_mails)
    gc.collect()
    gc.freeze()  # the mails to come are ours, and would be looked through again and again
    print(
        f"{given.mails:,} different mails of {len(library.names())} templates in three languages; one core, text part included"
    )
    same = _same(TemplateLibrary(sources), odd)
    print(f"  byte for byte those of the plain way: {same:,} of {len(odd):,}")
    _each_plainly(library, few[: 3 * len(library.names())])  # Jinja's own compiling belongs to neither
    plain = _told(
        "plain: Jinja, MJML, text, each mail anew", len(few), _timed(lambda: _each_plainly(library, few))
    )
    print("  mails of a usual shop")
    _from_structures(TemplateLibrary(sources), usual, later, plain)
    print("  mails as odd as can be")
    library = TemplateLibrary(sources)
    _from_structures(library, odd, more, plain)
    _told("Jinja alone over finished HTML, no text part", len(few), _timed(_jinja_alone(library, few)), plain)
    _node(library, few[:60], given.node, plain)
    _mime(library, few)


def _from_structures(library: TemplateLibrary, first: Mails, second: Mails, plain: float) -> None:
    """Print how fast mails are made by a library that knows nothing yet, then other customers' mails, then known ones."""
    _told("structures, cold: nothing compiled yet", len(first), _timed(lambda: _each(library, first)), plain)
    before = replace(library.structures.tally)
    _told(
        "structures, warm: other customers' mails", len(second), _timed(lambda: _each(library, second)), plain
    )
    tally = library.structures.tally
    print(
        f"    of the warm ones, {(tally.filled - before.filled) / len(second):.1%} from kept structures alone"
        f" ({(tally.laid - before.laid) / len(second):.1%} as a whole), {tally.compiled - before.compiled} with a new"
        f" one, {tally.plain - before.plain} plainly; {tally.kept:,} pieces, {tally.characters / 1e6:.1f} M characters"
    )
    few = second[: max(len(second) // 10, 50)]
    again = min(_timed(lambda: _each(library, few)) for _ in range(3))
    _told("structures, all known", len(few), again, plain)


def _mails(
    library: TemplateLibrary, count: int, seed: int, of: Making = different_mails
) -> list[tuple[str, RenderContext]]:
    blocks = sorted({block.name for name in library.names() for block in library.template(name).recommend})
    return list(of(library.names(), blocks, count, seed))


def _timed(work: Callable[[], object]) -> float:
    started = process_time()
    work()
    return process_time() - started


def _told(what: str, mails: int, seconds: float, plain: float = 0.0) -> float:
    """Print one line; return mails a second."""
    rate = mails / seconds
    times = f"  {rate / plain:4.1f} ×" if plain else ""
    print(f"  {what:<55}{rate:>8,.0f} mails/s  {1000 / rate:6.3f} ms{times}")
    return rate


def _each(library: TemplateLibrary, mails: Mails) -> None:
    for name, context in mails:
        render(library, name, context)


def _prepared(library: TemplateLibrary, name: str, context: RenderContext) -> Prepared:
    prepared = prepare(library, name, context)
    prepared.values["subject"] = prepared.line("subject")
    prepared.values["preheader"] = prepared.line("preheader")
    return prepared


def _each_plainly(library: TemplateLibrary, mails: Mails) -> None:
    for name, context in mails:
        plainly(_prepared(library, name, context))


def _same(library: TemplateLibrary, mails: Mails) -> int:
    same = 0
    for name, context in mails:
        done = render(library, name, context)
        same += (done.html, done.text) == plainly(_prepared(library, name, context))
    return same


def _jinja_alone(library: TemplateLibrary, mails: Mails) -> Callable[[], object]:
    """Return what renders finished HTML with the values of each mail in the places of one mail's own."""
    environment = Environment(autoescape=True)
    rendered = []
    for name, context in mails:
        document, tokens = _prepared(library, name, context).tokenized()
        slots = [f"https://x.test/{{{{ v[{number}] }}}}" for number in range(len(tokens.values))]
        finished = library.structures.finish(document, slots)
        rendered.append((environment.from_string(finished.html), tokens.values))
    return lambda: [template.render(v=values) for template, values in rendered]


def _node(library: TemplateLibrary, mails: Mails, folder: Path, plain: float) -> None:
    node = shutil.which("node")
    if node is None or not (folder / "node_modules/mjml").is_dir():
        print(f"  npm mjml: not in {folder} (npm install --prefix {folder} mjml)")
        return
    documents = [_prepared(library, name, context).mjml() for name, context in mails]
    with tempfile.TemporaryDirectory(prefix="homing-bench-") as temporary:
        told = Path(temporary) / "documents.json"
        told.write_text(json.dumps(documents), encoding="utf-8")
        command = [node, "-e", _NODE, str(told)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    _told("npm mjml alone, MJML to HTML", len(documents), float(done.stdout), plain)


def _mime(library: TemplateLibrary, mails: Mails) -> None:
    made = [_composed(render(library, name, context), context) for name, context in mails]
    ours = _timed(lambda: [to_bytes(mail, metadata_headers=True) for mail in made]) / len(made)
    few = made[:100]
    theirs = _timed(lambda: [_standard(mail) for mail in few]) / len(few)
    print(f"  MIME: {ours * 1000:.3f} ms a mail; EmailMessage {theirs * 1000:.3f} ms")


def _composed(rendered: object, context: RenderContext) -> Mail:
    envelope = Envelope(
        "k", Address("ann@example.test", str(context.customer.get("first_name") or "")),
        Address("hello@kiyomi.test", "Kiyomi Tea"), context.now, topic="reminders", shop_url="https://kiyomi.test",
        metadata={"flow": "f", "version": "v", "step": "s", "message": "m", "customer": "c"},
    )  # fmt: skip
    return compose(rendered, envelope, context.links)  # type: ignore[arg-type]


def _standard(mail: Mail) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = f"{mail.sender.name} <{mail.sender.email}>"
    message["To"] = mail.to.email
    message["Subject"] = mail.subject
    for name, value in machine_headers(mail):
        message[name] = value
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message.as_bytes()


if __name__ == "__main__":
    main()
