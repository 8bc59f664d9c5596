"""What carries the requests of clients on an event loop."""

import os
from typing import TYPE_CHECKING
from urllib.request import getproxies

from airflow_azureml.core.workspace import is_loopback

if TYPE_CHECKING:
    from azure.core.pipeline.transport import AioHttpTransport

#: Bytes that are read at once, as azure-storage has it.
BLOCK = 256 * 1024


def transport_to(url: str, *, has_proxy: bool, connect_s: float, read_s: float) -> "AioHttpTransport":
    """Make a transport; the client that gets it closes it.

    The environment's proxies are looked up only where they can say something. A transport that heeds the environment
    asks two threads for each request, one for a proxy and one for a ``.netrc``, which costs a fifth of all its work.

    Args:
        url: What is reached through it.
        has_proxy: Whether the client is told its proxies.
        connect_s: Most to wait for a connection. Seconds.
        read_s: Most to wait for the next bytes. Seconds.
    """
    from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415  # not when a DAG is parsed

    heeds_environment = not has_proxy and not is_loopback(url) and bool(getproxies())
    return AioHttpTransport(
        connection_timeout=connect_s,
        read_timeout=read_s,
        connection_data_block_size=BLOCK,
        use_env_settings=heeds_environment,
        # requests reads this variable and aiohttp does not: so is an emulator trusted that stands for Azure's hosts.
        connection_verify=(heeds_environment and os.environ.get("REQUESTS_CA_BUNDLE")) or True,
    )
