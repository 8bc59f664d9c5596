"""``@task.azureml``: a Python function as an Azure ML command job."""

import functools
import inspect
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core import functions, runner
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.reports import Report
from airflow_azureml.core.triage import Cause
from airflow_azureml.errors import (
    AzureMLError,
    ConfigError,
    JobCanceledError,
    JobError,
    UnavailableError,
)
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLTaskOperator", "azureml_task"]

#: The XCom with the small result that every job leaves; the return value is the function's.
JOB_XCOM = "azureml_job_result"
OUTPUT = "result"
#: What of the job is this operator's own to say.
OURS = ("$schema", "type", "name", "command", "code", "environment", "compute", "experiment_name")
REGISTERED = "azureml:"


class AzureMLTaskOperator(DecoratedOperator, AzureMLJobOperator):
    """Runs a Python function as an Azure ML command job; made by ``@task.azureml``.

    The function's source goes along as the job's code, its arguments as a JSON file beside it. What it returns, a JSON
    value of at most 48 kB, is the task's return value; what it raises fails the task, with the remote traceback in the
    task's log. The function is never called in Airflow.

    Args:
        python_callable: The function. It has to stand alone: see `airflow_azureml.core.functions.ShippedFunction.of`.
        environment: An image (``mcr.microsoft.com/…``), a registered environment (``azureml:NAME:VERSION``), or a
            mapping as in a job's YAML; templated.
        compute: A compute's name, templated; empty for serverless.
        packages: Requirements as pip takes them, installed on top of an image, with the worker's version of Python;
            Azure ML builds that environment once.
        job_options: More of the command job, as its YAML says it (``resources``, ``limits``, ``identity``,
            ``environment_variables``, ``inputs``, ``outputs``, …); templated.
        kwargs: What `airflow_azureml.operators.job.AzureMLJobOperator` takes but ``job``, and Airflow's own.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *("environment", "compute", "packages", "job_options", "experiment", "idempotency_key", "conn_id"),
    )
    template_fields_renderers = {  # noqa: RUF012  # Airflow's own attribute
        **DecoratedOperator.template_fields_renderers,
        "environment": "json",
        "job_options": "json",
    }
    custom_operator_name = "@task.azureml"

    def __init__(
        self,
        *,
        environment: str | Mapping[str, Any],
        compute: str = "",
        packages: Sequence[str] = (),
        job_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(job="", **kwargs)
        self.environment = environment
        self.compute = compute
        self.packages = packages
        self.job_options = job_options

    def execute(self, context: "Context") -> Any:
        """Write down the call, and submit it unless it was."""
        try:
            function = functions.ShippedFunction.of(self.python_callable)
            args, kwargs = self._arguments(context)
            files = functions.files_of(function, functions.call_text(function, args, kwargs))
            description = self._description()
        except ConfigError as error:
            raise AirflowFailException(str(error)) from error
        with tempfile.TemporaryDirectory(prefix="airflow-azureml-") as folder:
            self.job = functools.partial(_lay_out, description, files, folder)
            return super().execute(context)

    def failed(self, context: "Context", job: JobSnapshot, error: JobError) -> JobError:
        """Say what the function raised, where it did."""
        failure = None if isinstance(error, JobCanceledError) else self._remote_failure(job.name)
        if failure is None:
            return super().failed(context, job, error)
        self.log.info("Azure ML says: %s", error)
        self.log.error("%s raised in job %s:\n%s", self.python_callable.__name__, job.name, failure.traceback)
        told = f"{self.python_callable.__name__} raised in the job: {failure.message}"
        return JobError(f"Job {job.name}: {told}\nThe job: {job.studio_url}", cause=Cause.USER_CODE)

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> Any:
        """Return what the function returned; the small result of the job goes into an XCom of its own."""
        context["ti"].xcom_push(key=JOB_XCOM, value=super().result(context, job, report))
        folder = report.outputs.get(OUTPUT)
        doing = f"Read what {self.python_callable.__name__} returned in job {job.name}"
        if not folder:
            raise UnavailableError(doing, message=f"Its output {OUTPUT} is not known. {' '.join(report.unread)}")
        content = self._read(f"{folder.rstrip('/')}/{runner.RETURNED}", most_bytes=2 * functions.MOST_RETURNED)
        if content is None:
            raise UnavailableError(doing, message=f"There is no {runner.RETURNED} in {folder}.")
        return functions.returned(content, job=job.name)

    def _arguments(self, context: "Context") -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Collect the arguments; parameters that are named as Airflow's context names things get those."""
        signature = inspect.signature(self.python_callable)
        given = signature.bind_partial(*self.op_args, **self.op_kwargs).arguments
        named: Mapping[str, Any] = dict(context)
        injected = {name: named[name] for name in signature.parameters if name in named and name not in given}
        return list(self.op_args), {**self.op_kwargs, **injected}

    def _description(self) -> dict[str, Any]:
        """Describe the job, as its YAML would."""
        options = dict(self.job_options or {})
        wrong = sorted(name for name in options if name in OURS)
        if OUTPUT in (options.get("outputs") or {}):
            wrong.append(f"outputs.{OUTPUT}")
        if wrong:
            raise ConfigError(f"@task.azureml: job_options must not have {', '.join(wrong)}; that is ours to say.")
        described = {
            "display_name": self.task_id,
            **options,
            "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
            "type": "command",
            "command": f"python {functions.RUNNER_FILE} ${{{{outputs.{OUTPUT}}}}}",
            "environment": _environment(self.environment, self.packages),
            "outputs": {**(options.get("outputs") or {}), OUTPUT: {"type": "uri_folder"}},
        }
        return {**described, "compute": self.compute} if self.compute else described

    def _remote_failure(self, job: str) -> functions.RemoteFailure | None:
        """Read what the function raised; None when nothing of that kind was written."""
        try:
            content = self._read(outputs.artifact(job, runner.RAISED), most_bytes=functions.MOST_ERROR)
        except AzureMLError as error:
            self.log.warning("What the function raised in job %s could not be read: %s", job, error)
            return None
        return None if content is None else functions.RemoteFailure.from_wire(content)

    def _read(self, uri: str, *, most_bytes: int) -> bytes | None:
        from airflow_azureml.client.small_files import read_small  # noqa: PLC0415  # not when a DAG is parsed

        hook = AzureMLHook(self.conn_id)
        settings = hook.settings
        with hook.get_conn() as client:
            url = client.run(outputs.blob_url(settings.workspace, uri, domain=settings.addresses.storage))
        return read_small(settings, url, most_bytes=most_bytes)


def azureml_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function, which runs as an Azure ML command job: ``@task.azureml(environment=…)``.

    Args:
        python_callable: The function, when used without arguments.
        kwargs: See `AzureMLTaskOperator`.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=AzureMLTaskOperator, **kwargs
    )


def _lay_out(description: Mapping[str, Any], files: Mapping[str, str], folder: str) -> dict[str, Any]:
    """Write the job's code into a folder, and return the job."""
    for name, text in files.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
    return {**description, "code": folder}


def _environment(said: str | Mapping[str, Any], packages: Sequence[str]) -> str | dict[str, Any]:
    """Describe the environment; packages are laid over an image by a conda file.

    Raises:
        ConfigError: There is none, or packages are to be added to one that is described elsewhere.
    """
    if not said:
        raise ConfigError("@task.azureml: environment is empty; give an image, azureml:NAME:VERSION, or a mapping.")
    is_registered = isinstance(said, str) and (said.startswith(REGISTERED) or "/environments/" in said)
    described: dict[str, Any] = {"image": said} if isinstance(said, str) else dict(said)
    if not packages:
        return str(said) if is_registered else described
    if is_registered or set(described) != {"image"} or isinstance(packages, str):
        raise ConfigError("@task.azureml: packages (a list) can be added to an image, and to nothing else.")
    python = f"python={sys.version_info.major}.{sys.version_info.minor}"
    conda = {"name": "task", "channels": ["conda-forge"], "dependencies": [python, "pip", {"pip": list(packages)}]}
    return {"image": described["image"], "conda_file": conda}
