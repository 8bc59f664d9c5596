"""The commands ``airflow azureml ledger …``."""

import asyncio
import contextlib
import json
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_azureml.cli.connection import CONNECTION, hook_of
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.filters import is_container
from airflow_azureml.core.ledger import BlobState, Shown
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.ledger_upkeep import Upkeep

T = TypeVar("T")

__all__ = ["COMMAND"]

#: Days of the oldest batch that can be asked for: a hundred years.
MOST_DAYS = 36_500
#: Columns of a table, and the most characters of one cell.
COLUMNS, WIDEST = ("state", "turn", "path", "etag", "batch", "job", "reason", "key"), 80


def show(args: Namespace) -> None:
    """Print what the ledger has of blobs."""
    states = [BlobState(each) for each in args.state or ()]

    async def _show(upkeep: "Upkeep") -> tuple[list[Shown], bool, dict[BlobState, int]]:
        if args.at_most < 1:
            raise ConfigError("--at-most must be 1 or more.")
        found, more = await upkeep.show(prefix=args.path, states=states, batch=args.batch, at_most=args.at_most)
        return found, more, {} if args.output == "json" else await upkeep.totals()

    found, more, folded = _run("show", args, _show)
    rows = [each.to_wire() for each in found]
    if args.output == "json":
        _say(json.dumps(rows, indent=2))
        return
    for line in _table(rows):
        _say(line)
    _say(f"{len(rows)} blob versions are shown{f'; there are more than --at-most {args.at_most}' if more else ''}.")
    if folded:
        counts = ", ".join(f"{count} {state.value}" for state, count in sorted(folded.items()))
        _say(f"Settled long ago, of which the key alone is kept: {counts}.")


def retry(args: Namespace) -> None:
    """Open blobs again that are scored or rejected."""
    opened = _run("retry", args, lambda upkeep: upkeep.retry(args.blob))
    _list(opened)
    _say(f"{len(opened)} blob versions are open again; the next claim takes those that it finds or is told of.")
    if not opened:
        raise SystemExit("airflow azureml ledger retry: nothing was scored or rejected there, so it is open already")


def forget(args: Namespace) -> None:
    """Remove blobs from the ledger."""
    forgotten = _run("forget", args, lambda upkeep: upkeep.forget(args.blob))
    _list(forgotten)
    _say(f"{len(forgotten)} blob versions are forgotten; one that is still there is as new.")


def compact(args: Namespace) -> None:
    """Fold what was settled long ago."""

    async def _compact(upkeep: "Upkeep") -> str:
        if args.older_than_days < 1:
            raise ConfigError("--older-than-days must be 1 or more: a batch younger than that may still be needed.")
        if args.older_than_days > MOST_DAYS:
            raise ConfigError(f"--older-than-days must be {MOST_DAYS} at most.")
        alive = {}
        if args.forget_gone:
            place = StorageUrl.parse(args.forget_gone)
            alive[f"{place.account}/{place.path}"] = await _keys(args, place)
        done = await upkeep.compact(older_than=timedelta(days=args.older_than_days), alive=alive)
        return (
            f"{done.folded} blob versions and {done.batches} batches were folded away; {done.reopened} entries of"
            f" batches that failed say themselves now that their blob is open; {done.dropped} blob versions that are"
            " gone were forgotten."
        )

    _say(_run("compact", args, _compact))


async def _keys(args: Namespace, place: StorageUrl) -> set[str]:
    """List the keys of all blob versions of a container."""
    from airflow_azureml.client.listings import Lister  # noqa: PLC0415  # not for every command of Airflow's

    if "/" in place.path or not place.path:
        raise ConfigError("--forget-gone takes a container's address: https://ACCOUNT.blob.core.windows.net/CONTAINER")
    async with Lister(hook_of(args.conn_id).settings, f"{place.blob_base}/{place.path}") as lister:
        return {each.arrival(place, place.path).key async for page in lister.pages() for each in page}


def _run(verb: str, args: Namespace, work: "Callable[[Upkeep], Awaitable[T]]") -> T:
    """Open the ledger and do the work; what goes wrong is one sentence."""

    async def _opened() -> T:
        async with _upkeep(args) as upkeep:
            return await work(upkeep)

    try:
        return asyncio.run(_opened())
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml ledger {verb}: {error}") from error


@contextlib.asynccontextmanager
async def _upkeep(args: Namespace) -> "AsyncIterator[Upkeep]":
    from airflow_azureml.client.ledger_upkeep import Upkeep  # noqa: PLC0415  # not for every command of Airflow's
    from airflow_azureml.hooks.ledgers import CONTAINER, sql_url  # noqa: PLC0415  # likewise

    if "://" in args.ledger:
        from airflow_azureml.client.blob_documents import BlobDocuments  # noqa: PLC0415  # likewise

        place = StorageUrl.parse(args.ledger)
        container = place.path.strip("/") or CONTAINER
        if place.service == "queue" or not is_container(container):
            raise ConfigError(
                f"--ledger {args.ledger!r} is none: https://ACCOUNT.blob.core.windows.net, or …/CONTAINER."
            )
        url = f"{place.blob_base}/{container}"
        async with BlobDocuments(hook_of(args.conn_id).settings, url) as documents:
            yield Upkeep(documents=documents, name=args.name)
    else:
        from airflow_azureml.client.sql_documents import SqlDocuments  # noqa: PLC0415  # likewise

        async with SqlDocuments(sql_url(_connection(args.ledger))) as rows:
            yield Upkeep(documents=rows, name=args.name)


def _connection(conn_id: str) -> Any:
    from airflow.models.connection import Connection  # noqa: PLC0415  # likewise
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415  # likewise

    try:
        return Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException as error:
        raise ConfigError(f"There is no connection {conn_id!r}: name the database's with --ledger.") from error


def _table(rows: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Write rows below each other; what cannot be printed is escaped, for names of blobs may hold anything."""
    cells = [[_cell(row[column]) for column in COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
    for line in (COLUMNS, *cells) if cells else ():
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(value))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _list(blobs: Iterable[Shown]) -> None:
    for line in _table([each.to_wire() for each in blobs]):
        _say(line)


def _say(line: str) -> None:
    print(line)  # noqa: T201  # a command prints


_LEDGER = Arg(
    ("--ledger",),
    required=True,
    help=(
        "Where it is: the storage account's blob service (https://ACCOUNT.blob.core.windows.net, with /CONTAINER if it"
        " is another than airflow-azureml-ledger), or the Airflow connection of a database"
    ),
)
_NAME = Arg(("--name",), default="default", help="The ledger's name (default)")
_BLOB = Arg(("blob",), help="A blob version's key, as `show` prints it, or a blob's whole path in its container")
_WHERE = (_LEDGER, _NAME, CONNECTION)

COMMAND = GroupCommand(
    name="ledger",
    help="Look at what was claimed, scored and rejected, and mend it",
    subcommands=(
        ActionCommand(
            name="show",
            help="Show blob versions and what became of them",
            func=show,
            args=(
                Arg(("--path",), default="", help="How the blobs' paths begin"),
                Arg(("--state",), action="append", choices=[each.value for each in BlobState], help="Repeatable"),
                Arg(("--batch",), default="", help="The batch that has them"),
                Arg(("--at-most",), type=int, default=100, help="How many to show (100)"),
                Arg(("-o", "--output"), choices=("table", "json"), default="table", help="How to write them (table)"),
                *_WHERE,
            ),
        ),
        ActionCommand(
            name="retry",
            help="Open blobs again that are scored or rejected",
            func=retry,
            args=(_BLOB, *_WHERE),
        ),
        ActionCommand(
            name="forget",
            help="Remove blobs from the ledger: one that is still there is as new",
            func=forget,
            args=(_BLOB, *_WHERE),
        ),
        ActionCommand(
            name="compact",
            help="Fold what was settled long ago; safe at any moment",
            func=compact,
            args=(
                Arg(
                    ("--older-than-days",),
                    type=int,
                    default=30,
                    help="How long ago a batch must have ended (30)",
                ),
                Arg(
                    ("--forget-gone",),
                    default="",
                    metavar="CONTAINER_URL",
                    help="List this container, and forget what is gone from it and was settled in an earlier month",
                ),
                *_WHERE,
            ),
        ),
    ),
)
