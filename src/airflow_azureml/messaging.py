"""Queues of arriving blobs for Airflow's ``common.messaging``: ``MessageQueueTrigger(scheme="azure+storagequeue", …)``.

Needs the extra ``messaging``. Airflow's own Azure provider has the scheme ``azure+servicebus``, and a scheme that two
providers claim is refused: so a Service Bus of Event Grid's messages is ``azureml+servicebus`` here.
"""

from typing import Any, ClassVar, Unpack

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider
from airflow.triggers.base import BaseEventTrigger

from airflow_azureml.core.filters import FilterOptions
from airflow_azureml.core.queues import is_bus
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.watchers import blob_arrivals

__all__ = ["ServiceBusProvider", "ServiceBusTrigger", "StorageQueueProvider", "StorageQueueTrigger"]


class StorageQueueTrigger(BlobArrivalTrigger):
    """Turns Event Grid messages of a storage queue into events; it takes what `blob_arrivals` takes.

    What is serialised is a `BlobArrivalTrigger`: so all assets of one queue share one reader, however they were made.

    Args:
        queue_url: See `blob_arrivals`, as for the others.
        account: The blobs' storage account; empty when it is the queue's.
        conn_id: The connection whose identity reads the queue.
        wanted: Which blobs.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """

    scheme: ClassVar[str] = "azure+storagequeue"
    of_bus: ClassVar[bool] = False

    def __init__(
        self,
        *,
        queue_url: str,
        account: str = "",
        conn_id: str = AzureMLHook.default_conn_name,
        **wanted: Unpack[FilterOptions],
    ) -> None:
        if is_bus(queue_url) != self.of_bus:
            raise ConfigError(f"{queue_url!r} is no queue of the scheme {self.scheme}.")
        asset = blob_arrivals(self.scheme, queue_url=queue_url, account=account, conn_id=conn_id, **wanted)
        (watcher,) = asset.watchers
        checked: dict[str, Any] = watcher.trigger.serialize()[1]
        super().__init__(**checked)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Write what the triggerer makes of it."""
        return f"{BlobArrivalTrigger.__module__}.{BlobArrivalTrigger.__qualname__}", super().serialize()[1]


class ServiceBusTrigger(StorageQueueTrigger):
    """`StorageQueueTrigger` for a queue or a subscription of a Service Bus; ``account`` must be given."""

    scheme: ClassVar[str] = "azureml+servicebus"
    of_bus: ClassVar[bool] = True


class StorageQueueProvider(BaseMessageQueueProvider):
    """Storage queues that Event Grid fills."""

    scheme = StorageQueueTrigger.scheme

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Say which trigger reads it."""
        return StorageQueueTrigger


class ServiceBusProvider(BaseMessageQueueProvider):
    """Queues and subscriptions of a Service Bus that Event Grid fills."""

    scheme = ServiceBusTrigger.scheme

    def trigger_class(self) -> type[BaseEventTrigger]:
        """Say which trigger reads it."""
        return ServiceBusTrigger
