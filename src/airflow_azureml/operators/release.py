"""The beginning of a release in a DAG: what is to be released, and whether it serves already."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from attrs import evolve

from airflow_azureml.core.online import model_id
from airflow_azureml.core.release import Release
from airflow_azureml.errors import AzureMLError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.wire import online

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLPlanReleaseOperator"]


class AzureMLPlanReleaseOperator(BaseOperator):
    """Says which version of a model is to be released, and is skipped where all traffic is that version's already.

    Returns ``model`` (``NAME:VERSION``, or its id), ``name``, ``version``, ``deployment`` (the name of its deployment,
    the same for the same version), ``endpoint`` and ``share`` (percent of the endpoint's traffic that it serves now).

    Args:
        model: ``NAME:VERSION``, the id of a version, or what `AzureMLChampionOperator` or
            `AzureMLRegisterModelOperator` returned, templated: ``model=champion.output``. Where that is empty, since
            there is no champion, the task is skipped.
        endpoint: The endpoint of production, templated; it need not be there yet.
        deployment: The name of the deployment, templated; by default made of the model's name and version.
        conn_id: The Airflow connection of type ``azureml`` of production, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "endpoint", "deployment", "conn_id")
    template_fields_renderers = {"model": "json"}  # noqa: RUF012  # Airflow's own attribute
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        model: Any,
        endpoint: str,
        deployment: str = "",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.endpoint = endpoint
        self.deployment = deployment
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Look what serves now."""
        del context
        try:
            release = Release.of(self.model, deployment=self.deployment, endpoint=self.endpoint)
            if release is None:
                raise AirflowSkipException("There is no version to release: the model has no champion.")
            release, serves = self._looked_up(release)
        except AzureMLError as error:
            raise for_airflow(error) from error
        if serves:
            raise AirflowSkipException(
                f"Version {release.version} of model {release.model} serves all requests to {self.endpoint} already."
            )
        self.log.info(
            "Version %s of model %s is to serve at %s as deployment %s; now it serves %d %%",
            *(release.version, release.model, self.endpoint, release.deployment, release.share),
        )
        return release.to_wire()

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
