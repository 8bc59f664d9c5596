"""Waiting for a batch endpoint."""

from collections.abc import Sequence
from typing import Any

from airflow_azureml.errors import ConfigError
from airflow_azureml.sensors.base import AzureMLSensor

__all__ = ["AzureMLEndpointSensor"]


class AzureMLEndpointSensor(AzureMLSensor):
    """Waits until a batch endpoint, and one of its deployments, are there and Azure calls them ``Succeeded``.

    One that is ``Failed`` or ``Canceled`` fails the task. Returns ``endpoint``, ``deployment`` and
    ``default_deployment``.

    Args:
        endpoint: The endpoint's name, templated.
        deployment: The deployment, templated; empty when the endpoint is enough, whatever its deployments.
        kwargs: What `airflow_azureml.sensors.base.AzureMLSensor` takes (``conn_id``, ``deferrable``, ``timeout``,
            ``patience``, ``poll_interval``, ``soft_fail``), and Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "deployment", "conn_id")

    def __init__(self, *, endpoint: str, deployment: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.deployment = deployment

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Wait for both to be ready."""
        if not self.endpoint:
            raise ConfigError("endpoint is empty; it must be the name of a batch endpoint.")
        return "endpoint", {"name": self.endpoint, "deployment": self.deployment}
