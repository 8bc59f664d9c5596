"""Holds the preflight of a job file that azure-ai-ml loads, and prints what it complains of, as JSON."""

# ruff: noqa: T201  # a judge is a program
import json
import sys

from airflow_azureml.client import sdk
from airflow_azureml.client.azureml import Client
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError
from airflow_azureml.operators import preflight


def main() -> None:
    """Look at the job that stands on the standard input."""
    asked = json.load(sys.stdin)
    names = dict(zip(("subscription_id", "resource_group", "workspace"), asked["names"], strict=True))
    fields = {**names, "authentication": "emulator", "endpoint": asked["endpoint"]}
    settings = ConnectionSettings.parse(fields, conn_id="judged")
    told = ""
    with Client(settings) as client:
        try:
            preflight.of_job(client, settings, sdk.load(asked["job"])).check()
        except AzureMLError as error:
            told = str(error)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
