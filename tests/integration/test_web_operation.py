"""`homing serve` as a program: it starts, answers, believes its proxy only, ends in order; and `live` wants its address."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from engine.diagnostics import Finding
from engine.runtime import web_address
from engine.store import meta
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.web import patience
from engine.web.guard import SAFE
from engine.web.limits import Limit
from tests.integration.web_server import (
    PATIENCE,
    Serving,
    links_of,
    serving,
    settings_at,
    small_served,
    small_shop,
)
from tests.servers.ports import deaf_port, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over a small shop on SQLite."""
    with small_served(sqlite_url, tmp_path) as served:
        yield served


@contextmanager
def program(root: Path, url: str, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `homing serve` and give it once it answers."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "cli",
        "serve",
        "--port",
        str(port),
        "--project",
        str(root),
        "--database",
        url,
        *more,
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            try:
                if httpx.get(f"{address}/readyz", timeout=PATIENCE).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.1)
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            yield process, address
        finally:
            if process.poll() is None:
                process.terminate()


@pytest.mark.parametrize(
    "more",
    [
        pytest.param((), id="one process"),
        pytest.param(("--workers", "2"), id="two processes", marks=[pytest.mark.slow, pytest.mark.web]),
    ],
)
def test_the_program_serves_and_ends(sqlite_url: str, tmp_path: Path, more: tuple[str, ...]) -> None:
    """It takes facts, logs each request by its id as JSON, and at SIGTERM answers what began before it ends with exit code 0."""
    settings_at(tmp_path)
    make = [
        sys.executable,
        "-m",
        "cli",
        "keys",
        "create",
        "shop",
        "-q",
        "--project",
        str(tmp_path),
        "--database",
        sqlite_url,
    ]
    key = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    with program(tmp_path, sqlite_url, "-v", "--json", *more) as (process, address):
        answers = []
        for number in range(20):
            call = {"event": "A", "userId": "u1", "messageId": f"m{number}", "writeKey": key}
            answers.append(httpx.post(f"{address}/v1/track", json=call, timeout=PATIENCE).status_code)
        assert answers == [200] * 20
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    lines = [json.loads(line) for line in said.splitlines()]
    calls = [line for line in lines if line.get("path") == "/v1/…"]
    assert len({line["request"] for line in calls if line["status"] == 200}) == 20
    database = connect(sqlite_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 20
    database.close()


def test_what_began_is_answered(small: Serving) -> None:
    """A request whose body is still on its way at SIGTERM is read and answered."""
    key = small.write_key()
    body = json.dumps({"event": "A", "userId": "u1", "writeKey": key}).encode()
    host, _, port = small.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /v1/t HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:10]
        )
        time.sleep(0.2)
        connection.sendall(body[10:])
        assert connection.recv(4_096).startswith(b"HTTP/1.1 200")


HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(("before", "sent"), [(b"", b""), (b"", HEAD), (HEAD + b"\r\n", HEAD)])
def test_a_head_that_never_ends_is_given_up(
    small: Serving, monkeypatch: pytest.MonkeyPatch, before: bytes, sent: bytes
) -> None:
    """Who says nothing, or stops in the middle of a request's head, the first or a later one, loses the connection."""
    host, _, port = small.url.removeprefix("http://").partition(":")
    if not before:
        monkeypatch.setattr(patience, "HEAD_SECONDS", 0.5)
    with socket.create_connection((host, int(port)), timeout=PATIENCE / 4) as client:
        if before:
            client.sendall(before)
            assert client.recv(10_000).startswith(b"HTTP/1.1 200")
            monkeypatch.setattr(
                patience, "HEAD_SECONDS", 0.5
            )  # not before: a busy machine may be slow to ask
        try:
            client.sendall(sent)
            told = client.recv(10_000)
        except ConnectionError:  # it was lost before we came to send
            told = b""
        except TimeoutError:
            pytest.fail("the server waits for the rest of a head")
        assert b"HTTP/1.1" not in told


def trickled(client: socket.socket) -> bytes:
    """Send a byte now and then until the server answers or hangs up, for half a minute; return what it said."""
    client.settimeout(0.1)
    for _ in range(300):
        try:
            client.sendall(b"x")
            return client.recv(10_000)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    return b"nothing, and it still listens"


def test_a_head_that_trickles_is_given_up(small: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends a head byte for byte has no longer for it than who stops in the middle."""
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.5)
    host, _, port = small.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(HEAD + b"X-Slow: ")
        assert trickled(client) == b""


@pytest.fixture
def hasty(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server that has a third of a second for each body."""
    from engine.web.app import create_app  # noqa: PLC0415
    from engine.web.site import open_site  # noqa: PLC0415

    settings, database = settings_at(tmp_path), connect(sqlite_url)
    app = create_app(open_site(settings, database))
    app.seconds = 0.3
    with serving(settings, database, app=app) as served:
        yield served
    database.close()


FORM = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n"
BEGUN = f"POST /signup HTTP/1.1\r\nHost: x\r\n{FORM}\r\na=".encode()


def test_a_body_that_never_ends_is_given_up(hasty: Serving) -> None:
    """A client that stops in the middle of a body does not hold a place for ever."""
    host, _, port = hasty.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE / 4) as client:
        client.sendall(BEGUN)
        try:
            told = client.recv(4_096)
        except TimeoutError:
            pytest.fail("the server waits for the rest of a body")
        assert told.startswith(b"HTTP/1.1 408")


def test_a_body_that_trickles_is_given_up(hasty: Serving) -> None:
    """A client that sends a byte now and then has no longer than one that stops."""
    host, _, port = hasty.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(BEGUN)
        assert trickled(client).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("trusted", [True, False])
def test_only_the_proxy_is_believed(sqlite_url: str, tmp_path: Path, trusted: bool) -> None:
    """X-Forwarded-For counts from `trusted_proxies`; from anybody else it does not get round the limit of the form."""
    settings = replace(settings_at(tmp_path), trusted_proxies=("127.0.0.1",) if trusted else ())
    database = connect(sqlite_url)
    with serving(settings, database) as served:
        served.state.limits.form = Limit(database, "form", 3, 3600.0)
        found = [
            served.client.post(
                "/signup",
                data={"email": f"p{number}@example.test", "consent": "1", "topic": "offers", "website": "x"},
                headers={"x-forwarded-for": f"203.0.113.{number}"},
            )
            for number in range(6)
        ]
    assert [answer.status_code for answer in found] == ([200] * 6 if trusted else [200] * 3 + [429] * 3)
    if not trusted:
        assert int(found[-1].headers["retry-after"]) > 0
    database.close()


def test_under_a_path_of_the_proxy(sqlite_url: str, tmp_path: Path) -> None:
    """With `--root-path` the pages find their style, whatever path the proxy takes away."""
    settings = settings_at(tmp_path)
    database = connect(sqlite_url)
    small_shop(database, settings)
    with serving(settings, database, root_path="/mail") as served:
        url = links_of(served.site, 1, base="").preferences().removeprefix("https://mail.kiyomi.test")
        page = served.client.get(url)
        assert page.status_code == 200
        assert 'href="../assets/pages.css' in page.text
        assert served.client.get("/assets/pages.css").status_code == 200
        assert served.client.get("/v1/nothing").headers["content-type"] == "application/json"
    database.close()


def test_readiness_and_health_differ(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its database the program is healthy and not ready; the log names the request, the page shows nothing of it."""
    settings = settings_at(tmp_path)
    database = connect(sqlite_url)
    with serving(settings, database) as served:
        assert served.client.get("/readyz").status_code == 200
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        database.close()
        path.write_bytes(b"this is no database, and never was one" * 200)
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        ready = served.client.get("/readyz")
        assert ready.status_code == 503
        assert "sqlite" not in ready.text.lower()
        assert served.client.get("/healthz").status_code == 200
        page = served.client.get("/p/x")
        assert page.status_code == 503
        assert "Traceback" not in page.text
        told = [
            getattr(record, "told", {})
            for record in caplog.records
            if record.getMessage() == "a request failed"
        ]
        assert page.headers["x-request-id"] in [each["request"] for each in told]
        assert page.headers["content-security-policy"] == SAFE["content-security-policy"]


# ── live ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def asked(served: Serving, url: str, mark: str) -> list[Finding]:
    """Return what `homing live` would find about an address."""
    return list(web_address.findings(replace(served.site.settings, web_url=url), mark))


def test_live_asks_its_own_address(small: Serving, tmp_path: Path) -> None:
    """The address is good where this installation answers; not where another one, something else, or nobody does."""
    with small.site.database.read() as connection:
        own = web_address.installation(connection)
        secret = meta.secret(connection).hex()
    assert own
    assert secret not in small.client.get("/healthz").text
    assert asked(small, small.url, own) == []
    assert [finding.code for finding in asked(small, small.url, "another")] == ["D309"]
    assert [finding.code for finding in asked(small, f"{small.url}/elsewhere", own)] == ["D309"]
    with deaf_port() as port:
        assert [finding.code for finding in asked(small, f"http://127.0.0.1:{port}", own)] == ["D309"]
    reserved = asked(small, "https://mail.kiyomi.test", own)
    assert [(finding.code, finding.severity) for finding in reserved] == [("D310", "warning")]


def test_serve_refuses_a_database_that_is_behind(tmp_path: Path) -> None:
    """It says what to do, and ends with exit code 3."""
    settings_at(tmp_path)
    url = f"sqlite:///{tmp_path / 'old.db'}"
    database = connect(url)
    upgrade(database)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    command = [
        sys.executable,
        "-m",
        "cli",
        "serve",
        "--port",
        "0",
        "--project",
        str(tmp_path),
        "--database",
        url,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 3
    assert "homing db upgrade" in done.stderr


def test_keys_on_the_command_line(sqlite_url: str, tmp_path: Path) -> None:
    """A key is shown once; a name is used once; an origin is one; revoking somebody else says who was meant."""
    settings_at(tmp_path)

    def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "cli",
            "keys",
            *arguments,
            "--project",
            str(tmp_path),
            "--database",
            sqlite_url,
        ]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    made = json.loads(keys("create", "website", "--origin", "https://shop.example", "--json").stdout)
    assert made["name"] == "website"
    assert made["key"].startswith("hk_")
    assert keys("create", "website").returncode == 2
    assert keys("create", "other", "--origin", "https://shop.example/path").returncode == 2
    listed = keys("list", "--json").stdout
    assert json.loads(listed)[0]["name"] == "website"
    assert made["key"] not in listed
    wrong = keys("revoke", "webside")
    assert (wrong.returncode, "website" in wrong.stderr) == (2, True)
    assert keys("revoke", "website").returncode == 0
    assert json.loads(keys("list", "--json").stdout)[0]["revoked_at"]
    assert json.loads(keys("rotate", "--json").stdout) == {"rotated": True, "secrets": 2}


def test_many_at_once(small: Serving) -> None:
    """Forty clients at once are all answered, and every event that was acknowledged is there once."""
    key = small.write_key()
    answers: list[int] = []

    def client(number: int) -> None:
        with httpx.Client(base_url=small.url, timeout=PATIENCE) as own:
            for place in range(5):
                call = {
                    "event": "A",
                    "userId": f"u{number}",
                    "messageId": f"{number}-{place}",
                    "writeKey": key,
                }
                answers.append(own.post("/v1/t", json=call).status_code)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 200
    assert len(small.events("a")) == 200


def test_no_call_is_answered_before_it_is_written(small: Serving) -> None:
    """While another program writes, a call waits; once it is answered it is there."""
    body, answers = {"event": "A", "userId": "u1", "writeKey": small.write_key()}, []

    def client() -> None:
        with httpx.Client(base_url=small.url, timeout=PATIENCE) as own:
            answers.append(own.post("/v1/t", json=body).status_code)

    thread = threading.Thread(target=client)
    with small.site.database.write() as connection:
        meta.put(connection, "held", "by another program")
        thread.start()
        thread.join(1.0)
        assert answers == []
    thread.join(PATIENCE)
    assert answers == [200]
    assert len(small.events("a")) == 1
