"""The back ends that run a published pipeline: a batch endpoint, or a pipeline component run as a job of our naming."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from airflow_azureml.core import scoring
from airflow_azureml.core.jobs import JobKey, JobSnapshot
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import BatchEndpoint, Invocation, PipelineComponent, Target
from airflow_azureml.core.plain import AnyPipeline
from airflow_azureml.core.published import PipelineEndpoint, PublishedPipeline
from airflow_azureml.core.repair import Rerun, rerun_of
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.operators.plain import PlainBackend
from airflow_azureml.operators.published import PublishedBackend
from airflow_azureml.operators.start import Backend, Try, check_blobs
from airflow_azureml.wire import components, endpoints, named

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.client.targets import TargetMemory

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Order:
    """What a task wants to have run, now that templates are rendered.

    Attributes:
        outputs: The outputs' URIs, with the key in its place.
        experiment: The experiment to list the job under; empty for the back end's own.
        settings: A pipeline job's settings, such as ``force_rerun``; a batch endpoint's deployment has its own.
        repair: Whether an attempt takes over the steps that completed in those before it.
    """

    passed: Passed
    outputs: Mapping[str, str]
    experiment: str = ""
    settings: Mapping[str, Any] = field(factory=dict)
    repair: bool = False

    def rerun(self, this: Try) -> Rerun:
        """Decide how this try's job is submitted, and say it."""
        rerun = rerun_of(this.earlier, key=this.key, wanted=self.repair, settings=self.settings)
        if rerun.told:
            log.info("%s", rerun.told)
        return rerun


def backend_of(client: "Client", settings: ConnectionSettings, pipeline: AnyPipeline, order: Order) -> Backend:
    """Choose the back end that runs a pipeline."""
    match pipeline:
        case BatchEndpoint():
            return EndpointBackend(client=client, settings=settings, pipeline=pipeline, order=order)
        case PipelineComponent():
            return ComponentBackend(client=client, settings=settings, pipeline=pipeline, order=order)
        case PublishedPipeline() | PipelineEndpoint():
            return PublishedBackend(client=client, settings=settings, pipeline=pipeline, order=order)
        case _:
            return PlainBackend(client=client, settings=settings, pipeline=pipeline, order=order)


@define(kw_only=True)
class EndpointBackend:
    """A deployment of a batch endpoint, of a pipeline or of a model; the endpoint names its jobs itself."""

    client: "Client"
    settings: ConnectionSettings
    pipeline: BatchEndpoint
    order: Order
    _aimed: tuple[Target, Invocation] | None = None

    def check(self) -> None:
        """Find the deployment, and fit what is passed to it."""
        self._aim()

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look among the endpoint's jobs."""
        target, _ = self._aim()
        found = self.client.run(endpoints.jobs_of(self.settings.workspace, target))
        return [job for job in found if job.key == key.digest]

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Invoke the endpoint, once."""
        target, invocation = self._aim()
        check_blobs(self.settings, self.order.passed)
        submission = endpoints.Submission(
            key=this.key,
            attempt=attempt,
            owner=this.owner,
            invocation=invocation,
            experiment=self.order.experiment,
            besides=this.marks,
        )
        try:
            return self.client.run(endpoints.invoke(self.settings.workspace, target, submission))
        except RefusedError:
            _memory().forget(self.settings, self.pipeline)
            raise

    def _aim(self) -> tuple[Target, Invocation]:
        """Find the deployment and fit what is passed; what is remembered of it is believed only when it fits."""
        if self._aimed is None:
            self._aimed = self._aim_by_memory() or self._aim_anew()
        return self._aimed

    def _aim_by_memory(self) -> tuple[Target, Invocation] | None:
        remembered = _memory().recall(self.settings, self.pipeline)
        if remembered is None:
            return None
        try:
            return remembered, self._fit(remembered)
        except ConfigError:
            log.info("What is passed does not fit what is remembered of %s; reading it anew", self.pipeline)
            return None

    def _aim_anew(self) -> tuple[Target, Invocation]:
        target = self.client.run(endpoints.describe(self.settings.workspace, self.pipeline))
        _memory().keep(self.settings, self.pipeline, target)
        return target, self._fit(target)

    def _fit(self, target: Target) -> Invocation:
        if target.serves_model:
            return scoring.bind(
                self.order.passed,
                outputs=self.order.outputs,
                assets=self.settings.workspace.arm_id,
                deployment=f"{target.endpoint}/{target.deployment}",
                experiment=self.order.experiment,
            )
        return Invocation.bind(
            target.interface,
            inputs=self.order.passed.values,
            outputs=self.order.outputs,
            assets=self.settings.workspace.arm_id,
            pipeline=f"{target.endpoint}/{target.deployment}",
        )


def _memory() -> "TargetMemory":
    from airflow_azureml.client.targets import TargetMemory, default_folder  # noqa: PLC0415  # not for DAG parsing

    return TargetMemory(folder=default_folder())


@define(kw_only=True)
class ComponentBackend:
    """A registered pipeline component, run as a pipeline job whose name is ours: the name itself is the key."""

    client: "Client"
    settings: ConnectionSettings
    pipeline: PipelineComponent
    order: Order
    _found: components.Found | None = None
    _invocation: Invocation | None = None

    def check(self) -> None:
        """Find the component, and fit what is passed to it."""
        workspace = self.settings.workspace
        self._found = self.client.run(components.describe(workspace, self.pipeline))
        self._invocation = Invocation.bind(
            self._found.interface,
            inputs=self.order.passed.values,
            outputs=self.order.outputs,
            assets=workspace.arm_id,
            pipeline=str(self.pipeline),
        )

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look for the names that attempts have."""
        return self.client.run(named.named(self.settings.workspace, key))

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Put the job; one of that name that is there already is adopted."""
        if self._found is None or self._invocation is None:
            self.check()
        if self._found is None or self._invocation is None:
            raise ConfigError(f"{self.pipeline} was not found.")
        check_blobs(self.settings, self.order.passed)
        rerun = self.order.rerun(this)
        found = evolve(self._found, steps=rerun.fenced(self._found.steps))
        body = components.job_of(found, self._invocation, experiment=self.order.experiment, settings=rerun.settings)
        workspace = self.settings.workspace
        return self.client.run(named.put(workspace, this.key, attempt, body, owner=this.owner, besides=this.marks))
