"""The commands ``airflow azureml dead-letters …``."""

import asyncio
from argparse import Namespace
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_azureml.cli.connection import CONNECTION, hook_of
from airflow_azureml.core.dead_letters import DeadLetter, printable, reason_of, without_secrets
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.dead_letters import DeadLetters

__all__ = ["COMMAND"]

#: Most characters of a message that are shown in a list.
SHOWN = 160


def show(args: Namespace) -> None:
    """Print the first messages that were put aside, and how many there are."""
    try:
        aside = asyncio.run(_letters(args).look())
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml dead-letters list: {error}") from error
    for letter in aside.first:
        print(_line(letter))  # noqa: T201  # a command prints
    print(f"{aside.count} messages of {args.queue_url} are put aside; {len(aside.first)} of them are shown.")  # noqa: T201  # likewise


def replay(args: Namespace) -> None:
    """Put messages back into the queue they came from."""
    _settle(args, replay=True)


def drop(args: Namespace) -> None:
    """Delete messages for good."""
    _settle(args, replay=False)


def _settle(args: Namespace, *, replay: bool) -> None:
    verb = "replay" if replay else "drop"
    chosen = frozenset(filter(None, args.id or ()))
    try:
        if bool(args.id) == bool(args.all) or not (chosen or args.all):
            raise ConfigError("Name messages with --id, as `list` shows them, or take --all of them.")
        taken = asyncio.run(_letters(args).settle(lambda one: args.all or _ident(one) in chosen, replay=replay))
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml dead-letters {verb}: {error}") from error
    for letter in taken:
        print(_line(letter))  # noqa: T201  # a command prints
    print(f"{len(taken)} messages were {'put back into' if replay else 'dropped from those of'} {args.queue_url}.")  # noqa: T201  # likewise
    missing = sorted(chosen - set(map(_ident, taken)))
    if missing:
        told = printable(", ".join(missing))
        raise SystemExit(f"airflow azureml dead-letters {verb}: not found, or held by somebody: {told}")


def _letters(args: Namespace) -> "DeadLetters":
    from airflow_azureml.client.dead_letters import DeadLetters  # noqa: PLC0415  # not for every command of Airflow's

    return DeadLetters(settings=hook_of(args.conn_id).settings, queue_url=args.queue_url)


def _ident(letter: DeadLetter) -> str:
    """Give a message's id as it is shown; whoever may write to the queue has written what it holds."""
    return printable(letter.message_id)


def _line(letter: DeadLetter) -> str:
    text = printable(without_secrets(letter.content))
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    reason = reason_of(letter.reason) or "put aside without its reason"
    return f"{_ident(letter) or '(no id)'}\n  {reason}\n  {shown}"


_QUEUE = Arg(
    ("queue_url",),
    help="The queue that the messages came from: https://ACCOUNT.queue.core.windows.net/QUEUE, "
    "sb://NAMESPACE.servicebus.windows.net/QUEUE or …/TOPIC/subscriptions/NAME",
)
_IDS = Arg(("--id",), action="append", help="A message's id, as `list` shows it; repeatable")
_ALL = Arg(("--all",), action="store_true", help="Take all of them")

COMMAND = GroupCommand(
    name="dead-letters",
    help="Look at queue messages that were put aside, and settle them",
    subcommands=(
        ActionCommand(
            name="list",
            help="Show the first 32, each with its reason, and how many there are",
            func=show,
            args=(_QUEUE, CONNECTION),
        ),
        ActionCommand(
            name="replay",
            help="Put them back into the queue they came from; those of a subscription into its topic",
            func=replay,
            args=(_QUEUE, _IDS, _ALL, CONNECTION),
        ),
        ActionCommand(name="drop", help="Delete them for good", func=drop, args=(_QUEUE, _IDS, _ALL, CONNECTION)),
    ),
)
