"""What goes wrong while a mail is made, as errors with the author's file and line.

Everything here is caused by a template or by the values put into it, never by the outside world: trying again with
the same template and customer gives the same error.
"""

from __future__ import annotations

from engine.errors import HomingError


class RenderError(HomingError):
    """A mail could not be made from its template.

    `template` is the path relative to the project (such as templates/ja/cart-reminder.mjml), `line` and `column` are
    1-based; 0 where they are not known. `str()` names them and never holds a customer's values.
    """

    def __init__(self, problem: str, *, template: str = "", line: int = 0, column: int = 0) -> None:
        self.problem, self.template, self.line, self.column = problem, template, line, column
        where = ":".join(
            str(part) for part in (template, line if template else 0, column if line else 0) if part
        )
        super().__init__(f"{where}: {problem}" if where else problem)

    def placed(self, template: str, line: int = 0, column: int = 0) -> RenderError:
        """Return the same error with a place, where it has none yet."""
        if self.template:
            return self
        return type(self)(self.problem, template=template, line=line, column=column)

    def at(self, column: int) -> RenderError:
        """Return the same error with its column."""
        return type(self)(self.problem, template=self.template, line=self.line, column=column)


class TooMuch(RenderError):
    """A template ran past its limits: too many steps, too much output, too long a text, too much time."""
