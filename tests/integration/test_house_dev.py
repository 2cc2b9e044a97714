"""`serve --dev`: the house shows the folder's mails and follows each save; without it there is no script at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from engine.commands.watching import stamps
from engine.store.database import connect
from engine.web.house.mails import as_at
from engine.web.house.password import set_password
from tests.integration.living_shop import LivingShop
from tests.integration.small_shop import make_project
from tests.integration.test_house import PASSWORD, log_in
from tests.integration.test_house_browser import at_home, browser  # noqa: F401 - a fixture
from tests.integration.web_server import Serving, serving


@pytest.fixture
def workshop(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server of `--dev` over a folder of which nothing was applied."""
    settings, database = make_project(tmp_path), connect(sqlite_url)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database, watched=partial(stamps, tmp_path)) as served:
        log_in(served)
        yield served
    database.close()


def test_the_page_follows_a_save(browser: Browser, workshop: Serving) -> None:  # noqa: F811
    """A template that is saved is shown anew by itself, and so is why it cannot be made."""
    template = workshop.site.settings.root / "templates" / "note.mjml"
    page = at_home(browser, workshop)
    page.goto(f"{workshop.url}/house/mails/note")
    page.get_by_text("Hello Grace", exact=False).first.wait_for()
    text = template.read_text(encoding="utf-8")
    template.write_text(text.replace('"Hello ', '"Good evening '), encoding="utf-8")
    page.get_by_text("Good evening Grace").first.wait_for()
    template.write_text(text.replace("{{ links.unsubscribe }}", "{{ links.unsubscripe }}"), encoding="utf-8")
    page.get_by_role("alert").first.wait_for()
    assert "note.mjml:6:" in page.content()
    page.context.close()


def test_a_folder_that_cannot_be_read_is_told(workshop: Serving) -> None:
    """Where templates cannot be read at all the gallery says why, and the house stays."""
    (workshop.site.settings.root / "templates" / "note.mjml").write_text(
        "---\nsubject: [\n---\n<mjml>", encoding="utf-8"
    )
    answer = workshop.client.get("/house/mails")
    assert answer.status_code == 200
    assert workshop.client.get("/house").status_code == 200


def test_findings_stand_at_their_mails(workshop: Serving) -> None:
    """The gallery tells how many findings each template has where that is asked for."""
    template = workshop.site.settings.root / "templates" / "note.mjml"
    template.write_text(
        template.read_text().replace("Hello.", '<img src="https://kiyomi.test/a.png">'), encoding="utf-8"
    )
    assert " finding" in workshop.client.get("/house/mails?check=1").text


def test_without_dev_nothing_follows(sqlite_url: str, tmp_path: Path) -> None:
    """The usual house has no script, no way to ask for versions, and shows what is applied."""
    settings, database = make_project(tmp_path), connect(sqlite_url)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database) as served:
        log_in(served)
        page = served.client.get("/house/mails")
        assert "<script" not in page.text
        assert "script-src" not in page.headers["content-security-policy"]
        assert served.client.get("/assets/follow.js").status_code == 404
        assert served.client.get("/house/dev/version").status_code == 404
        assert "No templates are applied yet" in page.text
    database.close()


def test_the_script_is_for_visitors_of_mails_only(workshop: Serving) -> None:
    """Only pages of mails allow the one script, and none allows words of their own in it."""
    mails, today = workshop.client.get("/house/mails"), workshop.client.get("/house")
    assert "script-src 'self'" in mails.headers["content-security-policy"]
    assert "unsafe" not in mails.headers["content-security-policy"]
    assert "script-src" not in today.headers["content-security-policy"]


def test_day_and_night_do_not_depend_on_the_screen() -> None:
    """A mail's rules for the dark hold by night alone; one without any is turned by night and left alone by day."""
    own = "<style>@media ( prefers-color-scheme:dark ){a{b:c}}</style></head>"
    assert "(min-width:0)" in as_at(own, dark=True)
    assert "(width:0)" in as_at(own, dark=False)
    assert "invert" in as_at("<p></head>", dark=True)
    assert as_at("<p></head>", dark=False) == "<p></head>"


def test_dev_is_one_process(tmp_path: Path, sqlite_url: str) -> None:
    """`serve --dev --workers 2` is refused with a sentence."""
    make_project(tmp_path)
    done = LivingShop(tmp_path, sqlite_url).homing("serve", "--dev", "--workers", "2")
    assert done.returncode == 2
    assert "leave --workers out" in done.stderr
