"""The commands ``airflow azureml evidence …``."""

import contextlib
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_azureml.cli.connection import CONNECTION, hook_of
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.evidence import Evidences, Stored
    from airflow_azureml.client.signatures import Keys
    from airflow_azureml.core.evidence import Evidence

__all__ = ["COMMAND"]

#: The connection with the keys, unless told otherwise.
_KEYS = "azureml_evidence"


def key(args: Namespace) -> None:
    """Make a key, and print both halves of it."""
    from airflow_azureml.client.signatures import make_key  # noqa: PLC0415  # not for every command

    del args
    private, public = make_key()
    _say(f"private  {private}")
    _say(f"public   {public}")
    _say("The private half is the password of the connection that signs, azureml_evidence: keep it as a secret.")
    _say('The public half is for whoever verifies, in the extra of theirs: {"trusted": {"NAME": "PUBLIC HALF"}}.')


def show(args: Namespace) -> None:
    """Print the newest evidence of a commit in an environment, whatever it says."""
    with _evidences("show", args) as evidences:
        found = evidences.find(args.sha, args.environment)
        if found is None:
            raise ConfigError(f"There is no evidence of commit {args.sha} in environment {args.environment}.")
        for line in _lines(found):
            _say(line)


def verify(args: Namespace) -> None:
    """See what the newest evidence of a commit in an environment proves."""
    from airflow_azureml.core.evidence import Demand  # noqa: PLC0415  # not for every command

    age = timedelta(hours=args.most_hours) if args.most_hours else None
    with _evidences("verify", args) as evidences:
        demand = Demand(
            environment=args.environment,
            sha=args.sha,
            most_age=age,
            approved=args.approved,
            workspace=evidences.settings.workspace.arm_id,
        )
        found = evidences.require(demand, now=datetime.now(UTC))
    _say(f"{demand.told} has passed. Evidence {found.evidence.digest} is signed with {found.signer}: {found.uri}")


@contextlib.contextmanager
def _evidences(verb: str, args: Namespace) -> "Iterator[Evidences]":
    """Open the evidence; what goes wrong is one sentence, with the name of the error."""
    from airflow_azureml.client.evidence import FOLDER, open_evidences  # noqa: PLC0415  # not for every command

    try:
        settings, keys = hook_of(args.conn_id).settings, keys_of(args.evidence_conn_id)
        with open_evidences(settings, keys, folder=args.folder or FOLDER) as opened:
            yield opened
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml evidence {verb}: {type(error).__name__}: {error}") from error


def keys_of(conn_id: str = "") -> "Keys":
    """Read the keys; a command is no task, and reads Airflow's database, too.

    Args:
        conn_id: The connection; empty for ``azureml_evidence``.

    Raises:
        ConfigError: There is no such connection, or a key of it is none.
    """
    from airflow.models.connection import Connection  # noqa: PLC0415  # not for every command of Airflow's
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415  # likewise

    from airflow_azureml.client.signatures import Keys  # noqa: PLC0415  # likewise

    name = conn_id or _KEYS
    try:
        found = Connection.get_connection_from_secrets(name)
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"There is no connection {name!r}, which would have the keys of evidence: make it, or name another."
        ) from error
    return Keys.parse(password=found.password, extra=found.extra, source=f"Connection {name!r}")


def _lines(stored: "Stored") -> Iterator[str]:
    found = stored.evidence
    yield f"{found.digest}  {'passed' if found.passed else 'did not pass'}  signed with {stored.signer}"
    rows = {
        "environment": found.environment,
        "commit": found.sha,
        "workspace": found.workspace,
        "pipeline": found.pipeline,
        "job": found.job,
        "began": found.began.isoformat(),
        "ended": found.ended.isoformat(),
        "model": " ".join(filter(None, (found.model, found.model_sha256))),
        "approval": _approval(found),
        "previous": found.previous,
        "kept in": stored.uri,
    }
    yield from (f"  {name:<12} {value}" for name, value in rows.items() if value)
    yield from (f"  {'data':<12} {one.to_text()}" for one in found.data)
    yield from (f"  {'metric':<12} {name} = {value:g}" for name, value in sorted(found.metrics.items()))
    for name, verdict in (("gate", found.verdict), ("checks", found.checks)):
        if verdict is not None:
            yield f"  {name:<12} {verdict.sentence}"


def _approval(found: "Evidence") -> str:
    told = found.approval
    if told is None:
        return ""
    said = "approved" if told.approved else "rejected"
    return f"{said} by {told.by} at {told.at.isoformat()}. {told.note}".strip()


def _say(line: str) -> None:
    print(line)  # noqa: T201  # a command prints


_WHAT = (
    Arg(("environment",), help="The environment's name"),
    Arg(("sha",), help="The commit, all 40 digits"),
)
_WHERE = (
    Arg(
        ("--folder",),
        default="",
        help="The folder with the evidence, where tasks name another (azureml://datastores/NAME/paths/FOLDER/)",
    ),
    Arg(("--evidence-conn-id",), default=_KEYS, help="The connection with the keys (azureml_evidence)"),
    CONNECTION,
)

COMMAND = GroupCommand(
    name="evidence",
    help="Look at the evidence of what ran in an environment, verify it, and make keys",
    subcommands=(
        ActionCommand(name="key", help="Make a key that signs evidence", func=key, args=()),
        ActionCommand(name="show", help="Print the newest evidence of a commit", func=show, args=(*_WHAT, *_WHERE)),
        ActionCommand(
            name="verify",
            help="See that a commit has passed in an environment; the status is 1 where it has not",
            func=verify,
            args=(
                *_WHAT,
                Arg(("--approved",), action="store_true", help="A person must have agreed, too"),
                Arg(("--most-hours",), type=float, default=0.0, help="How old it may be; any age when left out"),
                *_WHERE,
            ),
        ),
    ),
)
