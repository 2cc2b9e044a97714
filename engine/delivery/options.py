"""Reading a provider's options and secrets.

One table of `homing.toml` comes in; typed values go out, each asked for by name, and whatever nobody asked for is an
error with the likely name. Values may be text, because the environment overrides settings. Secrets come from an
environment variable or a file that one names, and never show in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.diagnostics import did_you_mean
from engine.errors import UsageError

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret and, where it could not be had, the plain reason; neither `str` nor `repr` shows the value."""

    value: str = field(default="", repr=False)
    problem: str = ""

    def __str__(self) -> str:
        return "***" if self.value else ""


class Options:
    """The options of one provider, to be read once each and then closed with `done`."""

    def __init__(
        self,
        section: str,
        values: Mapping[str, Any],
        *,
        environ: Mapping[str, str] | None = None,
        project: Path = Path(),
    ) -> None:
        self._section = section
        self._values = values
        self._environ = environ or {}
        self._project = project
        self._asked: list[str] = []

    def _get(self, name: str) -> Any:
        self._asked.append(name)
        return self._values.get(name)

    def _refuse(self, name: str, sentence: str) -> UsageError:
        return UsageError(f"[{self._section}] {name} {sentence}")

    def text(self, name: str, default: str) -> str:
        """Return a text; an absent or empty one is `default`."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._refuse(name, "must be text")
        return value.strip() or default

    def choice(self, name: str, default: str, known: Sequence[str]) -> str:
        """Return one of the known words."""
        value = self.text(name, default)
        if value not in known:
            hint = did_you_mean(value, known)
            raise self._refuse(
                name, f'is one of {", ".join(known)}, not "{value}"' + (f": {hint}" if hint else "")
            )
        return value

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        """Return a number between `least` and `most`."""
        value = self._get(name)
        if value is None:
            return default
        try:
            number = float("" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            raise self._refuse(name, "must be a number") from None
        if not least <= number <= most:
            raise self._refuse(name, f"must lie between {least:g} and {most:g}")
        return number

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        if str(value).lower() not in _TRUE + _FALSE:
            raise self._refuse(name, "must be true or false")
        return str(value).lower() in _TRUE

    def path(self, name: str, default: str) -> Path:
        """Return a path, relative ones from the project's folder."""
        return self._project / self.text(name, default)

    def file(self, name: str) -> Path | None:
        """Return the path of a file that must exist, or None where none is named."""
        if not self.text(name, ""):
            return None
        path = self.path(name, "")
        if not path.is_file():
            raise self._refuse(name, f"names a file that does not exist: {path}")
        return path

    def secret(self, variable: str) -> Secret:
        """Return the secret in the environment's `variable`, or in the file that `variable`_FILE names."""
        if self._environ.get(variable):
            return _checked(self._environ[variable].strip(), variable)
        file = self._environ.get(f"{variable}_FILE")
        if not file:
            return Secret(problem=f"{variable} is not set")
        try:
            value = (self._project / file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return Secret(problem=f"the file named by {variable}_FILE cannot be read")
        return _checked(value, f"the file named by {variable}_FILE")

    def done(self) -> None:
        """Raise UsageError if an option was given that nobody asked for."""
        for name in self._values:
            if name not in self._asked:
                hint = did_you_mean(name, self._asked) or f"known: {', '.join(self._asked)}"
                raise UsageError(f"[{self._section}] has no option {name}: {hint}")


def _checked(value: str, source: str) -> Secret:
    # A line break or an umlaut would end in an error of the library that repeats the secret.
    if not value:
        return Secret(problem=f"{source} is empty")
    if not value.isascii() or not value.isprintable():
        return Secret(problem=f"{source} has characters that no key and no password here can have")
    return Secret(value)
