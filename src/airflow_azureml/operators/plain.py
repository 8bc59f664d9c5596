"""The back end that runs a pipeline job which is published nowhere, and what jobs of azure-ai-ml's have alike."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from attrs import define, evolve, frozen

from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, KEY_PROPERTY, OWNER_PROPERTY, JobKey, JobSnapshot
from airflow_azureml.core.pipelines import Interface, Invocation
from airflow_azureml.core.plain import (
    PipelineFile,
    PlainPipeline,
    filled,
    interface_of,
    keeping_azure_expressions,
    named,
    released,
)
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from airflow_azureml.operators import preflight
from airflow_azureml.operators.start import Try, check_blobs
from airflow_azureml.wire import jobs
from airflow_azureml.wire import named as names

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client
    from airflow_azureml.operators.backends import Order

log = logging.getLogger(__name__)

#: The type of jobs whose properties azure-ai-ml 1.35 leaves out when it submits them; their tags it does not.
SPARK = "spark"


class AzureExpressionsOperator(BaseOperator):
    """Base of operators whose templates hold ``${{inputs.x}}`` and its like: those are Azure ML's, and are kept."""

    def render_template(
        self,
        content: Any,
        context: "Context",
        jinja_env: "jinja2.Environment | None" = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """Render as Airflow does, but for what Azure ML puts in at run time."""
        kept = keeping_azure_expressions(content) if isinstance(content, str) else content
        return super().render_template(kept, context, jinja_env, seen_oids)


def submit_named(client: "Client", settings: ConnectionSettings, job: Any, *, this: Try, attempt: int) -> JobSnapshot:
    """Submit a job of azure-ai-ml under a name of ours; one of that name that is there already is adopted.

    Raises:
        RefusedError: The service or the SDK refuses the job.
        UnavailableError: It was not taken, or nobody knows; whoever tries again looks first.
    """
    from airflow_azureml.client import sdk  # noqa: PLC0415  # not for DAG parsing

    if this.preflight:
        preflight.of_job(client, settings, job).check()
    job.name = this.key.job_name(attempt)
    ours = {**this.marks, KEY_PROPERTY: this.key.digest, ATTEMPT_PROPERTY: str(attempt), OWNER_PROPERTY: this.owner}
    job.properties = {**(job.properties if isinstance(job.properties, Mapping) else {}), **ours}
    if job.type == SPARK:
        job.tags = {**(job.tags or {}), **ours}
    try:
        sdk.submit(settings, job)
    except RefusedError as error:
        if not any(word in str(error) for word in names.TAKEN):
            raise
        log.info("Job %s is there already; it is adopted", job.name)
    except UnavailableError as lost:
        try:
            return client.run(jobs.get(settings.workspace, job.name))
        except RefusedError:
            raise lost from None
    return client.run(jobs.get(settings.workspace, job.name))


@frozen(kw_only=True)
class _Mapped:
    """A pipeline job as its YAML says it.

    Attributes:
        origin: The file to which its relative paths are relative; None for one where the task runs.
    """

    job: Mapping[str, Any]
    origin: Path | None = None

    @property
    def interface(self) -> Interface:
        """What it takes and gives."""
        return interface_of(self.job, self._read)

    def loaded(self, invocation: Invocation, order: "Order") -> Any:
        """Make azure-ai-ml's object of it, with what is passed."""
        from airflow_azureml.client import sdk  # noqa: PLC0415  # not for DAG parsing

        job = filled(self.job, invocation, settings=order.settings, experiment=order.experiment)
        return sdk.load(job, origin=self.origin)

    def _read(self, reference: str) -> Mapping[str, Any] | None:
        """Read a component that stands in a file beside this one; of others azure-ai-ml will know."""
        folder = self.origin.parent if self.origin else Path.cwd()
        file = folder / reference.removeprefix("file:")
        return None if reference.startswith("azureml:") or not file.is_file() else _read(file, "Component")


@frozen(kw_only=True)
class _Object:
    """A pipeline job of azure-ai-ml."""

    job: Any

    @property
    def interface(self) -> Interface:
        """What it takes and gives."""
        from airflow_azureml.client import sdk  # noqa: PLC0415  # not for DAG parsing

        return interface_of(sdk.mapping_of(self.job))

    def loaded(self, invocation: Invocation, order: "Order") -> Any:
        """Put what is passed into it."""
        from airflow_azureml.client import sdk  # noqa: PLC0415  # not for DAG parsing

        return sdk.fill(self.job, invocation, settings=order.settings, experiment=order.experiment)


@define(kw_only=True)
class PlainBackend:
    """A pipeline job that is published nowhere, submitted by azure-ai-ml under a name of ours."""

    client: "Client"
    settings: ConnectionSettings
    pipeline: PlainPipeline
    order: "Order"

    def check(self) -> None:
        """Fit what is passed to the job; what a callable makes is made, and checked, when it is to be submitted."""
        source = released(self.pipeline)
        if not callable(source):
            self._fit(_read_pipeline(source))

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look for the names that attempts have."""
        return self.client.run(names.named(self.settings.workspace, key))

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Read the job, and submit it; one of that name that is there already is adopted."""
        source = released(self.pipeline)
        plain = _read_pipeline(source() if callable(source) else source)
        invocation = self._fit(plain)
        check_blobs(self.settings, self.order.passed)
        rerun = self.order.rerun(this)
        job = plain.loaded(invocation, evolve(self.order, settings=rerun.settings))
        for step in job.jobs.values():
            if rerun.variables and step.type == "command":
                step.environment_variables = {**(step.environment_variables or {}), **rerun.variables}
        return submit_named(self.client, self.settings, job, this=this, attempt=attempt)

    def _fit(self, plain: _Mapped | _Object) -> Invocation:
        return Invocation.bind(
            plain.interface,
            inputs=self.order.passed.values,
            outputs=self.order.outputs,
            assets=self.settings.workspace.arm_id,
            pipeline=named(self.pipeline),
        )


def _read_pipeline(source: Any) -> _Mapped | _Object:
    """Read what describes a pipeline job.

    Raises:
        ConfigError: There is no such file, or it is no YAML, or the description is none.
    """
    if isinstance(source, PipelineFile):
        file = Path(source.path).absolute()
        if not file.is_file():
            raise ConfigError(f"Pipeline file {source.path} does not exist on this worker.")
        return _Mapped(job=_read(file, "Pipeline"), origin=file)
    return _Mapped(job=source) if isinstance(source, Mapping) else _Object(job=source)


def _read(file: Path, what: str) -> Mapping[str, Any]:
    """Read a YAML file.

    Raises:
        ConfigError: It cannot be read, or is no mapping.
    """
    from airflow.sdk import yaml  # noqa: PLC0415  # Airflow's own, which needs PyYAML

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # type: ignore[attr-defined]  # PyYAML's, handed on
        raise ConfigError(f"{what} file {file} cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{what} file {file} holds a {type(content).__name__}, not a mapping.")
    return content
