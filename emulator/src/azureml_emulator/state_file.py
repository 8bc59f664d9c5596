"""The state folder and its database: made whole or not at all, and refused in words when it is not as it was left.

SQLite takes an empty file, and one that is not there, for a new database: a workspace would be empty of a sudden. So a
new database is made beside, and put into its place at once; whatever else is found there is looked through before it is
used. What SQLite keeps besides (``-wal``) may be lost or torn only by somebody who removes or overwrites it: a process
that dies leaves it whole.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from azureml_emulator.schema import SCHEMA
from azureml_emulator.settings import SettingsError

FILE = "emulator.db"
#: The format of the database; what was written before there was a number says 0, and is the same.
FORMAT = 1
#: Only scripted runs have these, in Unix seconds and seconds: the beginning, the cancel, and how long that takes.
SCRIPTED = ("began", "canceled", "cancel_s")
_TABLES = frozenset({"resources", "runs", "scripts", "metrics", "params"})
#: What there was from the first release on.
_OLDEST = frozenset({"resources", "runs"})
_WITH_JSON = ("resources", "runs", "scripts")
#: What an emulator makes after its database; there is no such file without one.
_LATER = (f"{FILE}-wal", "identity-header")
_MAGIC = b"SQLite format 3\0"
#: What SQLite says of a place that it may not use; anything else is of what stands there.
_OF_PLACE = frozenset(
    {"SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_PERM"}
)
#: Of the log that SQLite writes ahead, by the order of the bytes in its checksums.
#: Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_LOG_MAGIC, _LOG_HEADER = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"), 32
_CURE = "Put a copy of it back that is whole, or begin anew with another --state-dir."


class StateError(SettingsError):
    """What was kept cannot be used; the message names the file and says what to do."""


def make_folder(state_dir: Path) -> None:
    """Make the state folder, and see that it can be written to.

    Raises:
        StateError: It cannot.
    """
    probe = state_dir / ".writable"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise StateError(
            f"--state-dir {state_dir} cannot be written to: {reason}. Choose a folder that can."
        ) from error


def opened(state_dir: Path) -> sqlite3.Connection:
    """Open the database of a state folder, or make it; it may be used by any thread, one at a time.

    Raises:
        StateError: It is damaged, incomplete, of a newer release, or cannot be written to.
    """
    path = state_dir / FILE
    if not path.exists():
        _refuse_rest(state_dir)
    with _told(path):
        if not path.exists():
            _make(path)
        _check_files(path)
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            path.chmod(0o600)
            _check(connection, path)
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what SQLite or the system complains of, and what to do."""
    try:
        yield
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    except UnicodeError as error:  # what SQLite itself says of garbage may hold some of it
        raise _damaged(path, "its texts are no UTF-8") from error
    except sqlite3.DatabaseError as error:
        name = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
        raise (_unusable if name in _OF_PLACE else _damaged)(path, str(error)) from error


def _unusable(path: Path, why: str) -> StateError:
    return StateError(f"{path} cannot be opened: {why}. See that it can be written to, and is nobody else's.")


def _damaged(path: Path, how: str) -> StateError:
    return StateError(f"{path} is damaged: {how}. {_CURE}")


def _refuse_rest(state_dir: Path) -> None:
    """Refuse to make a database where there was one."""
    if left := [name for name in _LATER if (state_dir / name).exists()]:
        raise StateError(f"{state_dir / FILE} is not there, although {left[0]} is: the workspaces are lost. {_CURE}")


def _make(path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    for name in (partial.name, f"{partial.name}-journal"):  # of a process that died
        path.with_name(name).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as made:
        partial.chmod(0o600)
        _prepare(made, journal="DELETE")
    partial.replace(path)


def _check_files(path: Path) -> None:
    """Look at what SQLite would take for nothing at all, instead of complaining."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise _damaged(path, "it is no SQLite database" if head else "it is empty")
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        with log.open("rb") as file:
            head = file.read(_LOG_HEADER)
        if len(head) < _LOG_HEADER or not head.startswith(_LOG_MAGIC):
            raise _damaged(log, "it is no write-ahead log of SQLite")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Look through the whole database: its format, its pages, its tables and the JSON in them.

    Raises:
        StateError: Something is wrong.
        sqlite3.DatabaseError: So wrong that SQLite cannot say it otherwise.
    """
    ((written,),) = connection.execute("PRAGMA user_version").fetchall()
    if written > FORMAT:
        raise StateError(
            f"{path} is of a newer azureml-emulator: its format is {written}, and this release knows {FORMAT}."
            " Use that release, or another --state-dir."
        )
    ((said,), *_) = connection.execute("PRAGMA integrity_check (1)").fetchall()
    if said != "ok":
        raise _damaged(path, " ".join(said.split()))
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing := sorted((_TABLES if written else _OLDEST) - found):
        raise _damaged(path, f"it lacks the table{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    for table in (name for name in _WITH_JSON if name in found):
        for is_json, _ in connection.execute(f"SELECT json_valid(body), body FROM {table}"):  # noqa: S608  # a constant
            if not is_json:
                raise _damaged(path, f"the table {table} holds what is no JSON")


def _prepare(connection: sqlite3.Connection, *, journal: str = "WAL") -> None:
    """Bring the tables to the newest format, and SQLite to keep what it has acknowledged when the process dies."""
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(SCHEMA)
    _add_columns(connection, "runs", SCRIPTED)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _add_columns(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
    there = {row[1] for row in connection.execute(f"PRAGMA table_info ({table})")}
    for column in columns:
        if column not in there:  # the file is of a release that had no scripts
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} REAL")
