"""One database, SQLite or PostgreSQL, with two ways in: `read()` and `write()`.

A write transaction takes SQLite's single writer at its start (BEGIN IMMEDIATE), so that it never fails halfway for a
reader that was quicker, and on PostgreSQL commits synchronously. Durability is not negotiable: WAL with
synchronous=FULL on SQLite, synchronous_commit=on on PostgreSQL. `write()` commits when the block ends without an error.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Dialect, Engine, StaticPool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError, NoSuchModuleError, OperationalError

from engine.clock import machine_seconds, sleep
from engine.errors import OutsideError, UsageError

BUSY_SECONDS = 30
REST_SECONDS = 1.0  # a connection that rested longer is asked whether it lives before it is used
PREPARED_AFTER, MOST_PREPARED = 1, 300
PAUSES = (0.02, 0.1, 0.5)  # seconds before the work of a transaction that gave way is done again
GAVE_WAY = ("40P01", "40001")  # deadlock, serialisation
_PLAINER = {
    "attempt to write a readonly database": "its file, or the folder of it, may not be written by this user",
    "unable to open database file": "its file cannot be opened; may this user read and write it and its folder?",
    "no schema has been selected to create in": "this user may not make tables in it",
}
"""What drivers say of rights that are missing, in words that tell what to mend."""
T = TypeVar("T")


class Database:
    """A connection pool to one database; cheap to pass around, closed once."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._place: str | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose statements see one state of the database; nothing is written."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection inside a write transaction; it commits at the end, or rolls back on an error."""
        with self.engine.connect() as opened:
            connection = opened.execution_options(homing_write=True)
            with connection.begin():
                yield connection

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a write transaction and return its result; again where it had to give way to another's.

        PostgreSQL ends one of two transactions that wait for each other; the work is then done anew, so it must
        leave nothing behind but what it writes. Raises the error of the last try, and every other one at once.
        """
        for pause in PAUSES:
            try:
                with self.write() as connection:
                    return work(connection)
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in GAVE_WAY:
                    raise
                sleep(pause)
        with self.write() as connection:
            return work(connection)

    def place(self) -> str:
        """Return what tells this database from its copies: its file, or its URL, server and number there; "" in memory.

        A dump that is restored elsewhere has another number, even where the URL is the same; a standby that takes over has not.
        """
        if self._place is None:
            url = self.engine.url
            if self.is_sqlite:
                self._place = str(Path(url.database).resolve()) if url.database else ""
            else:
                with self.read() as connection:
                    found = [url.render_as_string(hide_password=True), *_postgres_identity(connection)]
                self._place = "\x00".join(found)
        return self._place

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def connect(url: str, root: Path | None = None) -> Database:
    """Open the database at a SQLAlchemy URL; relative SQLite paths are relative to `root`.

    Raise UsageError for a URL that names no database and OutsideError where it cannot be reached.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"the database URL is not understood: {error}") from error
    except ValueError as error:  # it would quote what stands where the port should, such as half a password
        raise UsageError(
            "the port in the database URL is no number; signs such as @ : / in a password are written %40 %3A %2F"
        ) from error
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(url, parsed.database, root)
    if parsed.get_backend_name() != "postgresql":
        raise UsageError(f"Homing works with SQLite and PostgreSQL, not with {parsed.get_backend_name()}")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = _engine(parsed, pool_use_lifo=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UsageError("PostgreSQL needs the driver: pip install 'homing[postgres]'") from error
    event.listen(engine, "connect", _prepare_postgres)
    event.listen(engine, "checkin", _rest)
    event.listen(engine, "checkout", partial(_wake, engine.dialect))
    return Database(engine, url)


def _postgres_identity(connection: Connection) -> Iterator[str]:
    """Yield the number of the database on its server, and that server's own where it may be asked."""
    yield str(connection.scalar(text("SELECT oid FROM pg_database WHERE datname = current_database()")))
    if connection.scalar(text("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")):
        yield str(connection.scalar(text("SELECT system_identifier FROM pg_control_system()")))


def is_unmade(url: str, root: Path) -> bool:
    """Return whether a URL names a file of SQLite that is not there yet; one that is not understood names none."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return False
    file = root / parsed.database
    return file.parent.is_dir() and not file.exists()


def _connect_sqlite(url: str, path: str | None, root: Path | None) -> Database:
    if not path or path == ":memory:":
        engine = _engine("sqlite://", poolclass=StaticPool)
    else:
        full = (root or Path()) / path
        if not full.parent.is_dir():
            raise OutsideError(f"the folder of the database does not exist: {full.parent}")
        engine = _engine(f"sqlite:///{full}", connect_args={"timeout": BUSY_SECONDS}, pool_use_lifo=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, url)


def _engine(url: str | URL, **how: Any) -> Engine:
    # Where a pool is given: the connection that came back last is taken next, with all that it has read and prepared.
    # Errors tell the statement and not what was bound to it: addresses would stand in logs.
    return create_engine(
        url, json_serializer=to_json, json_deserializer=from_json, hide_parameters=True, **how
    )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # We begin transactions ourselves: the driver's own notion of when to begin loses writes.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-65536",
        "temp_store=MEMORY",
        "mmap_size=1073741824",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("homing_write", False)
    text = "BEGIN IMMEDIATE" if write else "BEGIN"
    if connection.dispatch.before_cursor_execute:
        connection.exec_driver_sql(text)
    else:
        raw(connection, text, ())


def raw(connection: Connection, text: str, values: Any) -> Any:
    """Run a statement by the database's driver, whatever transaction there is; return its cursor.

    What the database refuses becomes SQLAlchemy's error, and a connection that was lost leaves the pool, as with its own
    statements.
    """
    driver = connection.connection.dbapi_connection
    assert driver is not None  # as the pool's own `cursor` does, which is called for each statement
    cursor = driver.cursor()
    try:
        (cursor.executemany if isinstance(values, list) else cursor.execute)(text, values)
    except connection.dialect.loaded_dbapi.Error as error:
        connection._handle_dbapi_exception(error, text, values, cursor, None)  # noqa: SLF001 - it has no public name
    return cursor


def _prepare_postgres(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        # The server may keep one plan for all values of a statement: with new plans each time, foreign keys, which it checks row
        # by row, took a third of its work. tests/integration/test_query_plans.py looks at those plans, too.
        # A program that stands still inside a transaction, or whose machine is gone, must not hold its locks for ever.
        cursor.execute(
            "SET jit = off; SET TIME ZONE 'UTC'; "
            "SET idle_in_transaction_session_timeout = '120s'; "
            "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
        )
    # What is asked a second time is asked again and again: the server reads it once, and keeps as many as flows may ask.
    connection.prepare_threshold, connection.prepared_max = PREPARED_AFTER, MOST_PREPARED
    connection.commit()


def _rest(_connection: Any, record: Any) -> None:
    record.info["rests_since"] = machine_seconds()


def _wake(dialect: Dialect, connection: Any, record: Any, _proxy: Any) -> None:
    """Ask a connection that rested for a while whether it still lives; one in use all the time is not asked each time."""
    since = record.info.get("rests_since")
    if since is not None and machine_seconds() - since > REST_SECONDS:
        try:
            alive = dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise InvalidatePoolError("the connection was closed while it rested")


def from_json(text: str | bytes) -> Any:
    """Read a JSON document that the database gave back; TypeError for a number, which SQLite gives back as it is."""
    return _decode(text.decode() if isinstance(text, bytes) else text, 0)[0]


def to_json(value: Any) -> str:
    """Write a JSON document as it is stored: compact, Unicode as it is, Decimals as numbers without loss of digits."""
    return "".join(_encode(value, 0))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        return isoformat()
    raise TypeError(f"{type(value).__name__} cannot stand in a JSON document")


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return what JSONEncoder.encode calls, made once: a batch writes thousands of small documents."""
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_plain)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return lambda value, _level: (encoder.encode(value),)
    made: Callable[[Any, int], Iterable[str]] = make(
        None, _plain, json.encoder.encode_basestring, None, ":", ",", False, False, True
    )
    return made


_encode = _encoder()
# What json.loads calls; a stored document begins at once.
_decode: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def outside(error: DBAPIError) -> OutsideError:
    """Return a plain sentence for a database that failed, without the statement and its values."""
    told = str(error.orig).splitlines()[0] if str(error.orig or "") else type(error).__name__
    return OutsideError(f"the database failed: {_PLAINER.get(told, told)}")
