"""A queue and a blob used with the connection's own token, before and after storage has come to refuse it; prints JSON.

Who makes storage refuse it is the control interface, at the address that the standard input names.
"""

# ruff: noqa: T201  # a judge is a program
import asyncio
import json
import os
import sys
import urllib.request
from typing import Any

from airflow_azureml.client.credentials import async_credential
from airflow_azureml.client.storage import StorageQueue, async_storage_tokens, look_at_blob
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
HOST = "devstoreaccount1.{}.core.windows.net"


def control(address: str, method: str, path: str, said: Any = None) -> Any:
    """Use the control interface, past the proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/control/{path}", json.dumps(said).encode(), head, method=method)  # noqa: S310  # http
    with opener.open(request) as answer:
        return json.loads(answer.read() or b"null")


async def queued(settings: ConnectionSettings, asked: dict[str, Any], make: Any) -> str:
    """Use a queue, let its token expire in the service's eyes, and use it again."""
    credential = make(settings)
    async with StorageQueue(f"https://{HOST.format('queue')}/{asked['queue']}", credential) as queue:
        try:
            await queue.send("before")
            control(asked["control"], "POST", "clock/advance", {"seconds": 2 * 86400})
            await queue.send("after")
            return " ".join(sorted(message.text for message in await queue.receive(visibility_s=1)))
        except AzureMLError as error:
            return str(error)
        finally:
            await credential.close()


def looked(settings: ConnectionSettings, asked: dict[str, Any], strikes: int) -> list[Any]:
    """Look at a blob while so many requests for it are refused as with an expired token."""
    fault = {"path": ".*/looked.txt", "expired_token": True, "count": strikes}
    control(asked["control"], "PUT", "faults", [fault])
    try:
        seen = look_at_blob(settings, f"https://{HOST.format('blob')}/{asked['container']}/looked.txt")
        told = "" if seen is None else f"{seen.size_bytes} bytes"
    except AzureMLError as error:
        told = str(error)
    (shown,) = control(asked["control"], "GET", "faults")
    return [told, shown["struck"]]


def main() -> None:
    """Tell what became of each."""
    asked = json.load(sys.stdin)
    names = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    settings = ConnectionSettings.parse({**names, "authentication": asked["authentication"]}, conn_id="judged")
    told = {
        "plain": asyncio.run(queued(settings, {**asked, "queue": f"{asked['queue']}-plain"}, async_credential)),
        "queue": asyncio.run(queued(settings, asked, async_storage_tokens)),
        "once": looked(settings, asked, 1),
        "always": looked(settings, asked, 9),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
