"""The beginning of a release in a DAG: what is to be released, and whether it serves already."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from attrs import evolve

from airflow_azureml.core.online import model_id
from airflow_azureml.core.release import Release
from airflow_azureml.core.rolled_back import is_again
from airflow_azureml.errors import AzureMLError, RolledBackBeforeError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.rollout_work import at_helm
from airflow_azureml.wire import online

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLPlanReleaseOperator"]


class AzureMLPlanReleaseOperator(BaseOperator):
    """Says which version of a model is to be released.

    It is skipped where all traffic is that version's already, and where that version was rolled back on the endpoint.

    Returns ``model`` (``NAME:VERSION``, or its id), ``name``, ``version``, ``deployment`` (the name of its deployment,
    the same for the same version), ``endpoint`` and ``share`` (percent of the endpoint's traffic that it serves now).

    Args:
        model: ``NAME:VERSION``, the id of a version, or what `AzureMLChampionOperator` or
            `AzureMLRegisterModelOperator` returned, templated: ``model=champion.output``. Where that is empty, since
            there is no champion, the task is skipped.
        endpoint: The endpoint of production, templated; it need not be there yet.
        deployment: The name of the deployment, templated; by default made of the model's name and version.
        again: Whether a version may be released that was rolled back on the endpoint before, templated.
        conn_id: The Airflow connection of type ``azureml`` of production, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "endpoint", "deployment", "again", "conn_id")
    template_fields_renderers = {"model": "json"}  # noqa: RUF012  # Airflow's own attribute
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        model: Any,
        endpoint: str,
        deployment: str = "",
        again: bool | str = False,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.endpoint = endpoint
        self.deployment = deployment
        self.again = again
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Look what serves now."""
        del context
        try:
            release = Release.of(self.model, deployment=self.deployment, endpoint=self.endpoint)
            if release is None:
                raise AirflowSkipException("There is no version to release: the model has no champion.")
            may_again = is_again(self.again)
            release, serves = self._looked_up(release)
        except AzureMLError as error:
            raise for_airflow(error) from error
        if serves:
            raise AirflowSkipException(
                f"Version {release.version} of model {release.model} serves all requests to {self.endpoint} already."
            )
        if not may_again:
            self._skip_what_was_rolled_back(release)
        self.log.info(
            "Version %s of model %s is to serve at %s as deployment %s; now it serves %d %%",
            *(release.version, release.model, self.endpoint, release.deployment, release.share),
        )
        return release.to_wire()

    def _skip_what_was_rolled_back(self, release: Release) -> None:
        """Release nothing by itself that was not good enough before.

        Raises:
            AirflowSkipException: It would be.
        """
        found = at_helm(self.conn_id, lambda helm: helm.written.read(self.endpoint))
        model = model_id(AzureMLHook(self.conn_id).settings.workspace, release.reference)
        known = found.rolled_back_before(release.deployment, model)
        if known is None:
            return
        error = RolledBackBeforeError(
            f"Version {release.version} of model {release.model} is not released again by itself."
            f" {known.told(self.endpoint)} Nothing was changed. To release it all the same, give release(..."
            ", again=True); in a DAG that has it as a parameter, trigger that with again."
        )
        raise AirflowSkipException(f"{type(error).__name__}: {error}") from error

    def _looked_up(self, release: Release) -> tuple[Release, bool]:
        """See what it serves now, and whether that is all."""
        settings = AzureMLHook(self.conn_id).settings
        workspace = settings.workspace
        with AzureMLHook.open(settings) as client:
            endpoint = client.run(online.read_endpoint(workspace, self.endpoint))
            if endpoint is None:
                return release, False
            found = client.run(online.read_deployment(workspace, self.endpoint, release.deployment))
        share = endpoint.traffic.get(release.deployment, 0)
        serves = release.serves(endpoint, found, model_id=model_id(workspace, release.reference))
        return evolve(release, share=share), serves
