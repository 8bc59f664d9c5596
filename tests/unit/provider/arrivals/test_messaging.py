"""Queues of blobs as Airflow's ``common.messaging`` reads them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.shared_stream import SharedStreamManager
from azure.storage.queue import QueueClient

from airflow_azureml.errors import ConfigError
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.watchers import blob_arrivals
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.servicebus.broker import ServiceBus
from tests.unit.provider.arrivals.listening import Listener, message, until

QUEUE = "https://acme.queue.core.windows.net/arrivals"
BUS = "sb://acmebus.servicebus.windows.net/arrivals"


@pytest.fixture
def queue(azurite: Azurite) -> QueueClient:
    url = f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}"
    made = QueueClient.from_queue_url(url, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})
    made.create_queue()
    return made


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


def made_again(trigger: Any) -> BlobArrivalTrigger:
    """Make a trigger as the triggerer does: from what is stored of it."""
    kind, kwargs = trigger.serialize()
    module, _, name = kind.rpartition(".")
    made = getattr(import_module(module), name)(**kwargs)
    assert isinstance(made, BlobArrivalTrigger)
    return made


@pytest.mark.parametrize(
    ("scheme", "given"),
    [
        ("azure+storagequeue", {"queue_url": QUEUE}),
        ("azureml+servicebus", {"queue_url": BUS, "account": "acme"}),
    ],
)
def test_a_scheme_names_the_trigger_that_blob_arrivals_makes(scheme: str, given: dict[str, Any]) -> None:
    options: dict[str, Any] = {**given, "container": "incoming", "suffix": ".csv", "quiet_for": timedelta(0)}
    (watcher,) = blob_arrivals("x", **options).watchers

    found = MessageQueueTrigger(scheme=scheme, **options)

    assert found.serialize() == watcher.trigger.serialize()
    assert made_again(found).shared_stream_key() == watcher.trigger.shared_stream_key()


def test_a_dag_is_scheduled_by_it() -> None:
    trigger = MessageQueueTrigger(scheme="azure+storagequeue", queue_url=QUEUE, container="incoming")
    asset = Asset("incoming", watchers=[AssetWatcher(name="queue", trigger=trigger)])
    with DAG("by_queue", schedule=[asset]) as dag:
        EmptyOperator(task_id="score")

    written = str(DagSerialization.to_dict(dag))
    assert "airflow_azureml.triggers.arrivals.BlobArrivalTrigger" in written
    assert QUEUE in written


@pytest.mark.parametrize(
    ("scheme", "wrong", "said"),
    [
        ("azure+storagequeue", {"queue_url": BUS, "container": "incoming"}, "no queue of the scheme"),
        ("azureml+servicebus", {"queue_url": QUEUE, "container": "incoming"}, "no queue of the scheme"),
        ("azureml+servicebus", {"queue_url": BUS, "container": "incoming"}, "account is empty"),
        ("azure+storagequeue", {"queue_url": QUEUE, "container": "In"}, "no container's name"),
    ],
)
def test_a_wrong_argument_is_an_error_when_the_dag_is_parsed(scheme: str, wrong: dict[str, Any], said: str) -> None:
    trigger = MessageQueueTrigger(scheme=scheme, **wrong)

    with pytest.raises(ConfigError, match=said):
        trigger.serialize()


def test_the_scheme_of_airflows_own_azure_provider_is_left_to_it() -> None:
    with pytest.raises(ValueError, match="not recognized"):
        MessageQueueTrigger(scheme="azure+servicebus", queue_url=BUS, container="incoming").serialize()


@pytest.mark.anyio
async def test_it_reads_a_storage_queue(manager: SharedStreamManager, queue: QueueClient) -> None:
    queue.send_message(message("a"))
    own = MessageQueueTrigger(scheme="azure+storagequeue", queue_url=queue.url, container="incoming")
    async with Listener(manager, made_again(own), at_once=True) as listener:
        await until(lambda: queue.get_queue_properties().approximate_message_count == 0)

    assert listener.arrivals == ["a"]


@pytest.mark.anyio
async def test_it_reads_a_service_bus(manager: SharedStreamManager) -> None:
    with ServiceBus() as bus:
        url = bus.queue("arrivals")
        bus.send("arrivals", message("a"))
        own = MessageQueueTrigger(scheme="azureml+servicebus", queue_url=url, account=ACCOUNT, container="incoming")
        async with Listener(manager, made_again(own), at_once=True) as listener:
            await until(lambda: bus.length("arrivals") == 0)

    assert listener.arrivals == ["a"]
