"""Airflow's plugin: loads this package once in each component, before it forks.

Airflow's dag-processor forks a child for every DAG file, and an executor one for every task. Each child would import
anew what it needs. Airflow loads plugins in the parent, when it looks for listeners at its start, so what stands here
costs a child nothing: the operators, for a DAG file; and for a task, the client with azure-core and its transport, a
tenth of a second that is paid once. `make bench` measures both. azure-ai-ml is not among it.
"""

from airflow.plugins_manager import AirflowPlugin
from azure.core.pipeline.transport import RequestsTransport

from airflow_azureml import watchers
from airflow_azureml.client import azureml, targets
from airflow_azureml.operators import arrivals, pipeline

#: What DAG files import from here, and what their tasks use.
LOADED = (arrivals, pipeline, watchers, azureml, targets, RequestsTransport)


class AzureMLPlugin(AirflowPlugin):
    """The plugin, which adds nothing to Airflow's interface yet."""

    name = "azureml"
