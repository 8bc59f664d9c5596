"""The command ``airflow azureml migrate-published``."""

import json
from argparse import Namespace
from pathlib import Path

from airflow.cli.cli_config import ActionCommand, Arg

from airflow_azureml.cli.connection import CONNECTION, hook_of
from airflow_azureml.core.migration import Migration
from airflow_azureml.core.published import Published
from airflow_azureml.errors import AzureMLError, ConfigError

__all__ = ["COMMAND"]


def migrate_published(args: Namespace) -> None:
    """Print, or write into a folder, what a pipeline that SDK v1 published becomes in v2."""
    try:
        published = _of_file(args.file) if args.file else _of_workspace(args.id, args.conn_id)
        made = Migration.of(published, endpoint=args.endpoint, compute=args.compute, outputs=args.output or ())
        if args.folder:
            _write(Path(args.folder), made)
        else:
            for name, text in made.files.items():
                print(f"# ---- {name}\n{text}")  # noqa: T201  # a command prints
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml migrate-published: {error}") from error


def _of_workspace(pipeline_id: str, conn_id: str) -> Published:
    from airflow_azureml.wire import published  # noqa: PLC0415  # not for every command of Airflow's

    if not pipeline_id:
        raise ConfigError("Name the published pipeline by its id, or give a --file.")
    hook = hook_of(conn_id)
    with hook.get_conn() as client:
        return client.run(published.read(hook.settings.workspace, pipeline_id))


def _of_file(name: str) -> Published:
    """Read v1's PipelineEntity from a file, with the EntityInterface of its graph as ``Interface`` if it is there."""
    try:
        entity = json.loads(Path(name).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"File {name} cannot be read as JSON: {error}") from error
    if not isinstance(entity, dict):
        raise ConfigError(f"File {name} holds no JSON object.")
    return Published.from_wire(entity, entity.get("Interface") or {})


def _write(folder: Path, made: Migration) -> None:
    """Write the files, over none that is there."""
    there = [name for name in made.files if (folder / name).exists()]
    if there:
        raise ConfigError(f"{', '.join(there)} is in {folder} already, and nothing was written.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.files.items():
            (folder / name).write_text(text)
            print(folder / name)  # noqa: T201  # a command prints
    except OSError as error:
        raise ConfigError(f"Nothing more can be written to {folder}: {error}") from error


COMMAND = ActionCommand(
    name="migrate-published",
    help="Write what a pipeline that SDK v1 published becomes in v2",
    description=(
        "Write the YAML of a pipeline component, a batch endpoint and its deployment in place of a pipeline that"
        " SDK v1 published, with comments for what cannot be carried over."
    ),
    func=migrate_published,
    args=(
        Arg(("id",), nargs="?", default="", help="The published pipeline's id, to be read from the workspace"),
        CONNECTION,
        Arg(
            ("--file",),
            default="",
            help=(
                "Read this JSON instead of the workspace: what GET …/Pipelines/ID answers, if possible with what"
                " GET …/Graphs/GRAPHID/Interface answers as its member Interface"
            ),
        ),
        Arg(("--folder",), default="", help="Write the three files here, instead of printing them"),
        Arg(("--endpoint",), default="", help="The batch endpoint's name; by default made of the pipeline's"),
        Arg(("--compute",), default="", help="The compute cluster of the steps"),
        Arg(
            ("--output",),
            action="append",
            help="A parameter that says where to write, and therefore becomes an output; repeatable",
        ),
    ),
)
