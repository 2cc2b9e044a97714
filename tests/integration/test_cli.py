"""The command line from end to end: one small shop on a virtual clock, every command in the order in which one types them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import main
from engine.deploy.pictures import picture

FILES = {
    "products.csv": (
        "sku,title,category,price,currency,url,image_url,stock\n"
        "T1,Sencha 100 g,tea,14.50,EUR,https://kiyomi.test/p/t1,https://kiyomi.test/i/t1.jpg,20\n"
        "T2,Teapot,teaware,64,EUR,https://kiyomi.test/p/t2,https://kiyomi.test/i/t2.jpg,5\n"
        "T3,Matcha,tea,18,EUR,https://kiyomi.test/p/t3,https://kiyomi.test/i/t3.jpg,9\n"
    ),
    "customers.csv": (
        "external_id,email,first_name,country,timezone,birthday,shoe_size,consent,consent_at\n"
        "c1,ann@example.test,Ann,DE,Europe/Berlin,1990-04-02,38,all,2026-01-01\n"
        "c2,ben@example.test,Ben,JP,Asia/Tokyo,1985-05-05,,all,2026-01-01\n"
        "c3,nowhere,Cid,DE,,,,,\n"
    ),
    "carts.jsonl": (
        '{"cart_id": "k1", "customer": "c1", "updated_at": "2026-03-02T10:00:00+01:00", "lines": '
        '[{"sku": "T1", "quantity": 2, "price": 14.5}, {"sku": "T2", "quantity": 1, "price": 64}]}\n'
        '{"cart_id": "k2", "customer": "c2", "updated_at": "2026-03-02T12:00:00+09:00", "lines": '
        '[{"sku": "T3", "quantity": 1, "price": 18}]}\n'
    ),
    "orders.csv": (
        "order_id,customer,placed_at,status,currency,total,sku,quantity,price\n"
        "o1,c2,2026-03-02T20:00:00+09:00,placed,EUR,18,T3,1,18\n"
    ),
}


class Shop:
    """A project in a folder of its own, and a way to type commands there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, ends: int = 0) -> Result:
        """Type a command; fail where it does not end with that code."""
        result = CliRunner().invoke(main, [*arguments, "--project", str(self.folder)], catch_exceptions=False)
        assert result.exit_code == ends, f"{arguments}\n{result.output}"
        assert "Traceback" not in result.output
        assert "B001" not in result.output
        return result

    def json(self, *arguments: str, ends: int = 0) -> Any:
        """Type a command with --json and return its one document."""
        return json.loads(self.run(*arguments, "--json", ends=ends).stdout)

    def file(self, name: str) -> str:
        """Return where a file of the shop lies."""
        return str(self.folder / name)


def made_shop(folder: Path) -> Shop:
    """Make a project with files of facts beside it."""
    result = CliRunner().invoke(main, ["init", str(folder), "-q"])
    assert result.exit_code == 0, result.output
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    return Shop(folder)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Give a new project without a database."""
    return made_shop(tmp_path / "shop")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Give a shop in which a week has passed; tests only read it."""
    shop = made_shop(tmp_path_factory.mktemp("played") / "shop")
    shop.run("ingest", shop.file("products.csv"), shop.file("customers.csv"), "--now", "2026-03-01", ends=1)
    shop.run("apply", "--yes", "--now", "2026-03-01")
    shop.run("ingest", shop.file("carts.jsonl"), shop.file("orders.csv"), "--now", "2026-03-01")
    shop.run("tick", "--now", "2026-03-01", "--until", "2026-03-08")
    return shop


# ── a project ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_project_is_valid(shop: Shop) -> None:
    """What `init` writes has no error, and a second one in its place is refused."""
    assert all(finding["severity"] != "error" for finding in shop.json("validate")["findings"])
    again = CliRunner().invoke(main, ["init", str(shop.folder)])
    assert again.exit_code == 2
    assert "is a project already" in again.output


def test_validate_finds_and_explains(shop: Shop) -> None:
    """An unknown key is told with its file, line, column and the likely key; exit code 1; its rule is explained."""
    flow = shop.folder / "flows" / "cart-recovery.yaml"
    flow.write_text(flow.read_text().replace("quiet_for", "quite_for"))
    found = shop.json("validate", ends=1)["findings"]
    (wrong,) = [finding for finding in found if "quite_for" in finding["message"]]
    told = shop.run("validate", ends=1).output
    assert "flows/cart-recovery.yaml:10:3" in told
    assert 'did you mean "quiet_for"?' in told
    assert shop.json("explain", wrong["code"])["code"] == wrong["code"]
    assert shop.run("explain", wrong["code"].lower()).output
    shop.run("explain", "F2O4", ends=2)
    shop.run("apply", "--yes", "--now", "2026-03-01", ends=1)
    for form in ("json", "github", "sarif"):
        shop.run("validate", "--format", form, ends=1)


@pytest.mark.parametrize("what", ["flow", "segments", "scenario", "settings"])
def test_schema_prints_one_document(shop: Shop, what: str) -> None:
    """Every schema is JSON."""
    assert json.loads(shop.run("schema", what).stdout)["$schema"]


def test_preview_needs_no_database(shop: Shop) -> None:
    """A flow's preview is `NN-STEP.html`, `NN-STEP.txt` and `index.html`, in order, and opens no database."""
    out = shop.folder / "mails"
    document = shop.json("preview", "cart-recovery", "--sample", "--out", str(out))
    steps = ["cart-reminder", "cart-second-reminder", "cart-offer"]
    assert [mail["step"] for mail in document["mails"]] == steps
    names = {f"{place:02}-{step}.{end}" for place, step in enumerate(steps, 1) for end in ("html", "txt")}
    assert {path.name for path in out.iterdir()} == {*names, "index.html"}
    assert document["mails"][0]["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert not (shop.folder / "homing.db").exists()
    japanese = shop.json("preview", "cart-reminder", "--locale", "ja")
    assert japanese["mails"][0]["subject"] != document["mails"][0]["subject"]
    assert "CART-" in shop.run("preview", "cart-recovery:cart-offer", "--text").output


@pytest.mark.parametrize(
    ("target", "likely"),
    [
        ("cart-recovry", "cart-recovery"),
        ("cart-remindr", "cart-reminder"),
        ("cart-recovery:cart-ofer", "cart-offer"),
    ],
)
def test_preview_names_the_likely_target(shop: Shop, target: str, likely: str) -> None:
    """An unknown flow, template or step ends with 2 and names the likely one."""
    assert f'did you mean "{likely}"?' in shop.run("preview", target, ends=2).output


def test_a_broken_template_is_told_not_thrown(shop: Shop) -> None:
    """A preview of a mail that cannot be made says why, with its place; exit code 1; the page says so too."""
    path = shop.folder / "templates" / "cart-reminder.mjml"
    path.write_text(path.read_text().replace("{% block body %}", "{% block body %}{{ customer.first_nam }}"))
    told = shop.json("preview", "cart-recovery", "--out", shop.file("mails"), ends=1)["mails"][0]
    assert "first_nam" in told["error"]
    assert "first_name" in (shop.folder / "mails" / "index.html").read_text()


def test_a_preview_can_be_sent(shop: Shop) -> None:
    """In sandbox a preview lands in the local mailbox, for the address that was asked; sent again, it is another mail."""
    for _ in range(2):
        sent = shop.json("preview", "birthday:birthday", "--send-to", "me@example.test")["sent"]
        assert [each["provider"] for each in sent] == ["mailbox"]
    mails = [message_from_bytes(path.read_bytes()) for path in (shop.folder / "mailbox" / "new").iterdir()]
    assert [mail["To"] for mail in mails] == ["me@example.test", "me@example.test"]
    assert len({mail["Message-ID"] for mail in mails}) == 2
    assert all(datetime.now(UTC) - parsedate_to_datetime(mail["Date"]) < timedelta(hours=1) for mail in mails)
    shop.run("preview", "birthday:birthday", "--send-to", "nobody", ends=2)


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ingest_sets_bad_rows_aside(shop: Shop) -> None:
    """A bad row ends with 1 and lies whole in quarantine/, with row, column and reason; mended it goes in."""
    report = shop.json("ingest", shop.file("customers.csv"), ends=1)
    assert (report["read"], report["quarantined"]) == (3, 1)
    assert report["files"][0]["bad_rows"] == [{"row": 3, "column": "email", "reason": "is no email address"}]
    (row,) = shop.json("quarantine", "list")["facts"]
    assert (row["file"], row["row"], row["column"]) == ("customers.csv", 3, "email")
    assert row["raw"]["first_name"] == "Cid"
    aside = shop.folder / "quarantine" / "customers.csv"
    shop.run("quarantine", "retry", ends=1)
    aside.write_text(aside.read_text().replace("nowhere", "cid@example.test"))
    assert shop.json("quarantine", "retry", "customers.csv")["new"] == 1
    assert not aside.exists()
    assert shop.json("customer", "show", "cid@example.test")["external_id"] == "c3"


def test_a_repeated_file_changes_nothing(shop: Shop) -> None:
    """The second reading of a file brings nothing new."""
    shop.run("ingest", shop.file("products.csv"))
    again = shop.json("ingest", shop.file("products.csv"))
    assert (again["new"], again["unchanged"]) == (0, 3)


def test_ingest_maps_columns(shop: Shop) -> None:
    """`--map theirs=ours` renames; a name that the file does not have is told with the likely one."""
    path = shop.folder / "people.csv"
    path.write_text("Nr;Mail\n7;eve@example.test\n")
    shop.run("ingest", str(path), "--as", "customers", "--map", "Nr=external_id", "--map", "Mail=email")
    assert shop.json("customer", "show", "eve@example.test")["external_id"] == "7"
    told = shop.run("ingest", str(path), "--as", "customers", "--map", "Mial=email", ends=2).output
    assert 'did you mean "Mail"?' in told
    shop.run("ingest", str(path), "--as", "customers", "--map", "Mail", ends=2)


def test_ingest_of_what_is_not_there(shop: Shop) -> None:
    """A file that cannot be read is the outside world's failure (3); one of no known kind is wrong usage (2)."""
    shop.run("ingest", shop.file("nothing.csv"), ends=3)
    (shop.folder / "what.csv").write_text("a,b\n1,2\n")
    assert "--as" in shop.run("ingest", shop.file("what.csv"), ends=2).output


def test_quarantine_can_be_let_go(shop: Shop) -> None:
    """Dropping removes what was named, and refuses what is not there."""
    shop.run("ingest", shop.file("customers.csv"), ends=1)
    assert 'did you mean "customers.csv"?' in shop.run("quarantine", "drop", "custmers.csv", ends=2).output
    assert shop.json("quarantine", "drop", "customers.csv")["files"] == ["customers.csv"]
    assert shop.json("quarantine", "list") == {"facts": [], "entries": []}


# ── what was decided ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_counts(played: Shop) -> None:
    """`status` has messages by state and every flow."""
    found = played.json("status")
    assert found["messages"]["accepted"] == 4
    flows = {flow["flow"]: flow for flow in found["flows"]}
    assert flows["cart-recovery"]["enrollments"] == {"completed": 1, "exited": 1}
    assert found["virtual"] is True
    assert "cart-recovery" in played.run("status").output


def test_why_tells_each_decision(played: Shop) -> None:
    """`why` has every decision with its clauses, their truth and the values found; and what comes next."""
    (story,) = played.json("why", "ann@example.test", "cart-recovery")
    assert (story["flow"], story["entered"], story["next"]) == ("cart-recovery", True, None)
    took = next(decision for decision in story["decisions"] if decision["decision"] == "took")
    clauses = {clause["clause"]: clause for clause in took["clauses"]}
    value = clauses["cart: {value: {gte: 80}}"]
    assert (value["holds"], value["found"], value["recomputed"]) == (True, "value 93.00", True)
    assert all(clause["found"] for decision in story["decisions"] for clause in decision["clauses"])
    assert not any("speaks against" in clause["found"] for d in story["decisions"] for clause in d["clauses"])
    assert {"at", "decision", "reason", "clauses"} <= set(story["decisions"][0])


def test_why_reads_as_sentences(played: Shop) -> None:
    """The story of somebody who bought says so, in words, with the fact that was found."""
    told = played.run("why", "c2", "cart-recovery").output
    assert "left the flow, because this came true: did: order_placed" in told
    assert "found once, last 2026-03-02 12:00" in told
    whole = played.run("why", "ben@example.test").output
    assert "a frequency cap had no room for it" in whole
    assert "may enter" in whole
    assert "{" not in "".join(line for line in whole.splitlines() if "next:" in line)


def test_why_names_the_likely_one(played: Shop) -> None:
    """An unknown customer or flow ends with 2 and names the likely one."""
    assert 'did you mean "ann@example.test"?' in played.run("why", "ann@exmple.test", ends=2).output
    assert 'did you mean "cart-recovery"?' in played.run("why", "c1", "cart-recovry", ends=2).output


def test_messages_are_listed_and_shown(played: Shop) -> None:
    """The ledger can be narrowed and one message shown with its attempts; only an unknown one can be settled."""
    accepted = played.json("messages", "list", "--state", "accepted", "--flow", "cart-recovery")
    assert len(accepted) == 4
    shown = played.json("messages", "show", str(accepted[0]["id"]))
    assert shown["attempts"][0]["outcome"] == "accepted"
    played.run("messages", "list", "--flow", "cart", ends=2)
    played.run("messages", "list", "--state", "lost", ends=2)
    played.run("messages", "show", "999", ends=2)
    played.run("messages", "resolve", str(accepted[0]["id"]), "retry", ends=2)
    missing = played.run("messages", "resolve", "99999", "retry", ends=2)
    assert "there is no message 99999" in missing.output


def test_a_customers_mails_can_be_previewed(played: Shop) -> None:
    """With --customer a mail shows the customer's own cart, and its links open nothing."""
    mails = played.json("preview", "cart-recovery", "--customer", "c1")["mails"]
    assert "Ann" in mails[0]["subject"]
    assert "Teapot" in mails[0]["text"]
    assert mails[0]["headers"]["X-Homing-Customer"] == "c1"
    played.run("preview", "cart-recovery", "--customer", "nobody", ends=2)
    played.run("preview", "cart-recovery", "--customer", "c1", "--sample", ends=2)


def test_customer_show_is_flat(played: Shop) -> None:
    """`customer show` has the fields of a fact, the counts, and events [{event, at}]."""
    record = played.json("customer", "show", "ben@example.test")
    assert (record["external_id"], record["orders"], record["spent"]) == ("c2", 1, 18)
    assert {"event": "order_placed", "at": "2026-03-02T11:00:00Z"} in record["events"]
    assert record["consents"][0]["state"] == "granted"
    assert played.json("customer", "show", "c1")["properties"] == {"shoe_size": 38}
    assert json.loads(played.run("customer", "export", "c2").stdout)["orders_placed"][0]["order_id"] == "o1"


def test_recommendations_are_explained(shop: Shop) -> None:
    """After a rebuild each pick says which strategy put it there and why."""
    shop.run("ingest", *(shop.file(name) for name in FILES), "--now", "2026-04-01", ends=1)
    assert shop.json("recommend", "rebuild")["rows"]
    picks = shop.json("recommend", "c1", "--from", "bestsellers")["picks"]
    assert [(pick["sku"], pick["strategy"]) for pick in picks] == [("T3", "bestsellers")]
    assert "sells best" in shop.run("recommend", "c1", "--from", "bestsellers").output
    shop.run("recommend", "nobody", ends=2)


# ── rights and switches ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_withdrawn_consent_stands(shop: Shop) -> None:
    """A consent recorded by hand shows in the customer's standing; an unknown topic names the likely one."""
    shop.run("ingest", shop.file("customers.csv"), ends=1)
    shop.run("customer", "consent", "c1", "--topic", "offers", "--state", "withdrawn")
    assert shop.json("customer", "consent", "c1")["topics"] == {"all": "granted", "offers": "withdrawn"}
    assert "--state" in shop.run("customer", "consent", "c1", "--at", "2026-01-01", ends=2).output
    told = shop.run("customer", "consent", "c1", "--topic", "ofers", "--state", "withdrawn", ends=2).output
    assert 'did you mean "offers"?' in told


def test_erasing_forgets_and_stays(shop: Shop) -> None:
    """Erasing asks for --yes; afterwards the person is unknown and a later file brings nobody back (exit 0)."""
    shop.run("ingest", shop.file("customers.csv"), ends=1)
    shop.run("customer", "erase", "c1", ends=2)
    shop.run("customer", "erase", "c1", "--yes")
    shop.run("customer", "show", "c1", ends=2)
    path = shop.folder / "again.csv"
    path.write_text("external_id,email\nc1,ann@example.test\n")
    assert shop.json("ingest", str(path), "--as", "customers")["erased"] == 1
    shop.run("customer", "show", "ann@example.test", ends=2)


def test_suppressing_has_a_scope(shop: Shop) -> None:
    """A customer is suppressed for all mail unless only marketing is meant."""
    shop.run("ingest", shop.file("customers.csv"), ends=1)
    shop.run("customer", "suppress", "c1", "--scope", "marketing")
    assert shop.json("customer", "show", "c1")["suppressed"] == ["marketing"]
    shop.run("customer", "suppress", "c2")
    assert shop.json("customer", "show", "c2")["suppressed"] == ["all"]


def test_pause_and_resume(shop: Shop) -> None:
    """A paused flow is shown as paused until it is resumed; an unknown one is refused with the likely name."""
    shop.run("apply", "--yes")
    shop.run("pause", "birthday")
    paused = {flow["flow"]: flow["paused"] for flow in shop.json("status")["flows"]}
    assert paused["birthday"]
    assert not paused["win-back"]
    shop.run("resume", "birthday")
    assert 'did you mean "birthday"?' in shop.run("pause", "birthda", ends=2).output
    shop.run("pause")
    assert shop.json("status")["paused"] is True
    shop.run("resume")
    assert shop.json("status")["paused"] is False


def test_a_real_database_takes_no_virtual_time(shop: Shop) -> None:
    """Writing with --now to a database on real time is refused; reading is not."""
    shop.run("ingest", shop.file("products.csv"), shop.file("customers.csv"), ends=1)
    assert "real time" in shop.run("tick", "--now", "2026-03-01", ends=2).output
    shop.run("status", "--now", "2026-03-01")
    shop.run("tick", "--until", "2030-01-01", ends=2)
    shop.run("tick", "--every", "5m", ends=2)


def test_applying_again_changes_nothing(shop: Shop) -> None:
    """The second `apply` of the same folder finds every flow unchanged."""
    first = {flow["flow"]: flow["change"] for flow in shop.json("apply", "--yes")["flows"]}
    again = {flow["flow"]: flow["change"] for flow in shop.json("apply", "--yes")["flows"]}
    assert set(first.values()) == {"new"}
    assert set(again.values()) == {"unchanged"}


def test_an_installation_is_examined_and_backed_up(shop: Shop) -> None:
    """`db` and `doctor` end with 0 on a new project that was applied."""
    shop.run("apply", "--yes")
    assert shop.json("db", "check")["up_to_date"] is True
    assert shop.json("doctor")["healthy"] is True
    assert Path(shop.json("db", "backup", shop.file("copy.db"))["file"]).stat().st_size > 0


def _leads_to_what_is_served(folder: Path) -> None:
    """Hold every picture and link of ours in the demo's mails to where `homing serve` answers without being told."""
    bodies = [message_from_bytes(path.read_bytes()) for path in (folder / "mailbox" / "new").iterdir()]
    pages = [part.get_payload(decode=True).decode() for mail in bodies for part in mail.walk() if part.get_content_type() == "text/html"]  # type: ignore[union-attr]  # fmt: skip
    shown = {source for page in pages for source in re.findall(r'<img[^>]* src="([^"]+)"', page)}
    assert shown
    assert all(source.startswith("http://localhost:8000/images/") and picture(source) for source in shown)
    assert all('href="http://localhost:8000/v/' in page for page in pages)


def test_the_demo_plays_and_says_what_comes_next(tmp_path: Path) -> None:
    """A small demo fills a mailbox, sums up by flow, and every command that it names works as printed."""
    folder = tmp_path / "demo"
    done = CliRunner().invoke(
        main, ["demo", str(folder), "--days", "12", "--customers", "60"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert any((folder / "mailbox" / "new").iterdir())
    typed = [
        line.strip().split("#")[0].split()
        for line in done.output.splitlines()
        if line.startswith("  homing ")
    ]
    assert len(typed) >= 3
    _leads_to_what_is_served(folder)
    assert ["homing", "serve"] in typed
    for words in typed:
        if words[1] == "serve":  # goes on until it is stopped
            continue
        Shop(folder).run(*(str(folder / word) if word == "mails" else word for word in words[1:]))
    refused = CliRunner().invoke(main, ["demo", str(folder), "--days", "1", "--customers", "10"])
    assert refused.exit_code == 2
    again = CliRunner().invoke(
        main, ["demo", str(folder), "--days", "2", "--customers", "10", "--again", "--json"]
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["customers"] == 10
