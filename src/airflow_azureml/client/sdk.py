"""azure-ai-ml at the edge: it reads job files, uploads code, and submits; in a worker, and nowhere else.

Importing it takes four seconds. It writes to the process's environment and shares a table of headers between threads,
so it belongs into a process that does nothing else at the time, as a task's does.
"""

import contextlib
import io
import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_azureml.client.credentials import credential
from airflow_azureml.core.pipelines import Invocation
from airflow_azureml.core.plain import PipelineFile, is_literal, located, settings_of
from airflow_azureml.core.workspace import Authentication, ConnectionSettings
from airflow_azureml.errors import ConfigError, RefusedError, ServiceError, UnavailableError
from airflow_azureml.wire.http import TRANSIENT

#: What an operator may be given as a job: a YAML file, its content, an object of azure-ai-ml, or what makes one.
JobSource = str | os.PathLike[str] | Mapping[str, Any] | Callable[[], Any] | Any
INSTALL = "install airflow-provider-azureml[sdk] where tasks run"


def load(source: JobSource, *, origin: Path | None = None) -> Any:
    """Make azure-ai-ml's job object of whatever describes a job.

    Args:
        source: What describes it.
        origin: The file to which relative paths in a mapping are relative; by default one where the task runs.

    Raises:
        ConfigError: azure-ai-ml is not installed, or says that this is no job.
    """
    try:
        from azure.ai.ml import load_job  # four seconds
        from azure.ai.ml.entities import Job
    except ImportError as error:
        raise ConfigError(f"This operator needs azure-ai-ml: {INSTALL} ({error}).") from error
    made = source() if callable(source) and not isinstance(source, Job) else source
    made = made.path if isinstance(made, PipelineFile) else made
    if isinstance(made, str | os.PathLike) and not Path(made).is_file():
        raise ConfigError(f"Job file {made} does not exist on this worker.")
    try:
        if isinstance(made, str | os.PathLike):
            return load_job(Path(made))
        if isinstance(made, Mapping) and not isinstance(made, Job):
            # A date, which YAML makes of an unquoted version, is text to azure-ai-ml.
            text = json.dumps(dict(made), default=str)
            return load_job(io.StringIO(text), relative_origin=str(origin or Path.cwd() / "job.yml"))
    except Exception as error:
        raise ConfigError(f"azure-ai-ml cannot read the job: {_words(error)}") from error
    if not isinstance(made, Job):
        raise ConfigError(f"The job is a {type(made).__name__}; give a YAML file, a mapping, or a job of azure-ai-ml.")
    return made


def mapping_of(job: object) -> dict[str, Any]:
    """Describe a pipeline job of azure-ai-ml as its YAML would, as far as what it takes and gives.

    Raises:
        ConfigError: It is no pipeline job.
    """
    try:
        from azure.ai.ml.entities import PipelineJob  # imported already, where such an object is
    except ImportError as error:
        raise ConfigError(f"A pipeline job of this kind needs azure-ai-ml: {INSTALL} ({error}).") from error
    if not isinstance(job, PipelineJob):
        raise ConfigError(
            f"The pipeline is a {type(job).__name__}; give a BatchEndpoint, a PipelineComponent, a PipelineFile, a"
            " mapping, a pipeline job of azure-ai-ml, or a callable that returns one of the last three."
        )
    inputs: dict[str, Any] = {}
    for name, one in _single_inputs(job).items():
        value = one.result()
        asset = getattr(value, "path", None)
        kind = one.type or getattr(value, "type", None)
        literal = {"type": kind, "default": value} if kind else value
        inputs[name] = {"type": kind or "uri_folder", "path": asset} if hasattr(value, "path") else literal
    outputs = {name: {"type": one.type} for name, one in job.outputs.items()}
    return {"type": "pipeline", "inputs": inputs, "outputs": outputs}


def fill(job: Any, invocation: Invocation, *, settings: Mapping[str, Any], experiment: str) -> Any:
    """Put what is passed into a pipeline job of azure-ai-ml; see `airflow_azureml.core.plain.filled`.

    An input that is not passed is as the job's author set it, whatever was passed to the same object before.
    """
    from azure.ai.ml import Input  # imported by whoever made the job

    for name, one in _single_inputs(job).items():
        setattr(job.inputs, name, one.result())
    for name, bound in invocation.inputs.items():
        if is_literal(bound):
            setattr(job.inputs, name, bound["value"])
        else:
            mode = getattr(job.inputs[name].result(), "mode", None)
            setattr(job.inputs, name, Input(**located(bound, "jobInputType"), mode=mode))
    for name, bound in invocation.outputs.items():
        job.outputs[name].path = located(bound, "jobOutputType")["path"]
    for name, value in settings_of(settings).items():
        setattr(job.settings, name, value)
    job.experiment_name = experiment or job.experiment_name
    return job


def _single_inputs(job: Any) -> dict[str, Any]:
    """Leave out groups of parameters, which are passed by whoever builds the job."""
    return {name: one for name, one in job.inputs.items() if not isinstance(one, Mapping)}


def submit(settings: ConnectionSettings, job: Any) -> None:
    """Upload what a job needs, and submit it under its name.

    Args:
        settings: The workspace and the identity.
        job: What `load` returned, with its name set.

    Raises:
        RefusedError: The service or the SDK refuses the job; the message has its words.
        UnavailableError: It was not taken, or its answer was lost; whoever tries again looks for the name first.
    """
    with asking(settings, f"Submit job {job.name} with azure-ai-ml") as client:
        client.jobs.create_or_update(job)


@contextlib.contextmanager
def asking(settings: ConnectionSettings, doing: str, **options: Any) -> Iterator[Any]:
    """Open azure-ai-ml's client for a block, whose errors become ours.

    Args:
        settings: The workspace and the identity.
        doing: What the block is for, as the start of a sentence; an error begins with it.
        options: More of ``MLClient``'s own.

    Raises:
        RefusedError: The service or the SDK refuses; the message has its words.
        UnavailableError: It was not taken, or its answer was lost.
    """
    from azure.ai.ml.exceptions import MlException  # imported by `load` already
    from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415

    try:
        with emulator_in_reach(settings), contextlib.redirect_stderr(io.StringIO()):
            # A progress display is what keeps a failed upload from hanging for ever; it is not shown.
            yield _client(settings, **options)
    except HttpResponseError as error:
        status = int(error.status_code or 0)
        kind: type[ServiceError] = UnavailableError if status in TRANSIENT or not status else RefusedError
        ident = str((getattr(error.response, "headers", None) or {}).get("x-ms-request-id") or "")
        code = str(getattr(error.error, "code", "") or "")
        raise kind(doing, status=status, code=code, message=_words(error), request_id=ident) from error
    except MlException as error:
        raise RefusedError(doing, code=type(error).__name__, message=_words(error)) from error
    except AzureError as error:
        raise UnavailableError(doing, message=_words(error)) from error


def _client(settings: ConnectionSettings, **options: Any) -> Any:
    from azure.ai.ml import MLClient

    workspace = settings.workspace
    return MLClient(
        credential(settings),
        workspace.subscription_id,
        workspace.resource_group,
        workspace.name,
        enable_telemetry=False,
        **options,
    )


@contextlib.contextmanager
def emulator_in_reach(settings: ConnectionSettings) -> Iterator[None]:
    """Let clients that name Azure's hosts reach an emulator on this machine, for as long as the block lasts.

    It changes the process's environment, and does nothing for a workspace that is no emulator's.

    Raises:
        UnavailableError: The emulator does not say how it is reached.
    """
    if settings.authentication is not Authentication.EMULATOR:
        yield
        return
    url = f"{settings.workspace.endpoint}/emulator/environment"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as answer:
            wanted = {str(name): str(value) for name, value in json.load(answer).items()}
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"Ask the emulator at {urlsplit(url).netloc} how to reach it", message=str(error)
        ) from error
    with environment(wanted):
        yield


@contextlib.contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Change the process's environment for as long as the block lasts."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _words(error: Exception) -> str:
    words = str(getattr(error, "message", "") or error).strip()
    return words[:800] or type(error).__name__
