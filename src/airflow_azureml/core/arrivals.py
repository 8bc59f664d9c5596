"""A blob has arrived: which one, which version of it, and whether it is ours."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from attrs import asdict, fields, frozen

from airflow_azureml.core.workspace import is_loopback
from airflow_azureml.errors import ConfigError, ProtocolError

#: The domains of Azure Storage in the public cloud, in China, for the US government, and of accounts with an Azure DNS
#: zone endpoint. A token is sent to no other host.
#: Source: https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints
STORAGE_DOMAINS = ("core.windows.net", "core.chinacloudapi.cn", "core.usgovcloudapi.net", "storage.azure.net")
#: The services that a storage URL may name; ``dfs`` is another door to the blobs.
_SERVICES = ("blob", "dfs", "queue")
_HOST = re.compile(r"(?P<account>[a-z0-9]{3,24})\.(?:z[0-9]{1,2}\.)?(?P<service>[a-z]+)")


@frozen(kw_only=True)
class StorageUrl:
    """An address in Azure Storage, or in its emulation on this machine.

    Attributes:
        service: ``blob``, ``dfs`` or ``queue``; empty on this machine, where only the port tells.
        base: What stands before the container or queue, without a slash at its end.
        path: Container and blob, or queue; unquoted, without a slash at its start.
    """

    account: str
    service: str
    base: str
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``https://ACCOUNT.SERVICE.DOMAIN/PATH`` or ``http://127.0.0.1:PORT/ACCOUNT/PATH``.

        Raises:
            ConfigError: It is neither, or it carries a user, a query (a SAS token is a secret) or a fragment.
        """
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise ConfigError(f"{url!r} is no URL: {error}") from error
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(f"The storage URL of host {parts.hostname} must carry no user, no query and no fragment")
        if is_loopback(url) and parts.scheme in {"http", "https"}:
            account, _, path = parts.path.lstrip("/").partition("/")
            if account:
                base = f"{parts.scheme}://{parts.netloc}/{account}"
                return cls(account=account, service="", base=base, path=unquote(path))
        match = _HOST.fullmatch(_without_domain(parts.hostname or ""))
        if parts.scheme != "https" or not match or match["service"] not in _SERVICES or parts.port not in {None, 443}:
            raise ConfigError(
                f"{url!r} is no address of Azure Storage: expected https://ACCOUNT.blob.core.windows.net/… "
                "(or .queue, or another cloud's domain), or http://127.0.0.1:PORT/ACCOUNT/… on this machine"
            )
        base = f"https://{parts.hostname}"
        return cls(account=match["account"], service=match["service"], base=base, path=unquote(parts.path[1:]))

    @property
    def blob_base(self) -> str:
        """Where this account's blobs are: the same place for an address that named the ``dfs`` door."""
        return self.base.replace(".dfs.", ".blob.", 1) if self.service == "dfs" else self.base


def _without_domain(host: str) -> str:
    for domain in STORAGE_DOMAINS:
        if host.endswith(f".{domain}"):
            return host.removesuffix(f".{domain}")
    return ""


@frozen(kw_only=True)
class Arrival:
    """One version of one blob that was written completely.

    Attributes:
        account: The storage account.
        path: The blob's name in its container, unquoted.
        etag: The version, without quotes.
        size_bytes: None where the event does not say it; see `airflow_azureml.wire.events`.
        sequencer: Azure's order of the versions of one path; empty where the event has none.
        time: When it was written, UTC, as ISO 8601 with ``+00:00``.
        api: The storage operation that wrote it.
        url: The address as the event gave it.
        content_type: What the writer called its content; empty where nobody says.
    """

    account: str
    container: str
    path: str
    etag: str
    size_bytes: int | None
    sequencer: str
    time: str
    api: str
    url: str
    content_type: str = ""

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: A field is missing, unknown or of another type.
        """
        known = {each.name for each in fields(cls)}
        needed = known - {"content_type"}
        if not isinstance(body, Mapping) or not needed <= set(body) <= known:
            raise ProtocolError(f"Read an arrival: expected the fields {', '.join(sorted(known))}, got {body!r}")
        wrong = [name for name in set(body) - {"size_bytes"} if not isinstance(body[name], str)]
        size = body["size_bytes"]
        if wrong or not (size is None or (isinstance(size, int) and not isinstance(size, bool))):
            raise ProtocolError(f"Read an arrival: a field is of the wrong type in {dict(body)!r}")
        return cls(**body)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON of some 400 bytes."""
        return asdict(self)

    @property
    def uri(self) -> str:
        """The blob's address, quoted, always that of the blob service."""
        return f"{StorageUrl.parse(self.url).blob_base}/{self.container}/{quote(self.path, safe='/~')}"

    @property
    def key(self) -> str:
        """What identifies this version: 32 hexadecimal digits, the same for every event that tells of it."""
        text = f"{self.account}/{self.container}/{self.path}|{self.etag}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def place(self) -> tuple[str, str, str]:
        """The blob, whatever its version."""
        return self.account, self.container, self.path


def utc(text: str) -> str:
    """Write an ISO 8601 time as UTC with ``+00:00``; digits beyond the microsecond are cut.

    Raises:
        ValueError: It is no such time, or it has no zone.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return time.astimezone(UTC).isoformat()


def order(arrival: Arrival) -> tuple[object, ...]:
    """Give what sorts the versions of one path, oldest first.

    Azure defines an order for the sequencers of one path only. They are hexadecimal numbers of differing length and
    case, so numbers are compared where they are numbers, text where they are not, and the time where there is none.
    """
    try:
        number = int(arrival.sequencer, 16)
    except ValueError:
        number = -1
    return number, arrival.sequencer.lower(), arrival.time, arrival.etag


@frozen(kw_only=True)
class Latest:
    """What is left of some arrivals when each blob is there once.

    Attributes:
        kept: The newest version of each path, in the order of their times.
        repeated: The same version told once more; nothing is lost with them.
        superseded: Older versions; storage does not have them any more, so nobody could read them.
    """

    kept: tuple[Arrival, ...]
    repeated: tuple[Arrival, ...]
    superseded: tuple[Arrival, ...]


def latest(arrivals: Iterable[Arrival]) -> Latest:
    """Keep the newest version of each path; the order in which they are given does not matter."""
    newest: dict[tuple[str, str, str], Arrival] = {}
    repeated: list[Arrival] = []
    superseded: list[Arrival] = []
    seen: set[str] = set()
    for arrival in sorted(arrivals, key=order, reverse=True):
        if arrival.key in seen:
            repeated.append(arrival)
        elif arrival.place in newest:
            superseded.append(arrival)
        else:
            newest[arrival.place] = arrival
        seen.add(arrival.key)
    kept = sorted(newest.values(), key=lambda arrival: (arrival.time, arrival.place))
    return Latest(kept=tuple(kept), repeated=tuple(repeated), superseded=tuple(superseded))
