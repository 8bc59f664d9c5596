"""The back end that runs a pipeline published with SDK v1, which names its runs itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, frozen

from airflow_azureml.core.jobs import JobKey, JobSnapshot
from airflow_azureml.core.published import (
    TRUTHS,
    Assignments,
    PipelineEndpoint,
    Places,
    PublishedPipeline,
    is_storage_url,
)
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.start import Try, check_blobs
from airflow_azureml.wire import published

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.operators.backends import Order

#: The one setting that v1 takes when a pipeline is submitted; whether steps are reused was decided when it was built.
CONTINUE = "continue_on_step_failure"
#: Settings of ours that v1 has no say in, and that stand in every order.
WITHOUT_MEANING = frozenset({"force_rerun"})


@frozen(kw_only=True)
class _Aim:
    """A published pipeline, with what is passed to it."""

    found: published.Found
    assignments: Assignments
    experiment: str
    continues: bool | None


@define(kw_only=True)
class PublishedBackend:
    """A published pipeline, or a version of a pipeline endpoint."""

    client: "Client"
    settings: ConnectionSettings
    pipeline: PublishedPipeline | PipelineEndpoint
    order: "Order"
    _aimed: _Aim | None = None

    def check(self) -> None:
        """Find the published pipeline, and fit what is passed to it."""
        self._aim()

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look among the runs of the experiment."""
        aim = self._aim()
        return self.client.run(published.runs_of(self.settings.workspace, aim.found.data_plane, aim.experiment, key))

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Submit it, once."""
        aim = self._aim()
        check_blobs(self.settings, self.order.passed)
        submission = published.Submission(
            key=this.key,
            attempt=attempt,
            owner=this.owner,
            assignments=aim.assignments,
            experiment=aim.experiment,
            continues_on_step_failure=aim.continues,
            besides=this.marks,
        )
        return self.client.run(published.submit(self.settings.workspace, aim.found, submission))

    def _aim(self) -> _Aim:
        if self._aimed is None:
            continues = self._continues()
            workspace = self.settings.workspace
            found = self.client.run(published.describe(workspace, self.pipeline))
            self._aimed = _Aim(
                found=found,
                assignments=Assignments.bind(
                    found.published,
                    inputs=self.order.passed.values,
                    outputs=self.order.outputs,
                    places=self._places(),
                ),
                experiment=self.order.experiment or found.experiment,
                continues=continues,
            )
        return self._aimed

    def _places(self) -> Places:
        workspace = self.settings.workspace
        passed = [*self.order.passed.values.values(), *self.order.outputs.values()]
        known = self.client.run(published.blob_datastores(workspace)) if any(map(is_storage_url, passed)) else {}
        return Places(workspace=workspace.name, datastores=known)

    def _continues(self) -> bool | None:
        """Read the settings.

        Raises:
            ConfigError: There are others than v1 takes.
        """
        settings = {name: value for name, value in self.order.settings.items() if name not in WITHOUT_MEANING}
        unknown = sorted(set(settings) - {CONTINUE})
        wish = settings.get(CONTINUE)
        if unknown or (wish is not None and str(wish).lower() not in TRUTHS):
            raise ConfigError(
                f"A {self.pipeline} takes no setting but {CONTINUE}, true or false;"
                f" settings has {', '.join(unknown) or repr(wish)}."
            )
        return None if wish is None else str(wish).lower() == TRUTHS[0]
