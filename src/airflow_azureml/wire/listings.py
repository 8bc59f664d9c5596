"""One page of a container's listing, as Blob Storage writes it.

Source: "List Blobs", REST API of Blob Storage. The SDK's own model of a blob takes a quarter of a millisecond to build,
so that a page of 5,000 blocks an event loop for a second; the few fields that count here take a tenth of that.
"""

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.filters import Details
from airflow_azureml.errors import ProtocolError

#: What a page may be asked to tell beside what it always does, and the element that it then has.
EXTRAS = {"metadata": b"<Metadata", "tags": b"<Tags"}
#: What every page is asked for: without it, the service says nothing of copies, and one that has only begun looks like
#: any other blob.
COPY = "copy"
#: The fields in the order in which the service writes them; a page where they are not is read the slow way.
_BLOB = re.compile(
    rb"<Blob><Name>([^<]*)</Name>.*?<Last-Modified>([^<]*)</Last-Modified><Etag>([^<]*)</Etag>"
    rb"(?:<ResourceType>file</ResourceType>)?"
    rb"<Content-Length>(\d+)</Content-Length>(?:<Content-Type>([^<]*)</Content-Type>)?",
    re.DOTALL,
)
#: What only the slow way reads: folders of a hierarchical account, and names that are encoded.
_ODD = (b"<ResourceType>directory", b"<Name Encoded", *EXTRAS.values())
_COPY, _COPIED = b"<CopyStatus>", b"<CopyStatus>success"
_ESCAPED = re.compile(r"&(?:#x([0-9A-Fa-f]+)|#([0-9]+)|(amp|lt|gt|quot|apos));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
#: Of a blob that is no copy, or whose copy is complete, in a page that tells of nothing more.
_PLAIN = Details(copy="")


@frozen(kw_only=True)
class Listed:
    """One blob of a listing.

    Attributes:
        path: Its name in the container.
        etag: The version, without quotes.
        modified: When it was last written; UTC, whole seconds.
        details: What the page tells beyond that; metadata and tags only where it was asked for them.
    """

    path: str
    etag: str
    size_bytes: int
    modified: datetime
    content_type: str = ""
    details: Details = _PLAIN

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is still to be copied."""
        return self.details.copy != "pending"

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


def parse_page(body: bytes, include: Collection[str] = ()) -> list[Listed]:
    """Read the blobs of one page; folders, and copies that failed or were aborted, are left out.

    Args:
        body: The answer.
        include: What of `EXTRAS` was asked for: a blob without it has none, and is not one of which it is not known.
            With any, and with ``md5``, each blob is read in full, which takes six times as long.

    Raises:
        ProtocolError: It is no listing: a proxy's own page, perhaps, or one that was cut off.
    """
    if b"<EnumerationResults" not in body[:1000] or not body.rstrip().endswith(b"</EnumerationResults>"):
        raise ProtocolError(f"List blobs: the answer is no whole listing; it begins with {body[:80]!r}")
    try:
        if not include and not any(odd in body for odd in _ODD) and body.count(_COPY) == body.count(_COPIED):
            found = [_quick(match) for match in _BLOB.findall(body)]
            if len(found) == body.count(b"<Blob>"):
                return found
        return list(_thorough(body, include))
    except (ET.ParseError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ProtocolError(f"List blobs: the answer is no listing that we can read: {error!r}") from error


def _quick(fields: tuple[bytes, ...]) -> Listed:
    name, modified, etag, size, content_type = fields
    return Listed(
        path=_text(name),
        etag=etag.decode().strip('"'),
        size_bytes=int(size),
        modified=_time(modified.decode()),
        content_type=_text(content_type),
    )


def _text(escaped: bytes) -> str:
    """Resolve XML's own references; those of HTML would make other characters of some names."""
    text = escaped.decode()
    return _ESCAPED.sub(_unescape, text) if "&" in text else text


def _unescape(found: re.Match[str]) -> str:
    hexadecimal, decimal, name = found.groups()
    return _NAMED[name] if name else chr(int(hexadecimal, 16) if hexadecimal else int(decimal))


def _thorough(body: bytes, include: Collection[str]) -> Iterator[Listed]:
    for blob in ET.fromstring(body).iter("Blob"):  # noqa: S314  # the storage account's own answer, over TLS
        properties = {each.tag: each.text or "" for each in blob.find("Properties") or ()}
        if properties.get("ResourceType") == "directory" or properties.get("CopyStatus") in {"failed", "aborted"}:
            continue
        name = blob.find("Name")
        if name is None:
            raise ValueError("a blob without a name")
        text = name.text or ""
        yield Listed(
            path=unquote(text, errors="strict") if name.get("Encoded") == "true" else text,
            etag=properties["Etag"].strip('"'),
            size_bytes=int(properties.get("Content-Length") or 0),
            modified=_time(properties["Last-Modified"]),
            content_type=properties.get("Content-Type", ""),
            details=Details(
                metadata=_metadata(blob) if "metadata" in include else None,
                tags=_tags(blob) if "tags" in include else None,
                copy=properties.get("CopyStatus", "").replace("success", ""),
                md5=properties.get("Content-MD5", ""),
            ),
        )


def _metadata(blob: ET.Element) -> dict[str, str] | None:
    """Read the metadata; None where it is encrypted with the customer's own key, so that a listing cannot tell it."""
    found = blob.find("Metadata")
    if found is None:
        return {}
    return None if found.get("Encrypted") == "true" else {each.tag: each.text or "" for each in found}


def _tags(blob: ET.Element) -> dict[str, str]:
    return {each.findtext("Key") or "": each.findtext("Value") or "" for each in blob.iterfind("Tags/TagSet/Tag")}


def _time(text: str) -> datetime:
    return parsedate_to_datetime(text).astimezone(UTC)
