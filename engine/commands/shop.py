"""Commands about a project and its definitions: init, validate, explain, schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import click

from engine.commands.session import Session, command
from engine.commands.watching import on_each_save
from engine.diagnostics import Finding, Span, did_you_mean, has_errors
from engine.errors import FindingsError, OutsideError, UsageError
from engine.flows import problems, report, rules, schema
from engine.flows.load import load_project
from engine.flows.manual import as_markdown
from engine.flows.validate import fixes, validate
from engine.processes import processors
from engine.project import init_project
from engine.render.lint import Memory, lint_project
from engine.runtime.unseen import unseen
from engine.settings import FILE, Settings

_MOST_ROUNDS = 5
_EDITOR = Path(".vscode/settings.json")
_MOMENT = 0.1  # seconds after a save that templates are looked at before the first answer
_CLEARED = "\x1b[2J\x1b[H"


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @command(group, "init")
    @click.argument("folder", type=click.Path(path_type=Path))
    def init(session: Session, folder: Path) -> None:
        """Make a new project: settings, starter flows and templates, their scenarios, a CI example."""
        written = (*init_project(folder), *_write_schemas(folder, keep=True))
        if session.as_json:
            session.document({"project": str(folder), "files": [str(path) for path in written]})
        session.say(f"made {folder} with {len(written)} files")
        session.say(
            f"next: cd {folder} && homing validate && homing preview cart-recovery --sample --out mails"
        )

    @command(group, "validate")
    @click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
    @click.option("--format", "form", type=click.Choice(["text", "json", "github", "sarif"]), default="text")
    @click.option("--fix", is_flag=True, help="Mend what can be mended safely.")
    @click.option("--watch", is_flag=True, help="Check again whenever a file is saved, until Ctrl-C.")
    def validate_(session: Session, paths: tuple[Path, ...], form: str, fix: bool, watch: bool) -> int:
        """Check everything that can be known without customers; with --database, also against what it holds."""
        session.as_json = session.as_json or form == "json"
        form = "json" if session.as_json else form
        if watch:
            on_each_save(session.root, _Watch(session, paths, form).look)
        findings = _validated(session, paths)
        if fix:
            findings = _mended(session, paths, findings)
        click.echo(report.render(findings, form, root=session.root, colour=session.colour), nl=False)
        return 1 if has_errors(findings) else 0

    @command(group, "explain")
    @click.argument("code", required=False)
    @click.option("--markdown", is_flag=True, help="Print the pages of all rules as one Markdown document.")
    def explain(session: Session, code: str | None, markdown: bool) -> None:
        """Show the rule behind a finding; without a code, list all of them."""
        import_module(
            "engine.runtime.problems"
        )  # what doctor, live and apply can tell: their pages come with it
        if code is None:
            _list_rules(session, markdown=markdown)
            return
        code = code.upper()
        text = rules.explain(code)
        if text is None:
            known = sorted(rule.code for rule in rules.all_rules())
            raise UsageError(
                f"there is no rule {code}; {did_you_mean(code, known)} known: {', '.join(known)}"
            )
        if session.as_json:
            session.document({"code": code, "text": text})
        else:
            click.echo(text)

    @command(group, "schema")
    @click.argument("what", type=click.Choice(schema.NAMES), default="flow")
    @click.option(
        "--write", is_flag=True, help="Write all of them into the project's schema/ folder instead."
    )
    def schema_(session: Session, what: str, write: bool) -> None:
        """Print the JSON Schema for editors."""
        if not write:
            click.echo(json.dumps(schema.schema(what), indent=2, ensure_ascii=False))
            return
        for path in _write_schemas(session.root):
            session.say(f"wrote {path}")


def _list_rules(session: Session, *, markdown: bool) -> None:
    pages = rules.all_rules()
    if session.as_json:
        known = [
            {"code": each.code, "name": each.name, "severity": each.severity, "title": each.title}
            for each in pages
        ]
        session.document({"rules": known})
    elif markdown:
        click.echo(as_markdown(), nl=False)
    else:
        for page in pages:
            click.echo(f"{page.code}  {page.severity:<8} {page.title}")


def _write_schemas(root: Path, *, keep: bool = False) -> list[Path]:
    """Write every schema, and .vscode/settings.json that names them where there is none; `keep` what is there."""
    texts = {
        Path("schema", f"{name}.json"): json.dumps(schema.schema(name), ensure_ascii=False)
        for name in schema.NAMES
    }
    if not (root / _EDITOR).exists():
        texts[_EDITOR] = json.dumps({"yaml.schemas": schema.FILES}, indent=2)
    texts = {path: text for path, text in texts.items() if not (keep and (root / path).exists())}
    try:
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutsideError(f"{root / 'schema'} cannot be written: {error.strerror}") from error
    return list(texts)


def _validated(
    session: Session, paths: Sequence[Path], memory: Memory | None = None, within: float | None = None
) -> list[Finding]:
    settings = session.lenient_settings

    def lint(root: Path, own: Settings) -> list[Finding]:
        found = lint_project(root, own, processors(), memory, within)
        return found if session.database_url is None else [*found, *_never_told(session, root, own)]

    return validate(settings.root, settings, paths or None, lint=lint)


def _never_told(session: Session, root: Path, settings: Settings) -> list[Finding]:
    """Return what the flows ask for that the database of --database never saw."""
    now = session.now(writing=False)
    with session.database.read() as connection:
        return unseen(connection, load_project(root, settings), now)


def _mended(session: Session, paths: Sequence[Path], findings: list[Finding]) -> list[Finding]:
    """Mend until nothing more can be: what one mending uncovers, the next one mends."""
    for _ in range(_MOST_ROUNDS):
        texts = fixes(session.root, findings)
        for path, text in texts.items():
            path.write_bytes(text.encode("utf-8"))
            session.note(f"mended {path}")
        if not texts:
            break
        findings = _validated(session, paths)
    return findings


@dataclass(slots=True)
class _Watch:
    """Looks at a project again and again: what was saved first, then what draws on it."""

    session: Session
    paths: Sequence[Path]
    form: str
    memory: Memory = field(default_factory=Memory)
    shown: str = ""
    first: bool = True

    def look(self) -> bool:
        """Print what is known after a moment; return whether more templates wait for theirs."""
        within = None if self.first else _MOMENT
        try:
            findings = _validated(self.session, self.paths, self.memory, within)
        except FindingsError as error:
            findings = list(error.findings)
            self.memory.waiting = 0
        except UsageError:
            if self.first:
                raise
            findings = [self._gone()]
            self.memory.waiting = 0
        text = report.render(findings, self.form, root=self.session.root, colour=self.session.colour)
        left = self.memory.waiting
        if not left or text != self.shown:
            more = f"looking at {left} more that may draw on it\n" if left and self.form == "text" else ""
            click.echo(
                (_CLEARED if self.session.colour else "") + (more if left and not findings else text + more),
                nl=False,
            )
            sys.stdout.flush()
        self.first, self.shown = False, text if left else ""
        return self.memory.waiting > 0

    def _gone(self) -> Finding:
        """Return the finding for a file that was there: editors save by renaming, and other programs put files away."""
        root = self.session.root
        gone = next(
            (path for path in self.paths if not (path.exists() or (root / path).exists())), Path(FILE)
        )
        return problems.unreadable_file(
            Span(gone.as_posix()), "it is not there any more", "put it back; this goes on by itself then"
        )
