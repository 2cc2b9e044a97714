"""Every page held against axe-core in a real browser, on a phone and a desktop, by day and by night: nothing serious."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from engine.facts.profile import consent_standing
from engine.store import meta
from engine.web import tickets
from engine.web.links.data import DATA
from engine.web.links.signup import AGAIN, CONFIRM
from tests.integration.npm_packages import modules
from tests.integration.test_house_browser import PAGES, at_home, browser, lived  # noqa: F401 - fixtures
from tests.integration.web_server import Serving, copied, links_of, small_served

pytestmark = [pytest.mark.slow, pytest.mark.web]
SIZES = ((375, "light"), (375, "dark"), (1000, "light"), (1000, "dark"))
ASK = """async () => (await axe.run(document, {resultTypes: ['violations'], iframes: false})).violations
  .filter(each => ['serious', 'critical'].includes(each.impact))
  .map(each => `${each.id}: ${each.nodes.map(node => node.target.join(' ') + ' ' + node.html.slice(0, 120)).join(' | ')}`)"""


@pytest.fixture(scope="module")
def axe() -> str:
    """Give axe-core's own script."""
    return (modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def public(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Give a server of the pages that customers see."""
    folder = tmp_path_factory.mktemp("public")
    with small_served(copied(sqlite_template, folder), folder) as served:
        yield served


def found(page: Page, axe: str, url: str) -> list[str]:
    """Return what axe finds serious on a page."""
    page.goto(url)
    page.evaluate(axe)
    return [f"{url}: {each}" for each in page.evaluate(ASK)]


def of_customers(served: Serving) -> list[str]:
    """Return the address of every page that customers see, those of broken links included."""
    links, until = links_of(served.site, 1, base=served.url), 4_000_000_000
    with served.site.database.read() as connection:
        secret = meta.link_secrets(connection)[0]
    written = [
        tickets.write(secret, tickets.Ticket(purpose, number, until, words))
        for purpose, number, words in (
            (CONFIRM, 1, ("offers",)),
            (AGAIN, 0, ("00" * 16, "offers")),
            (DATA, 1, ()),
        )
    ]
    return [
        links.unsubscribe(), links.preferences(), links.snooze(14), links.answer("survey_answered", survey="nps", score=9),
        links.answer("product_reviewed", rating=4), *(f"{served.url}/c/{text}" for text in written[:2]),
        f"{served.url}/d/{written[2]}", f"{served.url}/signup", f"{served.url}/u/broken", f"{served.url}/nothing",
        f"{served.url}/house/login",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_pages_of_customers(browser: Browser, public: Serving, axe: str, width: int, scheme: str) -> None:  # noqa: F811
    """Nothing serious on a page that a mail links to, and none is wider than its window."""
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page, troubles = context.new_page(), []
    for url in of_customers(public):
        troubles += found(page, axe, url)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            troubles.append(f"{url} is wider than {width} points")
    context.close()
    assert troubles == []


def test_what_a_form_answers(browser: Browser, public: Serving, axe: str) -> None:  # noqa: F811
    """A form that was filled in wrongly, and what follows a button, are pages like any other."""
    context = browser.new_context(viewport={"width": 375, "height": 800})
    page = context.new_page()
    assert found(page, axe, f"{public.url}/signup") == []
    page.get_by_role("button").click()
    page.locator("form").evaluate("form => { form.noValidate = true; form.submit(); }")
    page.get_by_role("alert").wait_for()
    page.evaluate(axe)
    assert page.evaluate(ASK) == []
    page.goto(links_of(public.site, 1, base=public.url).preferences())
    page.get_by_role("button", name=re.compile("Save")).click()
    page.evaluate(axe)
    assert page.evaluate(ASK) == []
    context.close()


def reach(page: Page, role: str, name: str | re.Pattern[str]) -> None:
    """Go to a control by the Tab key alone."""
    wanted = page.get_by_role(role, name=name)  # type: ignore[arg-type]
    for _ in range(40):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"{role} {name} is not reached by keyboard")


def test_choosing_and_unsubscribing_by_keyboard(browser: Browser, public: Serving) -> None:  # noqa: F811
    """A reader without a mouse keeps one topic, asks for a mail a week at most, and then ends all of it."""
    links = links_of(public.site, 1, base=public.url)
    page = browser.new_context(viewport={"width": 375, "height": 800}).new_page()
    page.goto(links.preferences())
    reach(page, "checkbox", "Offers and news")
    page.keyboard.press("Space")
    reach(page, "radio", "As it comes")
    page.keyboard.press("ArrowDown")
    reach(page, "button", "Save")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert not page.get_by_role("checkbox", name="Offers and news").is_checked()
    assert page.get_by_role("radio", name="At most one email a week").is_checked()
    page.goto(links.unsubscribe())
    reach(page, "button", re.compile("Stop all"))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="You are unsubscribed").wait_for()
    page.context.close()
    with public.site.database.read() as connection:
        assert set(consent_standing(connection, 1).values()) == {"withdrawn"}


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_pages_of_the_house(browser: Browser, lived: Serving, axe: str, width: int, scheme: str) -> None:  # noqa: F811
    """Nothing serious on any page of the house."""
    page = at_home(browser, lived, width, scheme)
    troubles = [each for path in PAGES for each in found(page, axe, lived.url + path)]
    page.context.close()
    assert troubles == []


def test_axe_would_notice(browser: Browser, axe: str) -> None:  # noqa: F811
    """A page with pale words and a field without a name is found out: the silence above means something."""
    page = browser.new_page()
    page.set_content(
        '<html lang="en"><title>x</title><main><h1>x</h1><p style="color:#ccc;background:#fff">pale</p><input></main>'
    )
    page.evaluate(axe)
    assert len(page.evaluate(ASK)) == 2
    page.close()
