"""Documents as rows of one table of a SQL database: SQLite or PostgreSQL, through SQLAlchemy."""

import asyncio
import importlib
import importlib.util
import random
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow_azureml.core.documents import Document, check_ids
from airflow_azureml.errors import ConfigError, RefusedError, ServiceError, UnavailableError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Table
    from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

TABLE = "airflow_azureml_ledger"
#: Rows of one statement, and documents in a page of a scan.
ROWS, PAGE = 200, 1000
#: Seconds for a connection, and tries of a statement.
CONNECT_S, TRIES, FIRST_WAIT_S = 10, 5, 0.2
#: Drivers by database, the one first that is taken where the URL names none; and the module of one named otherwise.
_DRIVERS: Mapping[str, tuple[str, ...]] = {"postgresql": ("psycopg", "psycopg2"), "sqlite": ("pysqlite",)}
_MODULES: Mapping[str, str] = {"pysqlite": "sqlite3"}
#: PostgreSQL's codes for what another try may mend, besides a connection that is gone: a deadlock, a serialisation.
_PASSING = frozenset({"40P01", "40001", "55P03", "57P01", "57P03"})
#: What drivers say, without a code, of what another try does not mend.
_LASTING = ("authentication failed", "does not exist", "unable to open", "readonly", "no such", "could not translate")


class SqlDocuments:
    """Documents in one table, which is made when it is missing; use it with ``async with``.

    Each statement is a transaction of its own, and changes each row only if its version is the one expected: that holds
    under PostgreSQL's READ COMMITTED (a writer that has waited looks at the row again) and in SQLite, which writes one
    transaction at a time. Versions are random, so that none comes twice.

    Args:
        url: SQLAlchemy's, such as ``postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE`` or ``sqlite:////PATH``; it is
            shown nowhere.

    Raises:
        ConfigError: It is none of a database that is supported, or SQLAlchemy or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = _parsed(url)
        self._engine: Engine | None = None
        self._table: Table | None = None
        self._is_there = False

    def __repr__(self) -> str:
        return f"SqlDocuments({self.place})"

    @property
    def place(self) -> str:
        """Where it is, without the user and the password."""
        return f"{self._url.get_backend_name()} {self._url.host or ''}/{(self._url.database or '').lstrip('/')}"

    async def __aenter__(self) -> Self:
        """Make ready; nothing is asked yet."""
        import sqlalchemy as sa  # noqa: PLC0415  # an extra, and not when a DAG is parsed

        lite = self._url.get_backend_name() == "sqlite"
        wait = "timeout" if lite else "connect_timeout"
        self._engine = sa.create_engine(
            self._url,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            pool_pre_ping=True,
            connect_args={} if wait in self._url.query else {wait: CONNECT_S},  # the address's own goes before
        )
        self._table = sa.Table(
            TABLE,
            sa.MetaData(),
            # Compared and ordered by bytes, as in the other stores.
            sa.Column("id", sa.String(512).with_variant(sa.String(512, collation="C"), "postgresql"), primary_key=True),
            sa.Column("version", sa.String(32), nullable=False),
            sa.Column("text", sa.Text, nullable=False),
            sa.Column("written", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        """See `airflow_azureml.core.documents.Documents.read`."""
        check_ids(ids)
        found: dict[str, Document] = {}
        for some in _portions(set(ids)):
            found |= await self._run("Read documents", partial(self._select, names=some))
        return found

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        """See `airflow_azureml.core.documents.Documents.create`."""
        check_ids(texts)
        made: dict[str, Document] = {}
        for some in _portions(texts):
            asked = {name: texts[name] for name in some}
            made |= await self._run("Write documents", partial(self._insert, texts=asked))
        return made

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        """See `airflow_azureml.core.documents.Documents.replace`."""
        check_ids(changes)
        made: dict[str, Document] = {}
        for some in _portions(changes):
            asked = {name: changes[name] for name in some}
            made |= await self._run("Write documents", partial(self._update, changes=asked))
        return made

    async def remove(self, versions: Mapping[str, str]) -> set[str]:
        """See `airflow_azureml.core.documents.Documents.remove`."""
        check_ids(versions)
        gone: set[str] = set()
        for some in _portions(versions):
            asked = {name: versions[name] for name in some}
            gone |= await self._run("Remove documents", partial(self._delete, versions=asked))
        return gone

    async def scan(self, prefix: str) -> AsyncIterator[list[Document]]:
        """See `airflow_azureml.core.documents.Documents.scan`."""
        after = ""
        while True:
            page = await self._run("Read documents", partial(self._page, prefix=prefix, after=after, whole=True))
            yield page
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def ids(self, prefix: str) -> AsyncIterator[list[str]]:
        """See `airflow_azureml.core.documents.Documents.ids`."""
        after = ""
        while True:
            page = await self._run("List documents", partial(self._page, prefix=prefix, after=after, whole=False))
            yield [each.id for each in page]
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def now(self) -> datetime:
        """See `airflow_azureml.core.documents.Documents.now`."""
        import sqlalchemy as sa  # noqa: PLC0415  # as above

        def _ask(on: "Connection") -> datetime:
            time: datetime = on.execute(sa.select(sa.func.now())).scalar_one()
            return time

        return _utc(await self._run("Ask for the time", _ask))

    @property
    def _t(self) -> "Table":
        if self._table is None:
            raise AssertionError("use it with `async with`")
        return self._table

    def _select(self, on: "Connection", names: Collection[str]) -> dict[str, Document]:
        rows = on.execute(self._t.select().where(self._t.c.id.in_(list(names))))
        return {row.id: Document(row.id, row.version, row.text, _utc(row.written)) for row in rows}

    def _insert(self, on: "Connection", texts: Mapping[str, str]) -> dict[str, Document]:
        columns = self._t.c
        insert = importlib.import_module(f"sqlalchemy.dialects.{on.dialect.name}").insert
        rows = [{"id": name, "version": uuid.uuid4().hex, "text": text} for name, text in texts.items()]
        statement = insert(self._t).values(rows).on_conflict_do_nothing(index_elements=[columns.id])
        told = on.execute(statement.returning(columns.id, columns.version, columns.written)).all()
        return self._ours(on, texts, told)

    def _update(self, on: "Connection", changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        import sqlalchemy as sa  # noqa: PLC0415  # as above

        columns = self._t.c
        texts = {name: text for name, (_, text) in changes.items()}
        versions = {name: uuid.uuid4().hex for name in changes}
        expected = sa.tuple_(columns.id, columns.version).in_([(name, old) for name, (old, _) in changes.items()])
        statement = self._t.update().where(expected)
        statement = statement.values(
            text=sa.case(texts, value=columns.id),
            version=sa.case(versions, value=columns.id),
            written=sa.func.now(),
        )
        told = on.execute(statement.returning(columns.id, columns.version, columns.written)).all()
        return self._ours(on, texts, told)

    def _ours(self, on: "Connection", texts: Mapping[str, str], told: Sequence[Any]) -> dict[str, Document]:
        """Add to what a statement has written what it has written before, when its answer was lost."""
        made = {row.id: Document(row.id, row.version, texts[row.id], _utc(row.written)) for row in told}
        if missing := [name for name in texts if name not in made]:
            there = self._select(on, missing)
            made |= {name: found for name, found in there.items() if found.text == texts[name]}
        return made

    def _delete(self, on: "Connection", versions: Mapping[str, str]) -> set[str]:
        import sqlalchemy as sa  # noqa: PLC0415  # as above

        columns = self._t.c
        exact = [(name, version) for name, version in versions.items() if version]
        any_ = [name for name, version in versions.items() if not version]
        on.execute(self._t.delete().where(sa.tuple_(columns.id, columns.version).in_(exact) | columns.id.in_(any_)))
        left = on.scalars(sa.select(columns.id).where(columns.id.in_(list(versions))))
        return set(versions).difference(left)

    def _page(self, on: "Connection", prefix: str, after: str, *, whole: bool) -> list[Document]:
        """Read the documents after an id; without their texts unless the whole is asked for."""
        import sqlalchemy as sa  # noqa: PLC0415  # as above

        columns = self._t.c
        text = columns.text if whole else sa.literal("").label("text")
        chosen = sa.select(columns.id, columns.version, text, columns.written)
        # No character of an id is above "~".
        chosen = (
            chosen.where(columns.id >= prefix, columns.id > after, columns.id < f"{prefix}~")
            .order_by(columns.id)
            .limit(PAGE)
        )
        return [Document(row.id, row.version, row.text, _utc(row.written)) for row in on.execute(chosen)]

    async def _run(self, doing: str, work: Callable[["Connection"], T]) -> T:
        """Work in a thread, several times if need be.

        Raises:
            RefusedError: The database says no, and will say so again.
            UnavailableError: It does not answer, or others kept us from it, `TRIES` times.
            ConfigError: The driver does not know an option of the URL.
        """
        longest_s = FIRST_WAIT_S
        for left in reversed(range(TRIES)):
            try:
                return await asyncio.to_thread(self._in_thread, f"{doing} in {self.place}", work)
            except UnavailableError:
                if not left:
                    raise
            await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311  # spreads load, guards nothing
            longest_s *= 2
        raise AssertionError(TRIES)

    def _in_thread(self, doing: str, work: Callable[["Connection"], T]) -> T:
        from sqlalchemy import exc  # noqa: PLC0415  # as above

        if self._engine is None:
            raise AssertionError("use it with `async with`")
        try:
            with self._engine.connect() as on:
                if not self._is_there:
                    self._make_table(on)
                return work(on)
        except exc.DBAPIError as error:
            raise _failure(doing, error, self._url.password) from error
        except (exc.SQLAlchemyError, TypeError) as error:
            raise ConfigError(f"{doing}: {_words(error, self._url.password)}") from error

    def _make_table(self, on: "Connection") -> None:
        from sqlalchemy import exc  # noqa: PLC0415  # as above

        try:
            self._t.create(on, checkfirst=True)
        except exc.DBAPIError:
            self._t.create(on, checkfirst=True)  # somebody else has made it at the same moment
        self._is_there = True


def _parsed(url: str) -> "URL":
    """Read the URL, and choose a driver where it names none.

    Raises:
        ConfigError: See `SqlDocuments`.
    """
    try:
        from sqlalchemy import exc, make_url  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError(
            "A ledger in a database needs SQLAlchemy: install airflow-provider-azureml[sql] and the database's driver."
        ) from error
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise ConfigError("The ledger's database has no URL that SQLAlchemy can read.") from None
    backend, _, driver = parsed.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    if backend not in _DRIVERS:
        raise ConfigError(f"The ledger's database is {backend!r}; SQLite and PostgreSQL are supported.")
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError("The ledger's database is SQLite in memory, which nobody else sees; name a file.")
    wanted = (driver,) if driver else _DRIVERS[backend]
    known = [each for each in wanted if each in _DRIVERS[backend]]
    if not known:
        raise ConfigError(f"The driver {driver!r} of {backend} is not supported; use {' or '.join(_DRIVERS[backend])}.")
    installed = [each for each in known if importlib.util.find_spec(_MODULES.get(each, each))]
    if not installed:
        raise ConfigError(f"The ledger's database needs a driver that is not installed: {' or '.join(known)}.")
    return parsed.set(drivername=f"{backend}+{installed[0]}")


def _failure(doing: str, error: "DBAPIError", password: object) -> ServiceError:
    """Tell what may go well next time from what may not."""
    cause: Any = error.orig
    code = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
    words = _words(cause, password)
    name = type(cause).__name__
    passing = error.connection_invalidated or code in _PASSING
    if not code and name in {"OperationalError", "InterfaceError"}:
        passing = passing or not any(each in words for each in _LASTING)
    kind = UnavailableError if passing else RefusedError
    return kind(doing, code=code or name, message=words)


def _words(error: object, password: object) -> str:
    """Give the first line of what the driver says; its words never hold the password, but who knows."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
    return line.replace(str(password), "***") if password else line


def _utc(time: datetime) -> datetime:
    """Read a time of the database's: SQLite has none but UTC, and does not say so."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _portions(names: Collection[str]) -> Iterator[list[str]]:
    """Divide names, always in the same order: so that two writers wait for each other in one direction only."""
    ordered = sorted(names)
    for at in range(0, len(ordered), ROWS):
        yield ordered[at : at + ROWS]
