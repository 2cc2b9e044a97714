"""Previews of the starter project: everybody's mails on one page, drawn offline, and followed while files are saved."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, sync_playwright

from cli import main
from engine import settings
from engine.deploy.preview import open_studio, preview_sample
from engine.deploy.preview_cast import cast, role
from engine.deploy.preview_page import Seen, offline, page
from engine.deploy.preview_watch import LivePreview
from engine.errors import OutsideError, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole() -> str:
    """Give the page of a flow for everybody."""
    studio = open_studio(settings.load(ROOT))
    first, *rest = cast()
    others = [
        Seen(each.words, preview_sample(studio, "cart-recovery", None, each, judged=False)) for each in rest
    ]
    assert not [shot.error for seen in others for shot in seen.shots if shot.error]
    return page(
        preview_sample(studio, "cart-recovery", None, first),
        title="t",
        shop="s",
        who=first.words,
        others=others,
    )


def test_everybody_can_be_chosen(whole: str) -> None:
    """New, loyal, without a name, in other scripts, with an empty cart, with one to four picks: each is on the page."""
    names = [each.name for each in cast()]
    assert {"loyal", "new", "no-name", "japanese", "taiwanese", "thai", "emoji", "sixty", "empty-cart"} < set(
        names
    )
    assert [name for name in names if "pick" in name] == [
        "one-pick",
        "two-picks",
        "three-picks",
        "four-picks",
    ]
    mails = json.loads(_script(whole, "mails"))
    assert len(mails) == len(names)
    assert all(len(person) == len(mails[0]) for person in mails)
    assert all(each.words in whole for each in cast())


def test_a_page_is_whole_by_itself(whole: str) -> None:
    """Offline the page shows everything: pictures of the sample shop stand in it, each once, and nothing is loaded."""
    pictures = json.loads(_script(whole, "pictures"))
    assert pictures
    assert len(set(pictures)) == len(pictures)
    assert all(picture.startswith("data:image/") for picture in pictures)
    mails = [mail for person in json.loads(_script(whole, "mails")) for mail in person]
    assert not re.findall(r'<img[^>]*src="(?!picture:\d+:")', "".join(mails))
    numbers = {int(number) for number in re.findall(r"picture:(\d+):", "".join(mails))}
    assert numbers == set(range(len(pictures)))
    assert "connect-src" not in whole


@pytest.mark.parametrize("base", ["https://mail.kiyomi-tea.com", "http://localhost:8000"])
def test_served_pictures_are_shown_offline(project: Path, base: str) -> None:
    """Sample products have their pictures where `homing serve` answers, and previews show them without it."""
    file = project / "homing.toml"
    file.write_text(
        file.read_text(encoding="utf-8").replace('# url = "https://mail', f'url = "{base}" #'),
        encoding="utf-8",
    )
    (shot,) = preview_sample(
        open_studio(settings.load(project)), "cart-recovery:cart-reminder", None, judged=False
    )
    assert shot.mail is not None
    assert f'src="{base}/images/' in shot.mail.html
    assert f'src="{base}/images/' not in offline(shot.mail.html, base)
    shown = page([shot], title="t", shop="s", who="w", base=base)
    assert f"{base}/images/" not in shown


def test_list_views_show_what_comes_first(whole: str) -> None:
    """Each list shows sender, subject and preheader of every mail, as a mail program has them."""
    assert whole.count('class="list iphone"') == len(cast())
    row = re.search(r'<span class="line"><b>(.*?)</b> <span class="peek">(.*?)</span>', whole)
    assert row is not None
    assert row[1].strip()
    assert "http" not in row[2]


def test_an_unknown_role_names_the_likely_one() -> None:
    """A sample customer that is none ends with the likely name."""
    assert role("japanese").persona.fields["country"] == "JP"
    with pytest.raises(UsageError, match='did you mean "japanese"'):
        role("japanes")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a copy of the starter project that may be written to."""
    for name in ("flows", "templates"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "homing.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("offer", "shows", "hides"),
    [
        ("{free_shipping: true}", ["Free shipping"], ["SAMPLE", "checkout.", "until"]),
        ("{gift: MUG}", ["A gift with your order", "Two porcelain cups"], ["SAMPLE", "until"]),
        ("{percent: 5, pool: codes.txt, valid_for: 7d}", ["5% off", "SAMPLE-7777", "until"], []),
    ],
)
def test_an_offer_shows_what_it_has(project: Path, offer: str, shows: list[str], hides: list[str]) -> None:
    """No code and no end are made up for an offer without them; a gift has a product."""
    (project / "codes.txt").write_text("A1\n", encoding="utf-8")
    path = project / "flows" / "offers.yaml"
    path.write_text(
        re.sub(r"^cart-ten:.*$", f"cart-ten: {offer}", path.read_text(encoding="utf-8"), flags=re.M),
        encoding="utf-8",
    )
    (project / "templates" / "cart-offer.mjml").write_text(_OFFERED, encoding="utf-8")
    (shot,) = preview_sample(
        open_studio(settings.load(project)), "cart-recovery:cart-offer", None, role("loyal")
    )
    assert shot.mail is not None
    assert all(word in shot.mail.text for word in shows)
    assert not any(word in shot.mail.text for word in hides)


_OFFERED = """---
subject: "Hello"
---
{% extends "layouts/store.mjml" %}
{% block body %}{{ blocks.offer(offer) }}{% endblock %}
"""


@pytest.fixture
def live(project: Path) -> Iterator[LivePreview]:
    """Give a served preview of one mail of the project."""

    def make(version: str) -> str:
        shots = preview_sample(open_studio(settings.load(project)), "cart-reminder")
        return page(shots, title="t", shop="s", who="somebody", live=version)

    with LivePreview(make) as preview:
        preview.renew()
        yield preview


def _got(address: str, host: str = "") -> str:
    asked = urllib.request.Request(address, headers={"Host": host} if host else {})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return str(answer.read().decode())


def test_a_saved_file_shows_by_itself(live: LivePreview, project: Path) -> None:
    """The page asks for its version; a save makes a new page, and one that cannot be made says why until the next save."""
    assert _got(live.address + "version") == "1"
    assert "connect-src 'self'" in _got(live.address).replace("&#39;", "'")
    template = project / "templates" / "cart-reminder.mjml"
    source = template.read_text()
    template.write_text(re.sub(r"subject: .*", 'subject: "Quite another subject"', source, count=1))
    live.renew()
    assert _got(live.address + "version") == "2"
    assert "Quite another subject" in _got(live.address)
    (project / "homing.toml").write_text("[shop\n")
    live.renew()
    assert live.problem
    assert "cannot be shown" in _got(live.address)
    shutil.copy(ROOT / "homing.toml", project)
    live.renew()
    assert not live.problem
    assert "Quite another subject" in _got(live.address)


@pytest.mark.parametrize(
    ("path", "host", "status"), [("x", "", 404), ("", "evil.test:80", 403), ("../homing.toml", "", 404)]
)
def test_only_this_machine_is_answered(live: LivePreview, path: str, host: str, status: int) -> None:
    """The server has one page, and other names for this machine (as a hostile page would use) get nothing."""
    with pytest.raises(urllib.error.HTTPError) as told:
        _got(live.address + path, host)
    told.value.close()
    assert told.value.code == status


def test_a_port_that_is_taken_is_told(live: LivePreview) -> None:
    """A port that another program has is a sentence with the way out."""
    port = int(live.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OutsideError, match="--port"):
        LivePreview(lambda _: "", port)


def test_ending_leaves_nothing_behind(project: Path) -> None:
    """When the watching ends, the port is free and no thread goes on."""
    with LivePreview(lambda version: version) as preview:
        address = preview.address
    with pytest.raises(urllib.error.URLError):
        _got(address)
    assert not [thread for thread in threading.enumerate() if "serve_forever" in thread.name]


def test_watching_follows_the_files_until_it_is_ended(project: Path) -> None:
    """`homing preview --watch` says where the page is, follows a save, and ends quietly with Ctrl-C."""
    # Where the tests run in the background of a shell, what they start would ignore Ctrl-C.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cli import main; main()"
    command = [sys.executable, "-c", heeding, "preview", "cart-reminder", "--watch"]
    with (
        subprocess.Popen(
            [*command, "--project", str(project)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watching,
        ExitStack() as at_the_end,
    ):
        assert watching.stdout is not None
        assert watching.stderr is not None
        at_the_end.callback(watching.kill)
        address = watching.stdout.readline().split()[1].rstrip(";")
        assert _got(address + "version") == "1"
        template = project / "templates" / "cart-reminder.mjml"
        template.write_text(re.sub(r"subject: .*", 'subject: "Quite another"', template.read_text(), count=1))
        assert watching.stderr.readline().strip() == "shown anew"
        assert "Quite another" in _got(address)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
        assert watching.stderr.read().strip() == ""


def _script(document: str, name: str) -> str:
    return document.split(f'id="{name}">', 1)[1].split("</script>", 1)[0]


def test_a_sample_has_as_many_picks_as_would_be_chosen() -> None:
    """Too few for a block, and it is left out, or the mail would not go and says so; two are enough for both."""
    studio = open_studio(settings.load(ROOT))
    one, two = role("one-pick"), role("two-picks")
    (without,) = preview_sample(studio, "care-tips", None, one, judged=False)
    (shown,) = preview_sample(studio, "care-tips", None, two, judged=False)
    assert without.size < shown.size
    (held,) = preview_sample(studio, "win-back-new", None, one, judged=False)
    (sent,) = preview_sample(studio, "win-back-new", None, two, judged=False)
    assert held.note == "there is nothing to recommend, so this mail would not go out"
    assert not sent.note


def test_an_empty_cart_says_what_the_flow_does(project: Path) -> None:
    """For an empty cart the preview tells that the mail would not go, or, where nothing holds it back, how it would be."""
    asked = "cart-recovery:cart-reminder"
    (shot,) = preview_sample(open_studio(settings.load(project)), asked, None, role("empty-cart"))
    assert "would not go out: emptying a cart ends this flow" in shot.note
    assert not preview_sample(open_studio(settings.load(project)), asked, None, role("loyal"))[0].note
    assert not preview_sample(open_studio(settings.load(project)), "birthday", None, role("empty-cart"))[
        0
    ].note
    path = project / "flows" / "cart-recovery.yaml"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace("  - {did: cart_emptied, same: cart_id}\n", ""), encoding="utf-8")
    (shot,) = preview_sample(open_studio(settings.load(project)), asked, None, role("empty-cart"))
    assert "the flow asks for its lines" in shot.note
    path.write_text(
        re.sub(r"(?s)  - \{did: cart_emptied.*?\n|only_if:\n  - cart.*?\n", "", whole), encoding="utf-8"
    )
    (shot,) = preview_sample(open_studio(settings.load(project)), asked, None, role("empty-cart"))
    assert "would go out all the same" in shot.note


def test_what_holds_a_mail_back_is_said_before_it(project: Path) -> None:
    """On the page an empty cart's note stands above the mail; a mistake in a template is told once, with place and help."""
    studio = open_studio(settings.load(project))
    shown = page(
        preview_sample(studio, "cart-recovery", None, role("empty-cart")), title="t", shop="s", who="w"
    )
    note = shown.index("This cart is empty, so this mail would not go out")
    assert note < shown.index('class="device desktop"')
    file = project / "templates" / "cart-reminder.mjml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("first_name |", "frist_name |"), encoding="utf-8"
    )
    broken = page(preview_sample(open_studio(settings.load(project)), "cart-recovery:cart-reminder"), title="t", shop="s",
                  who="w")  # fmt: skip
    assert broken.count("has no field &#34;frist_name&#34;") == 1


@pytest.mark.parametrize("locale", ["xx_!!", "en_!!", "klingon", "", "../ja"])
def test_a_language_that_is_none_is_told(locale: str) -> None:
    """`--locale` takes languages only; what is none ends with a usage error."""
    done = CliRunner().invoke(main, ["preview", "birthday", "--locale", locale, "--project", str(ROOT)])
    assert done.exit_code == 2
    assert "is no language" in done.output


def test_one_way_of_looking_is_always_pressed(whole: str, tmp_path: Path) -> None:
    """On a phone, a tablet and a desk, also when the window changes and after a reload, the pressed button can be seen."""
    file = tmp_path / "index.html"
    file.write_text(whole, encoding="utf-8")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 800})
        page.goto(file.as_uri())
        assert _pressed(page) == "Both"
        for width, button in ((900, "Desktop"), (400, "Phone"), (1300, "Both")):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function(f"() => innerWidth === {width}")
            assert _pressed(page) == button
        page.set_viewport_size({"width": 400, "height": 800})
        page.reload()
        assert _pressed(page) == "Phone"
        browser.close()


def _pressed(page: Page) -> str:
    """Return the words of the visible, pressed buttons that choose what is shown."""
    pressed = page.locator("button[data-view][aria-pressed=true]:visible")
    pressed.first.wait_for(timeout=60_000)
    return ", ".join(pressed.all_inner_texts())
