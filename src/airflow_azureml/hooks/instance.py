"""Which Airflow this is, for those that share a workspace."""

from airflow.sdk.configuration import conf

from airflow_azureml.core.orphans import instance_of

#: The section of Airflow's configuration, and what in it names the instance.
SECTION, OPTION = "azureml", "instance"


def this_instance() -> str:
    """Name this Airflow, the same in each of its components; empty where nothing in its configuration does.

    Raises:
        ConfigError: The name that is configured is none.
    """
    return instance_of(
        configured=conf.get(SECTION, OPTION, fallback="") or "", base_url=conf.get("api", "base_url", fallback="") or ""
    )
