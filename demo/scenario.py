"""What is done to a stack: publish and train, upload, wake, disturb."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from demo.azure import ARRIVALS_QUEUE, INCOMING, RESOURCE_GROUP, ROOT, SUBSCRIPTION, WORKSPACE, Emulator
from demo.evidence import DAG, Version
from demo.patients import PatientFile
from demo.processes import wait_until
from demo.stack import Stack


class ScenarioError(RuntimeError):
    """Something that has to work before anything can be shown did not."""


@contextlib.contextmanager
def publishing(
    emulator: Emulator, *, say: Callable[[str], None], fraction: float = 1.0
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Publish the pipelines with azure-ai-ml and train the first model, beside what is done in the block.

    Leaving the block ends it, finished or not.

    Args:
        emulator: Where to.
        say: Is told of each step, from another thread.
        fraction: Share of the rows that the first model learns from.

    Yields:
        What waits for the end of it: it returns what ``pipelines/publish.py`` prints last, or raises a `ScenarioError`
        that ends with what it said.
    """
    command = [sys.executable, str(ROOT / "pipelines/publish.py"), "--train", "--fraction", str(fraction)]
    command += ["--subscription", SUBSCRIPTION, "--resource-group", RESOURCE_GROUP, "--workspace", WORKSPACE]
    said: list[str] = []
    environment = emulator.client_environment
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        listener = threading.Thread(target=_listen, args=(process, said, say))
        listener.start()

        def _result() -> dict[str, Any]:
            listener.join()
            return _outcome(process, said)

        try:
            yield _result
        finally:
            process.kill()
            listener.join()


def _listen(process: subprocess.Popen[str], said: list[str], say: Callable[[str], None]) -> None:
    for line in process.stderr or ():
        said.append(line.rstrip())
        if line.startswith("publish: "):
            say(line.removeprefix("publish: ").rstrip())


def _outcome(process: subprocess.Popen[str], said: list[str]) -> dict[str, Any]:
    printed = (process.stdout.read() if process.stdout else "").strip().splitlines()
    if process.wait() or not printed:
        tail = "\n".join(said[-15:])
        raise ScenarioError(f"Publishing the pipelines ended with {process.returncode}.\n{tail}")
    found: dict[str, Any] = json.loads(printed[-1])
    return found


def publish(emulator: Emulator, *, say: Callable[[str], None], fraction: float = 1.0) -> dict[str, Any]:
    """Publish and train, and wait for it; see `publishing`.

    Raises:
        ScenarioError: It failed; the message ends with what it said.
    """
    with publishing(emulator, say=say, fraction=fraction) as result:
        return result()


def blobs(emulator: Emulator) -> BlobServiceClient:
    """Open the blob service whose writes cause events; the container for incoming files is there afterwards."""
    service = BlobServiceClient.from_connection_string(emulator.connection_string)
    with contextlib.suppress(ResourceExistsError):
        service.create_container(INCOMING)
    return service


def queues(emulator: Emulator) -> QueueServiceClient:
    """Open the queue service."""
    return QueueServiceClient.from_connection_string(emulator.connection_string)


def prepare(stack: Stack, dag: str = DAG) -> None:
    """Make container and queue, and let Airflow listen for arrivals.

    Raises:
        ScenarioError: Airflow does not listen in time.
    """
    make_queue(stack.emulator)
    listen(stack, dag)


def make_queue(emulator: Emulator) -> None:
    """Make the container for incoming files and the queue of arrivals."""
    with blobs(emulator), queues(emulator) as service, contextlib.suppress(ResourceExistsError):
        service.create_queue(ARRIVALS_QUEUE)


def listen(stack: Stack, dag: str) -> None:
    """Turn a DAG on, and wait until Airflow listens for what wakes it.

    Raises:
        ScenarioError: Airflow does not listen in time.
    """
    stack.airflow.unpause(dag)
    if not wait_until(lambda: stack.airflow.listens(dag), deadline_s=90):
        raise ScenarioError(
            f"Airflow does not listen for what wakes {dag} after 90 s; see {stack.airflow.folder}/parts."
        )


def upload(service: BlobServiceClient, file: PatientFile) -> Version:
    """Upload a file, over one that is there; the answer names the version."""
    blob = service.get_blob_client(INCOMING, file.path)
    answer = blob.upload_blob(file.content, overwrite=True)
    return Version(path=file.path, etag=str(answer["etag"]).strip('"'), at=time.time())


def deliver_again(emulator: Emulator, version: Version) -> None:
    """Put a second copy of a version's event into the queue of arrivals, as Event Grid may.

    Raises:
        ScenarioError: There is no event of it among the first 32 in the queue.
    """
    for text in messages(emulator, ARRIVALS_QUEUE):
        if version.etag in base64.b64decode(text).decode():
            put_message(emulator, text)
            return
    raise ScenarioError(f"No event of {version.path} is in the queue {ARRIVALS_QUEUE}, so it cannot come twice.")


def put_message(emulator: Emulator, text: str) -> None:
    """Put a message into the queue of arrivals, as it is."""
    with queues(emulator) as service, service.get_queue_client(ARRIVALS_QUEUE) as queue:
        queue.send_message(text)


def messages(emulator: Emulator, name: str) -> list[str]:
    """Read the first 32 messages of a queue without taking them; none when there is no such queue."""
    with queues(emulator) as service, service.get_queue_client(name) as queue:
        try:
            return [str(each.content) for each in queue.peek_messages(32)]
        except ResourceNotFoundError:
            return []


def waiting(emulator: Emulator) -> int:
    """Count the messages in the queue of arrivals, those that somebody has taken included."""
    with queues(emulator) as service, service.get_queue_client(ARRIVALS_QUEUE) as queue:
        return int(queue.get_queue_properties().approximate_message_count or 0)
