"""One page of a container's listing, as Blob Storage writes it.

Source: "List Blobs", REST API of Blob Storage. The SDK's own model of a blob takes a quarter of a millisecond to build,
so that a page of 5,000 blocks an event loop for a second; the few fields that count here take a tenth of that.
"""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.errors import ProtocolError

#: The fields in the order in which the service writes them; a page where they are not is read the slow way.
_BLOB = re.compile(
    rb"<Blob><Name>([^<]*)</Name>.*?<Last-Modified>([^<]*)</Last-Modified><Etag>([^<]*)</Etag>"
    rb"<Content-Length>(\d+)</Content-Length>(?:<Content-Type>([^<]*)</Content-Type>)?",
    re.DOTALL,
)
#: What only the slow way reads: folders of a hierarchical account, copies, and names that are encoded.
_ODD = (b"<ResourceType>", b"<CopyStatus>", b"<Name Encoded")


@frozen(kw_only=True)
class Listed:
    """One blob of a listing.

    Attributes:
        path: Its name in the container.
        etag: The version, without quotes.
        modified: When it was last written; UTC, whole seconds.
    """

    path: str
    etag: str
    size_bytes: int
    modified: datetime
    content_type: str = ""

    def arrival(self, place: StorageUrl, container: str) -> Arrival:
        """Describe it as an arrival; no operation and no sequencer are known of it.

        Args:
            place: The storage account's blob service.
            container: The container that was listed.
        """
        return Arrival(
            account=place.account,
            container=container,
            path=self.path,
            etag=self.etag,
            size_bytes=self.size_bytes,
            sequencer="",
            time=self.modified.isoformat(),
            api="",
            url=f"{place.blob_base}/{container}/{quote(self.path, safe='/~')}",
            content_type=self.content_type,
        )


def parse_page(body: bytes) -> list[Listed]:
    """Read the blobs of one page; folders, and copies that are not complete, are left out.

    Raises:
        ProtocolError: It is no listing: a proxy's own page, perhaps, or one that was cut off.
    """
    if b"<EnumerationResults" not in body[:1000] or not body.rstrip().endswith(b"</EnumerationResults>"):
        raise ProtocolError(f"List blobs: the answer is no whole listing; it begins with {body[:80]!r}")
    try:
        if not any(odd in body for odd in _ODD):
            found = [_quick(match) for match in _BLOB.findall(body)]
            if len(found) == body.count(b"<Blob>"):
                return found
        return list(_thorough(body))
    except (ET.ParseError, ValueError, TypeError, AttributeError) as error:
        raise ProtocolError(f"List blobs: the answer is no listing that we can read: {error}") from error


def _quick(fields: tuple[bytes, ...]) -> Listed:
    name, modified, etag, size, content_type = fields
    return Listed(
        path=html.unescape(name.decode()),
        etag=etag.decode().strip('"'),
        size_bytes=int(size),
        modified=_time(modified.decode()),
        content_type=html.unescape(content_type.decode()),
    )


def _thorough(body: bytes) -> Iterator[Listed]:
    for blob in ET.fromstring(body).iter("Blob"):  # noqa: S314  # the storage account's own answer, over TLS
        properties = {each.tag: each.text or "" for each in blob.find("Properties") or ()}
        if properties.get("ResourceType") == "directory" or properties.get("CopyStatus") in {"pending", "aborted"}:
            continue
        name = blob.find("Name")
        if name is None:
            raise ValueError("a blob without a name")
        text = name.text or ""
        yield Listed(
            path=unquote(text) if name.get("Encoded") == "true" else text,
            etag=properties["Etag"].strip('"'),
            size_bytes=int(properties.get("Content-Length") or 0),
            modified=_time(properties["Last-Modified"]),
            content_type=properties.get("Content-Type", ""),
        )


def _time(text: str) -> datetime:
    return parsedate_to_datetime(text).astimezone(UTC)
