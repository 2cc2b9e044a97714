"""The sample customers of a preview: people and moments that careless templates break on.

Nothing comes in; a fixed cast goes out, each with a name for the command line and a few words for the page. The first eight
are those that `validate` renders every template for; the others are one good customer at unusual moments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.render.context import RenderContext
from engine.render.samples import Persona, personas

_WORDS = {
    "loyal": "Loyal, twelve orders", "new": "New, first order", "no-name": "No name", "japanese": "Japanese",
    "taiwanese": "Taiwanese", "thai": "Thai name, nothing to recommend", "emoji": "Emoji in the name",
    "sixty": "A name of sixty letters",
}  # fmt: skip
_COUNTS = ("one", "two", "three", "four")


@dataclass(frozen=True, slots=True)
class Role:
    """One sample customer: `name` for the command line, `words` for people; `empty_cart` takes the cart's lines away."""

    name: str
    words: str
    persona: Persona
    empty_cart: bool = False

    def dressed(self, context: RenderContext) -> RenderContext:
        """Return the context with what is unusual about this moment."""
        if not self.empty_cart or context.cart is None:
            return context
        return replace(context, cart={**context.cart, "lines": ()})


def cast() -> tuple[Role, ...]:
    """Return all sample customers; the first is the usual one."""
    known = [Role(persona.name, _WORDS.get(persona.name, persona.name), persona) for persona in personas()]
    usual = personas()[0]
    picks = [
        Role(f"{word}-pick{'s' * (count > 1)}", f"{word.title()} recommended", replace(usual, picks=count))
        for count, word in enumerate(_COUNTS, 1)
    ]
    return (*known, Role("empty-cart", "An empty cart", usual, empty_cart=True), *picks)


def role(name: str) -> Role:
    """Return the sample customer of that name; raise UsageError with the likely one."""
    known = {each.name: each for each in cast()}
    if name not in known:
        hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
        raise UsageError(f'there is no sample customer "{name}"; {hint}')
    return known[name]
