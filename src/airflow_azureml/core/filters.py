"""Which blobs count: the same filter for those that events tell of and those that a listing finds."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import pathspec
from attrs import asdict, define, field

from airflow_azureml.core.arrivals import Arrival

#: Source: "Naming and referencing containers, blobs, and metadata", REST API of Blob Storage.
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])+|\$root|\$web")
#: ``text/csv``, or ``text/*``; without parameters.
_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+|\*)", re.IGNORECASE)


def _texts(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@define(frozen=True, slots=False, kw_only=True)
class ArrivalFilter:
    """Which arrivals are wanted: those that pass every part that is given.

    Attributes:
        container: The container, in full.
        prefix: How the path in it begins; empty for any.
        suffix: How the path ends; empty for any.
        glob: A pattern of the path, as ``.gitignore`` has them: ``*`` within a folder, ``**`` for any folders; one with
            a slash in it begins at the container's root, one without matches a name in any folder. Empty for any.
        regex: A regular expression of Python's for the whole path; empty for any.
        min_size_bytes: The smallest size; a blob whose size is not known yet passes.
        max_size_bytes: The largest size; None for any. A blob whose size is not known yet passes.
        content_types: Types of content, such as ``text/csv`` or ``text/*``, whatever their parameters and case; empty
            for any. A blob whose type is not known yet passes.
    """

    container: str
    prefix: str = ""
    suffix: str = ""
    glob: str = ""
    regex: str = ""
    min_size_bytes: int = 1
    max_size_bytes: int | None = None
    content_types: tuple[str, ...] = field(default=(), converter=_texts)

    def faults(self) -> list[str]:
        """Say what is wrong with the filter itself; an empty list when nothing is."""
        sizes = {"min_size_bytes": self.min_size_bytes, "max_size_bytes": self.max_size_bytes}
        wrong_sizes = [
            f"{name} is {size!r}, not a number from 0 on"
            for name, size in sizes.items()
            if not (_is_size(size) or (size is None and name == "max_size_bytes"))
        ]
        crossed = not wrong_sizes and self.max_size_bytes is not None and self.max_size_bytes < self.min_size_bytes
        return [
            *([] if _CONTAINER.fullmatch(self.container) else [f"container {self.container!r} is no container's name"]),
            *(["prefix begins with a slash, which a blob's path in its container does not"] * self._is_rooted),
            *wrong_sizes,
            *(["max_size_bytes is smaller than min_size_bytes"] if crossed else []),
            *self._faults_of_patterns(),
            *[
                f"content type {each!r} is none (for example text/csv or text/*)"
                for each in self.content_types
                if not _CONTENT_TYPE.fullmatch(each)
            ],
        ]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {**asdict(self), "content_types": list(self.content_types)}

    def reason_to_skip(self, arrival: Arrival) -> str:
        """Say why an arrival is not wanted; empty when it is."""
        return self._reason_of_path(arrival) or self._reason_of_content(arrival)

    def _reason_of_path(self, arrival: Arrival) -> str:
        if arrival.container != self.container:
            return f"not in container {self.container}"
        if not arrival.path.startswith(self.prefix):
            return f"path does not begin with {self.prefix}"
        if not arrival.path.endswith(self.suffix):
            return f"path does not end with {self.suffix}"
        if self._glob is not None and not self._glob.match_file(arrival.path):
            return f"path does not match {self.glob}"
        if self._regex is not None and not self._regex.fullmatch(arrival.path):
            return f"path does not match the expression {self.regex}"
        return ""

    def _reason_of_content(self, arrival: Arrival) -> str:
        if arrival.size_bytes is not None:
            if arrival.size_bytes < self.min_size_bytes:
                return f"smaller than {self.min_size_bytes} bytes"
            if self.max_size_bytes is not None and arrival.size_bytes > self.max_size_bytes:
                return f"larger than {self.max_size_bytes} bytes"
        kind = arrival.content_type.partition(";")[0].strip().lower()
        if kind and self.content_types and not any(fnmatchcase(kind, each.lower()) for each in self.content_types):
            return f"content type is none of {', '.join(self.content_types)}"
        return ""

    def _faults_of_patterns(self) -> list[str]:
        found = []
        for name in ("_glob", "_regex"):
            try:
                getattr(self, name)
            except (re.error, ValueError) as error:
                found.append(f"{name[1:]} {getattr(self, name[1:])!r} cannot be read: {error}")
        if self.glob.startswith(("!", "#")) or self.glob != self.glob.strip() or "\n" in self.glob:
            found.append(f"glob {self.glob!r} must be one pattern, and none that excludes")
        return found

    @property
    def _is_rooted(self) -> bool:
        return self.prefix.startswith("/")

    @cached_property
    def _glob(self) -> "pathspec.PathSpec[Any] | None":
        return pathspec.PathSpec.from_lines("gitignore", [self.glob]) if self.glob else None

    @cached_property
    def _regex(self) -> re.Pattern[str] | None:
        return re.compile(self.regex) if self.regex else None


def _is_size(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
