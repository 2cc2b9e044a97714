"""The page behind an answer's link: what was asked, and which answer was pressed, before anything is recorded."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engine import settings as settings_module
from engine.store.database import connect
from tests.integration.living_shop import make_project, prepare
from tests.integration.web_server import Serving, links_of, serving, small_served

ASKED = """Are you happy with it?
<a href="{{ links.answer("survey_answered", survey="check-in", choice="happy") }}"><b>Yes</b>,
very</a> <a href="{{ links.answer("survey_answered", survey="check-in", choice="unhappy") }}">Not at all</a>"""


@pytest.fixture
def asked(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[Serving, list[str]]]:
    """Give a server and the paths of the two answers in a mail that was sent, its clicks counted."""
    make_project(tmp_path)
    toml, template = tmp_path / "homing.toml", tmp_path / "templates" / "hello.mjml"
    toml.write_text(toml.read_text() + '[web]\nurl = "https://mail.kiyomi.test"\ntrack_clicks = true\n')
    template.write_text(template.read_text().replace("Hello.", ASKED))
    assert prepare(tmp_path, sqlite_url, signed_up=1).homing("tick").returncode == 0
    (path,) = (tmp_path / "mailbox" / "new").glob("*")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    text = mail.get_body(("plain",))
    assert text is not None
    links = re.findall(r"https://mail\.kiyomi\.test/a/[\w.-]+", text.get_content())
    database = connect(sqlite_url)
    with serving(settings_module.load(tmp_path), database) as served:
        yield served, [urlsplit(link).path for link in links] + [str(mail["subject"])]
    database.close()


def test_the_question_and_the_pressed_answer_are_shown(asked: tuple[Serving, list[str]]) -> None:
    """Each answer's page says the mail's question and the words that were pressed, before its button; nothing is recorded."""
    served, (happy, unhappy, subject) = asked
    for path, mine, other in ((happy, "Yes, very", "Not at all"), (unhappy, "Not at all", "Yes, very")):
        page = served.client.get(path).text
        before = page[: page.index("<button")]
        assert subject in before
        assert mine in before
        assert other not in page
    assert served.events("survey_answered") == []
    assert served.client.post(happy).status_code == 200
    assert [row["properties"]["choice"] for row in served.events("survey_answered")] == ["happy"]


def test_a_mail_that_cannot_be_made_any_more_still_says_what_is_answered(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Without the mail the link's own facts are shown, escaped; a `question` of the link is what was asked."""
    with small_served(sqlite_url, tmp_path) as small:
        made = links_of(small.site, 1)
        told = {"choice": "all_right", "survey": "check-in", "question": "Is it <good>?"}
        page = small.client.get(urlsplit(made.answer("survey_answered", **told)).path).text
        assert "Is it &lt;good&gt;?" in page
        assert "all right" in page
        scored = small.client.get(urlsplit(made.answer("survey_answered", survey="nps", score=9)).path).text
        assert "nps" in scored
        assert 'value="9" checked' in scored


def test_a_scale_says_its_number_once(sqlite_url: str, tmp_path: Path) -> None:
    """A score or a rating is seen on its scale; no "Your answer" of a single star or number stands beside it."""
    with small_served(sqlite_url, tmp_path) as small:
        made = links_of(small.site, 1)
        for event, told, checked in (
            ("nps_answered", {"score": 9}, 'value="9" checked'),
            ("review_submitted", {"rating": 5, "sku": "T1"}, 'value="5" aria-label="5 of 5" checked'),
        ):
            page = small.client.get(urlsplit(made.answer(event, **told)).path).text
            assert checked in page
            assert "Your answer" not in page
        both = small.client.get(urlsplit(made.answer("x", score=3, choice="so-so")).path).text
        assert "so-so" in both
