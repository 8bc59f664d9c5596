"""Waiting for a version of a registered model."""

from collections.abc import Sequence
from typing import Any

from airflow_azureml.errors import ConfigError
from airflow_azureml.sensors.base import AzureMLSensor

__all__ = ["AzureMLModelVersionSensor"]


class AzureMLModelVersionSensor(AzureMLSensor):
    """Waits until a version of a registered model exists; an archived one does not count.

    Returns ``model``, ``version``, ``uri`` and ``job`` (the job that made it, where Azure knows one).

    Args:
        model: The model's name, templated.
        version: The version to wait for, templated; or
        at_least: the lowest number that will do, templated: the highest version there is from it on is returned. Give
            one of the two.
        kwargs: What `airflow_azureml.sensors.base.AzureMLSensor` takes (``conn_id``, ``deferrable``, ``timeout``,
            ``patience``, ``poll_interval``, ``soft_fail``), and Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "version", "at_least", "conn_id")

    def __init__(self, *, model: str, version: str = "", at_least: int | str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.at_least = at_least

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Wait for the one version, or for one that is high enough."""
        version, at_least = str(self.version), str(self.at_least)
        if not self.model or bool(version) == bool(at_least):
            raise ConfigError("Give a model, and either version or at_least.")
        if version:
            return "model_version", {"model": self.model, "version": version}
        if not (at_least.isascii() and at_least.isdecimal()):
            raise ConfigError(f"at_least is {at_least!r}; it must be a whole number that is not negative.")
        return "model_at_least", {"model": self.model, "at_least": int(at_least)}
