"""Our own two clients under an unmodified client's environment, with Azure's real host names; prints JSON.

Each chapter is one connection. No emulator is spoken of here: where the names lead is the environment's business.
"""

# ruff: noqa: T201  # a judge is a program
import asyncio
import json
import logging
import os
import sys
from typing import Any

from attrs import asdict

from airflow_azureml.client.azureml import AsyncClient, Client
from airflow_azureml.client.containers import look_into_container
from airflow_azureml.client.storage import look_at_blob
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.wire import datastores, jobs, workspaces
from airflow_azureml.wire.http import Audience, Flow, Request

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
LOG = logging.getLogger()


class Kept(logging.Handler):
    """Keeps every line."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record))


def on_the_data_plane(settings: ConnectionSettings, base: str) -> Flow[int]:
    """Ask the data plane for a run that is not there, with a token for Azure ML."""
    ask = Request(
        doing="Ask the data plane",
        method="GET",
        url=f"{base}/history/v1.0{settings.workspace.arm_id}/runs/never-was",
        params={"api-version": "v1.0"},
        audience=Audience.MACHINE_LEARNING,
    )
    return (yield ask).status


def blocking(settings: ConnectionSettings) -> dict[str, Any]:
    """What a worker does."""
    with Client(settings) as client:
        base = client.run(workspaces.data_plane(settings.workspace))
        return {
            "data_plane": base,
            "jobs": client.run(jobs.list_newest(settings.workspace)),
            "history": client.run(on_the_data_plane(settings, base)),
            "store": asdict(client.run(datastores.default(settings.workspace))),
        }


async def awaited(settings: ConnectionSettings) -> dict[str, Any]:
    """What a triggerer does."""
    async with AsyncClient(settings) as client:
        base = await client.run(workspaces.data_plane(settings.workspace))
        return {
            "data_plane": base,
            "jobs": await client.run(jobs.list_newest(settings.workspace)),
            "history": await client.run(on_the_data_plane(settings, base)),
            "store": asdict(await client.run(datastores.default(settings.workspace))),
        }


def chapter(fields: dict[str, str]) -> dict[str, Any]:
    """Use one connection in every way there is."""
    settings = ConnectionSettings.parse(fields, conn_id="judged")
    found: dict[str, Any] = {}
    try:
        found["blocking"] = blocking(settings)
        found["async"] = asyncio.run(awaited(settings))
        store = found["blocking"]["store"]
        container = f"https://{store['account']}.blob.core.windows.net/{store['container']}"
        found["container"] = look_into_container(settings, container)
        seen = look_at_blob(settings, f"{container}/looked at.txt", head_bytes=5)
        found["blob"] = [seen.size_bytes, seen.head.decode()] if seen else None
    except AzureMLError as error:
        found["error"] = str(error)
    return found


def pressed(fields: dict[str, str]) -> list[Any]:
    """Press the test button of a connection that Airflow reads from the environment, as Airflow does for the button."""
    own = {name: fields[name] for name in ("login", "password") if name in fields}
    extra = {name: value for name, value in fields.items() if name not in own}
    os.environ["AIRFLOW_CONN_JUDGED"] = json.dumps({"conn_type": "azureml", **own, "extra": extra})
    return list(AzureMLHook("judged").test_connection())


def main() -> None:
    """Tell of each connection that stands on the standard input."""
    asked = json.load(sys.stdin)
    kept = Kept()
    LOG.addHandler(kept)
    LOG.setLevel(logging.DEBUG)
    names = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    told = {}
    for name, fields in asked.items():
        told[name] = chapter(names | fields)
        told[name]["button"] = pressed(names | fields)
    secrets = [value for fields in asked.values() for key, value in fields.items() if "password" in key]
    log = "\n".join(kept.lines)
    leaked = [line for line in kept.lines if "eyJ" in line or any(part in line for part in secrets)]
    print(json.dumps({"told": told, "log_lines": len(kept.lines), "leaked": leaked, "key": "PRIVATE KEY" in log}))


if __name__ == "__main__":
    main()
