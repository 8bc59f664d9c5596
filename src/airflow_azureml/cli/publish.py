"""The command ``airflow azureml publish``."""

import getpass
import json
import logging
import socket
import uuid
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand, Arg

from airflow_azureml.cli.connection import hook_of
from airflow_azureml.cli.evidence import keys_of
from airflow_azureml.errors import AzureMLError, EvidenceError

if TYPE_CHECKING:
    from airflow_azureml.client.publishing import Publisher
    from airflow_azureml.core.bundles import Bundle
    from airflow_azureml.core.environments import Environment

__all__ = ["COMMAND"]


def publish(args: Namespace) -> None:
    """Say what is to be done to publish a folder, and do it."""
    try:
        _publish(args)
    except EvidenceError as error:
        raise SystemExit(f"airflow azureml publish: {type(error).__name__}: {error}") from error
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml publish: {error}") from error
    except KeyboardInterrupt as error:
        told = "stopped; the same command goes on (a smoke run that was started goes on by itself)"
        raise SystemExit(f"airflow azureml publish: {told}") from error


def _publish(args: Namespace) -> None:
    from airflow_azureml.client.bundle_folder import opened_folder, read_bundle  # noqa: PLC0415  # not for every command of Airflow's
    from airflow_azureml.client.publishing import Publisher  # noqa: PLC0415  # likewise
    from airflow_azureml.core.publication import Wanted  # noqa: PLC0415  # likewise

    for talkative in ("azure.identity", "azure.ai.ml"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    folder = Path(args.folder)
    with opened_folder(folder, sha=args.sha, allow_dirty=args.allow_dirty) as (files, source):
        bundle = read_bundle(files, name=folder.resolve().name).only(args.only or ())
        environment = _environment(bundle, args.to)
        settings = hook_of(environment.conn_id).settings
        with hook_of(environment.conn_id).get_conn() as client:
            who = f"{getpass.getuser()}@{socket.gethostname()}/{uuid.uuid4().hex[:12]}"
            publisher = Publisher(
                client=client,
                settings=settings,
                wanted=Wanted.of(bundle, source, environment),
                folder=files,
                claimant=who,
                owner=who,
                say=_say,
            )
            _tell(publisher)
            if not args.plan:
                _see_proved(publisher)
                _go_on(publisher)
                _say(json.dumps(publisher.result()))


def _see_proved(publisher: "Publisher") -> None:
    """See that the commit has passed where it must have, before anything is changed."""
    from airflow_azureml.client.evidence import see_proved  # noqa: PLC0415  # not for every command of Airflow's

    required, source = publisher.wanted.environment.requires, publisher.wanted.source
    if required is None:
        return
    keys, settings = keys_of(required.evidence_conn_id), hook_of(required.conn_id).settings
    found = see_proved(required, source, settings=settings, keys=keys, now=datetime.now(UTC))
    _say(f"     commit {source.sha} has passed {required.environment}: {found.uri}")


def _go_on(publisher: "Publisher") -> None:
    while (pending := publisher.go_on()) is not None:
        publisher.wait(pending)


def _environment(bundle: "Bundle", name: str) -> "Environment":
    """Find the environment in the folder's manifest, by its name or its connection; else it is a connection's id."""
    from airflow_azureml.core.bundle_parts import MANIFEST  # noqa: PLC0415  # not for every command of Airflow's
    from airflow_azureml.core.environments import Environment, chain_of, named  # noqa: PLC0415  # likewise

    if bundle.environments is not None:
        known = chain_of(bundle.environments, whence=f"The environments of {MANIFEST}")
        if name in {each.name for each in known}:
            return named(known, name)
        if by_connection := [each for each in known if each.conn_id == name]:
            return by_connection[0]
    return Environment(name, conn_id=name)


def _tell(publisher: "Publisher") -> None:
    """Print what is to be done."""
    wanted, workspace = publisher.wanted, publisher.settings.workspace
    steps = publisher.plan()
    where = f"{wanted.environment.name} (workspace {workspace.name} in resource group {workspace.resource_group})"
    _say(f"{wanted.bundle.name} at commit {wanted.source.version} to {where}:")
    for number, step in enumerate(steps, start=1):
        _say(f"{number:3d}. {step.told}")
    if not steps:
        _say("     nothing is to be done: it is there already.")
    for file, kind in wanted.bundle.left.items():
        _say(f"     not published: {file} ({kind})")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a command prints


COMMAND = ActionCommand(
    name="publish",
    help="Publish the pipelines of a folder, at a git commit, to an environment",
    description=(
        "Create the environments and components of a folder under the commit as their version, deploy its pipelines"
        " beside what is there, smoke-run them, and switch the default deployments only then. What is to be done is"
        " printed before it is done; the same commit twice changes nothing. The last line is a JSON object."
    ),
    func=publish,
    args=(
        Arg(("folder",), help="The folder, in the work tree of a git repository"),
        Arg(
            ("--to",),
            required=True,
            metavar="ENVIRONMENT",
            help="An environment of the folder's publish.yaml, or the id of a connection of type azureml",
        ),
        Arg(("--sha",), default="", help="The commit: its digits, a branch or a tag; the one that is checked out"),
        Arg(("--plan",), action="store_true", help="Say what is to be done, and do nothing"),
        Arg(
            ("--allow-dirty",),
            action="store_true",
            help="Publish what is on the disk though it differs from the commit; its versions say so",
        ),
        Arg(
            ("--only",),
            action="append",
            metavar="PIPELINE",
            help="A pipeline component or an endpoint; repeatable. All when left out",
        ),
    ),
)
