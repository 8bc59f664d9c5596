"""Where what was scored is kept, and labels: files of a folder, each with the time that it counts as of."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from attrs import define, evolve, field, frozen

from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.staging import PUBLISHED
from airflow_azureml.errors import ConfigError, ProtocolError

#: What a file of logs may be. ``collected`` is what Azure ML's data collector writes: JSON lines, each with the rows of
#: one request in ``data``. Source: https://learn.microsoft.com/azure/machine-learning/how-to-collect-production-data
FORMATS = ("csv", "parquet", "jsonl", "collected")
#: How Azure ML's data collector lays files below a collection's folder. Source: the same.
HOURLY = "%Y/%m/%d/%H/"
#: The parts of a layout, the length of time that each leaves open, and what stands for it.
_PARTS = {
    "%H": (timedelta(hours=1), r"(?P<H>\d\d)"),
    "%d": (timedelta(days=1), r"(?P<d>\d\d)"),
    "%m": (timedelta(days=31), r"(?P<m>\d\d)"),
    "%Y": (timedelta(days=366), r"(?P<Y>\d{4})"),
}
_BETWEEN = r"[A-Za-z0-9._=/-]*"
_LAYOUT = re.compile(f"{_BETWEEN}%Y{_BETWEEN}(?:%m{_BETWEEN}(?:%d{_BETWEEN}(?:%H{_BETWEEN})?)?)?")
#: The schema of markers that are read.
_MARKER_SCHEMA = 1


def _folder(uri: str) -> str:
    return uri.rstrip("/") + "/" if uri else ""


@define(kw_only=True)
class Published:
    """The batches that `airflow_azureml.task_groups.arrivals.score_arrivals` has published.

    A file counts as of the time at which its batch was published.

    Attributes:
        folder: What the group was given as ``outputs``, templated: ``azureml://datastores/NAME/paths/FOLDER/``.
        file: The file that the pipeline writes into the folder that each blob's results have; empty where it writes
            one file for each blob.
        format: See `FORMATS`.
    """

    folder: str = field(converter=_folder)
    file: str = "predictions.csv"
    format: str = "csv"

    template_fields: ClassVar[tuple[str, ...]] = ("folder",)

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        return _faults(self.folder, self.format)


@define(kw_only=True)
class Dated:
    """Files in folders by date, such as what Azure ML's data collector writes, or files of a folder.

    Attributes:
        folder: The folder, templated: ``azureml://datastores/NAME/paths/FOLDER/`` or its address in Blob Storage.
        layout: How folders are called by the time of what is in them, UTC: ``%Y``, ``%m``, ``%d`` and ``%H``, in this
            order. Empty where they are not: then a file counts as of when it was written.
        format: See `FORMATS`.
    """

    folder: str = field(converter=_folder)
    layout: str = ""
    format: str = "csv"

    template_fields: ClassVar[tuple[str, ...]] = ("folder",)

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        is_layout = not self.layout or _LAYOUT.fullmatch(self.layout) is not None
        return [
            *_faults(self.folder, self.format),
            *([] if is_layout else [f"layout is {self.layout!r}; expected %Y, %m, %d and %H in this order"]),
        ]

    def slot(self, path: str) -> tuple[datetime, datetime] | None:
        """Read from a path below the folder of which time a file is; None where it does not say.

        Returns:
            The beginning, and the end, which is not of it.
        """
        if not self.layout:
            return None
        pattern, length = re.escape(self.layout), timedelta(days=366)
        for part, (span, digits) in reversed(_PARTS.items()):
            if part in self.layout:
                pattern, length = pattern.replace(re.escape(part), digits), span
        found = re.match(pattern, path)
        if found is None:
            return None
        told = {name: int(text) for name, text in found.groupdict().items()}
        try:
            begins = datetime(told["Y"], told.get("m", 1), told.get("d", 1), told.get("H", 0), tzinfo=UTC)
        except ValueError:
            return None
        return begins, begins + length

    @property
    def collects(self) -> bool:
        """Whether Azure ML's data collector wrote it."""
        return self.format == "collected"


ScoringLogs = Published | Dated


def collected(folder: str, *, layout: str = HOURLY) -> Dated:
    """Name a collection of Azure ML's data collector.

    Args:
        folder: ``azureml://datastores/workspaceblobstore/paths/modelDataCollector/ENDPOINT/DEPLOYMENT/COLLECTION/``.
        layout: As `Dated` has it.
    """
    return Dated(folder=folder, layout=layout, format="collected")


def _faults(folder: str, format_name: str) -> list[str]:
    is_place = in_datastore(folder) is not None or folder.startswith(("https://", "http://")) or "{{" in folder
    return [
        *([] if is_place else [f"folder is {folder!r}; expected azureml://datastores/NAME/paths/FOLDER/ or https://…"]),
        *([] if format_name in FORMATS else [f"format is {format_name!r}; it is none of {', '.join(FORMATS)}"]),
    ]


@frozen(kw_only=True, order=True)
class Segment:
    """One file.

    Attributes:
        time: What it counts as of, for whoever takes each file once: when it was written, or when the time ended that
            its folder's name tells, if that is later. So nothing comes with a time that has passed.
        path: In its container.
        etag: The version that was seen; empty where it never changes.
        logged: The time that its rows are of, as far as its folder's name tells; else when it was written.
        size_bytes: Its size; 0 where it is not known.
    """

    time: datetime
    path: str
    etag: str = field(default="", eq=False)
    logged: datetime = field(eq=False)
    size_bytes: int = field(default=0, eq=False)

    @classmethod
    def written(cls, path: str, *, at: datetime, etag: str = "", size_bytes: int = 0) -> Self:
        """Make one that counts as of when it was written."""
        return cls(time=at, path=path, etag=etag, logged=at, size_bytes=size_bytes)

    def of_slot(self, slot: tuple[datetime, datetime] | None) -> Self:
        """Let it count as of the time that its folder's name tells."""
        if slot is None:
            return self
        return evolve(self, time=max(self.time, slot[1]), logged=slot[0])


def segments_of(found: Iterable[Segment], logs: Dated, *, folder: str) -> Iterator[Segment]:
    """Leave out what is no file of the logs, and give each the time that it counts as of.

    Args:
        found: The blobs below the folder, as they were written.
        logs: Which logs.
        folder: The folder's path in the container, with a slash at its end.
    """
    for each in found:
        inner = each.path[len(folder) :]
        is_hidden = any(part.startswith(("_", ".")) for part in inner.split("/"))
        slot = logs.slot(inner)
        if is_hidden or not each.size_bytes or (logs.layout and slot is None):
            continue
        yield each.of_slot(slot)


def markers_below(folder: str) -> str:
    """Give the path at which the markers of published batches lie."""
    return f"{folder}{PUBLISHED}/"


def segments_in_marker(content: bytes, logs: Published, *, at: datetime, doing: str) -> list[Segment]:
    """Read which files a marker publishes.

    Args:
        content: The marker.
        logs: Which logs.
        at: When it was written.
        doing: What to say that was done, if it is none.

    Raises:
        ProtocolError: It is no marker that this version reads.
        ConfigError: It names results that are in no datastore.
    """
    try:
        marker: Mapping[str, Any] = json.loads(content)
        schema, output = marker["schema"], str(marker["output"])
        names = [str(one["file"]) for one in marker["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"{doing}: it is no marker of a published batch: {error!r}") from error
    if schema != _MARKER_SCHEMA:
        raise ProtocolError(f"{doing}: it is of schema {schema!r}; this version reads {_MARKER_SCHEMA}.")
    if not names:
        return []
    place = in_datastore(output)
    if place is None:
        raise ConfigError(f"{doing}: its output {output!r} is in no datastore.")
    paths = [f"{place.path}{name}/{logs.file}" if logs.file else f"{place.path}{name}" for name in names]
    return [Segment.written(path, at=at) for path in paths]
