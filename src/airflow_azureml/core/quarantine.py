"""Where a blob that failed its data tests is kept: a folder for each version, with the copy and its report.

A quarantined version is found by the path that it had: ``CONTAINER/PATH/ETAG/data/NAME``, and beside ``data`` the
report and the verdict. The blob itself stays where it is; nothing here is ever deleted.
"""

import hashlib
import re
from typing import Self
from urllib.parse import quote

from attrs import frozen

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.errors import ConfigError

#: Where versions are kept unless told otherwise, in the blobs' own account. A container of its own, so that the copies
#: are no arrivals in the container of the blobs.
CONTAINER = "airflow-azureml-quarantine"
#: In the folder of a version: the copy's folder, and what is said of it. The verdict is written last.
DATA, REPORT, VERDICT = "data", "report.html", "verdict.json"
#: Characters of a blob's name, and its segments. Source: Naming and Referencing Containers, Blobs, and Metadata.
LONGEST, MOST_SEGMENTS = 1024, 254
#: What a server, a client or a mount may read as something else than a name.
_ODD_SEGMENT = re.compile(r"(.*\.)?|.*[\x00-\x1f\x7f\\].*", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\?#]{1,200}(?<!\.)")


@frozen(kw_only=True)
class Cell:
    """Where one version is kept.

    Attributes:
        base: The account's address, without a slash at its end.
        container: The container of the quarantine.
        folder: The folder of the version in it, without a slash at its end.
        name: The copy's file name.
    """

    base: str
    container: str
    folder: str
    name: str

    @classmethod
    def of(cls, place: StorageUrl, etag: str, *, quarantine: str = "") -> Self:
        """Find the place of a version; the same for the same version.

        Args:
            place: The blob.
            etag: Its version, without quotes.
            quarantine: The address of a container, or of a folder in one, in the blob's account; empty for a container
                of its own.

        Raises:
            ConfigError: It is no such address, is in another account, or the blob is in quarantine already.
        """
        kept = StorageUrl.parse(quarantine or f"{place.blob_base}/{CONTAINER}")
        container, _, folder = kept.path.rstrip("/").partition("/")
        if not container:
            raise ConfigError(
                f"quarantine is {quarantine!r}; it must name a container: …/CONTAINER or …/CONTAINER/FOLDER."
            )
        if kept.account != place.account:
            raise ConfigError(
                f"quarantine is in account {kept.account}, and the data in {place.account}: the service copies within"
                " an account, so keep what it refuses there."
            )
        if f"{place.path}/".startswith(f"{container}/{folder}/" if folder else f"{container}/"):
            raise ConfigError(
                f"{place.path} is in the quarantine {kept.path} already; keep what fails in another place."
            )
        version = etag if _PLAIN.fullmatch(etag) else _digest(etag)
        whole = f"{place.path}/{version}"
        name = place.path.rpartition("/")[2]
        name = name if _NAME.fullmatch(name) else "blob"
        if not _can_be_kept(f"{folder}/{whole}/{DATA}/{name}".lstrip("/")):
            whole = f"{place.path.partition('/')[0]}/{_digest(f'{place.path}|{etag}')}"
        return cls(base=place.blob_base, container=container, folder=f"{folder}/{whole}".lstrip("/"), name=name)

    @property
    def copy(self) -> str:
        """The copy's name in the container."""
        return f"{self.folder}/{DATA}/{self.name}"

    def address(self, name: str) -> str:
        """Give the address of a blob of the container, quoted."""
        return f"{self.base}/{self.container}/{quote(name, safe='/~')}"

    @property
    def report(self) -> str:
        """The report's name in the container."""
        return f"{self.folder}/{REPORT}"

    @property
    def verdict(self) -> str:
        """The verdict's name in the container."""
        return f"{self.folder}/{VERDICT}"


def _can_be_kept(name: str) -> bool:
    """Tell whether a blob's name comes through every client and mount as it is."""
    segments = name.split("/")
    fits = len(name) <= LONGEST and len(segments) <= MOST_SEGMENTS
    return fits and not any(_ODD_SEGMENT.fullmatch(part) for part in segments)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
