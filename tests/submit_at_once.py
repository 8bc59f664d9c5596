"""Submit a job whose code is a folder, at the moment when somebody says so."""

import json
import sys
import time
from pathlib import Path

from airflow_azureml.client import sdk
from airflow_azureml.core.workspace import ConnectionSettings


def main(connection: str, name: str, code: str, signals: str) -> None:
    """Make the job, say that it is made, wait for the word, and submit it.

    Args:
        connection: The fields of a connection, as JSON.
        name: The job's name.
        code: The folder.
        signals: Where a file ``NAME`` says that the job is made, and ``go`` is waited for.
    """
    settings = ConnectionSettings.parse(json.loads(connection), conn_id="race")
    job = sdk.load({"command": "cat words.txt", "code": code, "environment": {"image": "debian:bookworm"}})
    job.name = name
    (Path(signals) / name).touch()
    while not (Path(signals) / "go").exists():
        time.sleep(0.001)
    sdk.submit(settings, job)


if __name__ == "__main__":
    main(*sys.argv[1:])
