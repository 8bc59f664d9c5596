"""The addresses of queues: Azure Storage's, and Azure Service Bus' queues and subscriptions."""

import re
from collections.abc import Mapping
from typing import Self
from urllib.parse import unquote, urlsplit

from attrs import frozen

from airflow_azureml.core.arrivals import STORAGE_DOMAINS, StorageUrl
from airflow_azureml.core.clouds import CLOUDS, Cloud, host_of
from airflow_azureml.core.dead_letters import POISON
from airflow_azureml.core.workspace import is_loopback
from airflow_azureml.errors import ConfigError

#: How a Service Bus' address begins.
SERVICE_BUS = "sb://"
#: Sources: https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure and
#: https://learn.microsoft.com/azure/china/resources-developer-guide.
_BUS_DOMAINS: Mapping[Cloud, str] = {
    Cloud.PUBLIC: "servicebus.windows.net",
    Cloud.US_GOVERNMENT: "servicebus.usgovcloudapi.net",
    Cloud.CHINA: "servicebus.chinacloudapi.cn",
}
#: Longest name of a storage queue. Source: "Naming Queues and Metadata", REST API of Queue Storage.
_LONGEST_QUEUE = 63
_STORAGE_QUEUE = re.compile(r"[a-z0-9](?:-?[a-z0-9])+")
#: Source: "Naming rules and restrictions for Azure resources", Microsoft.ServiceBus.
_NAMESPACE = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9]){5,49}")
_ENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?")
_SUBSCRIPTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?")
_EXPECTED = (
    "expected sb://NAMESPACE.servicebus.windows.net/QUEUE or …/TOPIC/subscriptions/NAME "
    "(or another cloud's domain), or sb://127.0.0.1:PORT/… on this machine"
)


@frozen(kw_only=True)
class BusUrl:
    """A queue or a subscription of Azure Service Bus, or of its emulation on this machine.

    Attributes:
        host: With its port on this machine, where it has one.
        entity: The queue or the topic.
        subscription: The topic's subscription; empty for a queue.
        is_local: Whether it is on this machine, the only place that is spoken to without TLS.
    """

    host: str
    entity: str
    subscription: str
    is_local: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``sb://NAMESPACE.servicebus.windows.net/QUEUE`` or ``…/TOPIC/subscriptions/NAME``.

        Raises:
            ConfigError: It is neither, or it carries a user, a query or a fragment.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url!r} is no URL: {error}") from error
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(f"The queue URL of host {parts.hostname} must carry no user, no query and no fragment")
        local = is_loopback(url)
        topic, found, subscription = _split(unquote(parts.path.strip("/")))
        entity = topic if found else unquote(parts.path.strip("/"))
        if (
            parts.scheme != "sb"
            or not (local or (_domain_of(parts.hostname or "") and port is None))
            or not _ENTITY.fullmatch(entity)
            or (found and not _SUBSCRIPTION.fullmatch(subscription))
        ):
            raise ConfigError(f"{url!r} is no address of Azure Service Bus: {_EXPECTED}")
        host = parts.netloc if local else str(parts.hostname)
        return cls(host=host, entity=entity, subscription=subscription, is_local=local)

    @property
    def cloud(self) -> Cloud | None:
        """The cloud it is in; None for this machine."""
        return None if self.is_local else _domain_of(self.host)


def is_bus(url: str) -> bool:
    """Tell whether an address claims to be Service Bus'."""
    return url.startswith(SERVICE_BUS)


def cloud_of_queue(url: str) -> Cloud | None:
    """Tell which cloud a queue is in, by its checked address; None for this machine."""
    return BusUrl.parse(url).cloud if is_bus(url) else cloud_of_storage(url)


def cloud_of_storage(url: str) -> Cloud | None:
    """Tell which cloud an address of Azure Storage is in; None for this machine, or for nobody's address."""
    host = host_of(url)
    for cloud, addresses in CLOUDS.items():
        if host.endswith(f".{addresses.storage}"):
            return cloud
    return Cloud.PUBLIC if any(host.endswith(f".{domain}") for domain in STORAGE_DOMAINS) else None


def queue_faults(url: str, *, account: str = "") -> list[str]:
    """Say what is wrong with a queue's address; an empty list when nothing is.

    Args:
        url: The address of a storage queue, or of a queue or subscription of Service Bus.
        account: The storage account of the blobs; a storage queue's own when it is empty.
    """
    try:
        if is_bus(url):
            BusUrl.parse(url)
            return (
                [] if account else ["account is empty: which storage account's blobs a Service Bus tells of is unknown"]
            )
        place = StorageUrl.parse(url)
    except ConfigError as error:
        return [f"queue_url: {error}"]
    if place.service not in {"", "queue"}:
        return [f"queue_url {url!r} names the {place.service} service; its host must be {place.account}.queue.…"]
    longest = _LONGEST_QUEUE - len(POISON)
    if len(place.path) > longest or not _STORAGE_QUEUE.fullmatch(place.path):
        return [f"queue_url {url!r} must end with a queue's name of at most {longest} characters ({POISON} is added)"]
    return []


def _split(path: str) -> tuple[str, str, str]:
    """Split a topic from its subscription; names are the same in any case, and so is the word between."""
    at = path.lower().rfind("/subscriptions/")
    return (path[:at], "/", path[at + len("/subscriptions/") :]) if at > 0 else ("", "", "")


def _domain_of(host: str) -> Cloud | None:
    for cloud, domain in _BUS_DOMAINS.items():
        if host.endswith(f".{domain}") and _NAMESPACE.fullmatch(host.removesuffix(f".{domain}")):
            return cloud
    return None
