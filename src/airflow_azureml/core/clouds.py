"""Azure's clouds: where each answers, and for whom its tokens are made."""

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

from attrs import frozen


class Cloud(StrEnum):
    """The clouds, each with tenants, addresses and tokens of its own."""

    PUBLIC = "public"
    US_GOVERNMENT = "usgovernment"
    CHINA = "china"


@frozen(kw_only=True)
class CloudAddresses:
    """What differs from cloud to cloud; no address has a slash at its end.

    Attributes:
        resource_manager: Azure Resource Manager, which is also the audience of its tokens.
        authority: The host of Microsoft Entra.
        machine_learning: The audience of Azure Machine Learning's tokens.
        data_plane: The domain of the workspaces' data plane; the region stands before it.
        storage: The domain of Azure Storage; account and service stand before it.
    """

    resource_manager: str
    authority: str
    machine_learning: str
    data_plane: str
    storage: str


#: Sources: azure-ai-ml 1.35, ``_azure_environments`` (Resource Manager, Azure ML's audience, storage, data plane of the
#: national clouds); azure-identity 1.27, ``AzureAuthorityHosts``; for the data plane also
#: https://learn.microsoft.com/azure/machine-learning/how-to-custom-dns (``privatelink.`` and the domains here).
#: The audience of Azure Storage is ``https://storage.azure.com`` in every cloud; azure-storage-blob knows it.
CLOUDS: Mapping[Cloud, CloudAddresses] = {
    Cloud.PUBLIC: CloudAddresses(
        resource_manager="https://management.azure.com",
        authority="login.microsoftonline.com",
        machine_learning="https://ml.azure.com",
        data_plane="api.azureml.ms",
        storage="core.windows.net",
    ),
    Cloud.US_GOVERNMENT: CloudAddresses(
        resource_manager="https://management.usgovcloudapi.net",
        authority="login.microsoftonline.us",
        machine_learning="https://ml.azure.us",
        data_plane="api.ml.azure.us",
        storage="core.usgovcloudapi.net",
    ),
    Cloud.CHINA: CloudAddresses(
        resource_manager="https://management.chinacloudapi.cn",
        authority="login.chinacloudapi.cn",
        machine_learning="https://ml.azure.cn",
        data_plane="api.ml.azure.cn",
        storage="core.chinacloudapi.cn",
    ),
}


def host_of(url: str) -> str:
    """Read the host of an address, in lower case; empty for what is no address."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def cloud_of(url: str) -> Cloud | None:
    """Tell which cloud's Resource Manager or data plane an address is; None for an address of nobody we know."""
    host = host_of(url).rstrip(".")
    for cloud, addresses in CLOUDS.items():
        if host == host_of(addresses.resource_manager) or host.endswith(f".{addresses.data_plane}"):
            return cloud
    return None
