"""Which blobs count: the same filter for those that events tell of and those that a listing finds."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Required, Self, TypedDict, Unpack

import pathspec
from attrs import asdict, define, field, frozen

from airflow_azureml.core.arrivals import Arrival

#: Source: "Naming and referencing containers, blobs, and metadata", REST API of Blob Storage.
_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])+|\$root|\$web")
#: ``text/csv``, or ``text/*``; without parameters.
_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.+-]+|\*)", re.IGNORECASE)
#: A name of metadata is an identifier of C#, and travels in a header, as its value does.
#: Source: "Setting and retrieving properties and metadata for blob resources", REST API of Blob Storage.
_METADATA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_METADATA_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?|")
#: Source: "Set Blob Tags", REST API of Blob Storage.
_TAG_NAME = re.compile(r"[A-Za-z0-9 +./:=_-]{1,128}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9 +./:=_-]{0,256}")
_MOST_TAGS = 10
#: What Blob Storage says of a copy that left nothing to read. Source: "Copy Blob", REST API of Blob Storage.
_SPOILT = frozenset({"aborted", "failed"})
#: Folders that stand for others: Azure resolves them before it stores a name, so no blob has one; every client on the
#: way would resolve them too, and find another blob, in another container perhaps.
_CLIMBING = frozenset({".", ".."})


class _Options(TypedDict, total=False):
    container: Required[str]
    prefix: str
    suffix: str
    glob: str
    regex: str
    min_size_bytes: int
    max_size_bytes: int | None
    content_types: Iterable[str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]


class FilterOptions(_Options, total=False):
    """Which blobs count: those that pass everything that is given.

    What nobody has said yet of a blob is no reason to leave it out: an event tells of no metadata and no tags, so that
    a blob is looked at, by who claims it, where the filter asks for them.

    Attributes:
        container: The container, in full.
        prefix: How the paths in it begin, without a slash at its start; empty for any.
        suffix: How the paths end, such as ``.csv``.
        glob: A pattern of the paths, as ``.gitignore`` has them, such as ``**/2026/*.csv``: ``*`` within a folder,
            ``**`` for any folders; one with a slash in it begins at the container's root, one without matches a name in
            any folder.
        regex: A regular expression of Python's for the whole path.
        min_size_bytes: The smallest size; 1 unless given, which leaves out empty blobs, 0 takes them too.
        max_size_bytes: The largest size; None for any.
        content_types: What the writers may call the content, such as ``text/csv`` or ``text/*``, whatever its
            parameters and case; empty for any.
        metadata: Metadata that a blob must have, each with exactly this value; the case of a name does not count.
        tags: Index tags that a blob must have, each with exactly this value.
        quiet_for: How long a blob must not have been written, by the storage account's own clock; for writers that
            append, or flush more than once.
    """

    quiet_for: timedelta


@frozen(kw_only=True)
class Details:
    """What a listing or a look tells of a blob, and an event does not.

    Attributes:
        metadata: Names and values; None where they are not known.
        tags: Index tags; None where they are not known.
        copy: What keeps a copy from being complete: ``pending``, ``aborted`` or ``failed``. Empty where nothing does or
            it is no copy, None where that is not known.
        md5: What the writer said the content's MD5 is, base64; empty where nobody did.
    """

    metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    copy: str | None = None
    md5: str = ""


#: What is known of a blob that only an event told of.
UNKNOWN = Details()


def _texts(given: Any) -> tuple[Any, ...]:
    """Keep texts; what is none is told of later."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)


def _pairs(given: Any) -> tuple[tuple[Any, ...], ...]:
    """Keep names and values in one order, so that equal filters are equal; what is no mapping is told of later."""
    pairs = given.items() if isinstance(given, Mapping) else given or ()
    return tuple(sorted(map(_texts, _texts(pairs)), key=str))


@define(frozen=True, slots=False, kw_only=True)
class ArrivalFilter:
    """Which arrivals are wanted: those that pass every part that is given; see `FilterOptions` for what each part is.

    Attributes:
        quiet_s: Seconds for which a blob must not have been written.
    """

    container: str
    prefix: str = ""
    suffix: str = ""
    glob: str = ""
    regex: str = ""
    min_size_bytes: int = 1
    max_size_bytes: int | None = None
    content_types: tuple[str, ...] = field(default=(), converter=_texts)
    metadata: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs)
    tags: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs)
    quiet_s: float = 0.0

    @classmethod
    def of(cls, *, quiet_for: timedelta = timedelta(0), **options: Unpack[_Options]) -> Self:
        """Make a filter of `FilterOptions`; `faults` says what is wrong with it."""
        quiet: Any = quiet_for
        return cls(quiet_s=quiet.total_seconds() if isinstance(quiet, timedelta) else quiet, **options)

    def faults(self) -> list[str]:
        """Say what is wrong with the filter itself; an empty list when nothing is."""
        texts = {name: getattr(self, name) for name in ("container", "prefix", "suffix", "glob", "regex")}
        if odd := [f"{name} is {given!r}, not a text" for name, given in texts.items() if not is_text(given)]:
            return odd  # whatever else there is to say takes them for texts
        sizes = {"min_size_bytes": self.min_size_bytes, "max_size_bytes": self.max_size_bytes}
        wrong_sizes = [
            f"{name} is {size!r}, not a number from 0 on"
            for name, size in sizes.items()
            if not (_is_size(size) or (size is None and name == "max_size_bytes"))
        ]
        crossed = not wrong_sizes and self.max_size_bytes is not None and self.max_size_bytes < self.min_size_bytes
        return [
            *([] if is_container(self.container) else [f"container {self.container!r} is no container's name"]),
            *(["prefix begins with a slash, which a blob's path in its container does not"] * self._is_rooted),
            *wrong_sizes,
            *(["max_size_bytes is smaller than min_size_bytes"] if crossed else []),
            *self._faults_of_patterns(),
            *[
                f"content type {each!r} is none (for example text/csv or text/*)"
                for each in self.content_types
                if not _CONTENT_TYPE.fullmatch(str(each))
            ],
            *_faults_of_metadata(self.metadata),
            *_faults_of_tags(self.tags),
            *([] if _is_span(self.quiet_s) else [f"quiet_for is {self.quiet_s!r}, no time from 0 seconds on"]),
        ]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it: as arguments that make the same filter again.

        Airflow knows a trigger by its arguments; what came to them later is there only where it is given.
        """
        later = {"metadata": dict(self.metadata), "tags": dict(self.tags), "quiet_s": self.quiet_s}
        always = {name: value for name, value in asdict(self).items() if name not in later}
        given = {name: value for name, value in later.items() if value}
        return {**always, "content_types": list(self.content_types), **given}

    @property
    def include(self) -> frozenset[str]:
        """What a listing has to be asked for beside what it always tells: ``metadata``, ``tags``."""
        return frozenset(name for name in ("metadata", "tags") if getattr(self, name))

    def reason_to_skip(self, arrival: Arrival, details: Details = UNKNOWN) -> str:
        """Say why an arrival is not wanted; empty when it is, or may be once more is known of it."""
        # What an event says of a size is its beginning only, where more is to be written or copied.
        begun = self.quiet_s > 0 or (arrival.api == "CopyBlob" and arrival.size_bytes == 0)
        size_bytes = None if begun and details.copy is None else arrival.size_bytes
        return (
            self._reason_of_path(arrival)
            or self._reason_of_content(size_bytes, arrival.content_type)
            or self._reason_of_details(details)
        )

    def reason_to_wait(self, arrival: Arrival, details: Details, *, now: datetime) -> str:
        """Say why a wanted blob is not complete yet; empty when it is.

        Args:
            arrival: Its time is when it was last written.
            details: What is known of it.
            now: The storage account's time.
        """
        if details.copy == "pending":
            return "is still being copied"
        age_s = (now - datetime.fromisoformat(arrival.time)).total_seconds()
        # Both times are whole seconds, so that a blob may seem to come from the future.
        if self.quiet_s > 0 and age_s < self.quiet_s:
            return f"was written {max(age_s, 0):.0f} s ago, and must not have been for {self.quiet_s:.0f} s"
        return ""

    def needs_look(self, arrival: Arrival) -> bool:
        """Tell whether an arrival that an event told of has to be looked at before the filter can say all it may."""
        of_content = bool(self.content_types) and not arrival.content_type
        of_size = arrival.size_bytes is None and (self.min_size_bytes > 0 or self.max_size_bytes is not None)
        # Accounts with folders tell of a copy when it begins.
        is_copy = arrival.api == "CopyBlob"
        return bool(self.include) or self.quiet_s > 0 or of_content or of_size or is_copy

    def _reason_of_path(self, arrival: Arrival) -> str:
        if arrival.container != self.container:
            return f"not in container {self.container}"
        if not _CLIMBING.isdisjoint(arrival.path.split("/")):
            return "path has a folder . or .., which no address can name"
        return self._reason_of_pattern(arrival)

    def _reason_of_pattern(self, arrival: Arrival) -> str:
        if not arrival.path.startswith(self.prefix):
            return f"path does not begin with {self.prefix}"
        if not arrival.path.endswith(self.suffix):
            return f"path does not end with {self.suffix}"
        if self._glob is not None and not self._glob.match_file(_for_glob(arrival.path)):
            return f"path does not match {self.glob}"
        if self._regex is not None and not self._regex.fullmatch(arrival.path):
            return f"path does not match the expression {self.regex}"
        return ""

    def _reason_of_content(self, size_bytes: int | None, content_type: str) -> str:
        if size_bytes is not None:
            if size_bytes < self.min_size_bytes:
                return f"smaller than {self.min_size_bytes} bytes"
            if self.max_size_bytes is not None and size_bytes > self.max_size_bytes:
                return f"larger than {self.max_size_bytes} bytes"
        kind = content_type.partition(";")[0].strip().lower()
        if kind and self.content_types and not any(fnmatchcase(kind, each.lower()) for each in self.content_types):
            return f"content type is none of {', '.join(self.content_types)}"
        return ""

    def _reason_of_details(self, details: Details) -> str:
        if details.copy in _SPOILT:
            return f"its copy was {details.copy}" if details.copy == "aborted" else f"its copy {details.copy}"
        if details.metadata is not None and self.metadata:
            found = {name.lower(): value for name, value in details.metadata.items()}
            for name, value in self.metadata:
                if found.get(name.lower()) != value:
                    return f"its metadata {name} is not {value!r}"
        if details.tags is not None:
            for name, value in self.tags:
                if details.tags.get(name) != value:
                    return f"its tag {name} is not {value!r}"
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


def is_container(name: object) -> bool:
    """Tell whether a container may be called so."""
    return isinstance(name, str) and _CONTAINER.fullmatch(name) is not None


def _for_glob(path: str) -> str:
    """Write a path as pathspec has to read it: names may have line ends, and begin with a slash, which it takes off.

    Its expressions are of lines: a line end is written as half a character, which no path and no pattern has.
    """
    return "/" + path.replace("\n", "\udc0a")


def is_text(given: object) -> bool:
    """Tell whether it is a text that can be stored: JSON has halves of characters, too."""
    if not isinstance(given, str):
        return False
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_size(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _is_span(seconds: object) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < math.inf


def _faults_of_metadata(wanted: tuple[tuple[str, str], ...]) -> list[str]:
    names = [str(name).lower() for name, _ in _readable(wanted)]
    return [
        *_faults_of_pairs("metadata", wanted),
        *[
            f"metadata {name!r} is no name (letters, digits and _, no digit first)"
            for name, _ in _readable(wanted)
            if not _METADATA_NAME.fullmatch(name)
        ],
        *[
            f"metadata {name} cannot be {value!r} (printable ASCII, no space at either end)"
            for name, value in _readable(wanted)
            if not _METADATA_VALUE.fullmatch(value)
        ],
        *[f"metadata {name} is given more than once" for name in sorted(set(names)) if names.count(name) > 1],
    ]


def _faults_of_tags(wanted: tuple[tuple[str, str], ...]) -> list[str]:
    return [
        *_faults_of_pairs("tags", wanted),
        *([f"{len(wanted)} tags are given, and a blob has {_MOST_TAGS} at most"] if len(wanted) > _MOST_TAGS else []),
        *[
            f"tag {name!r} = {value!r} cannot be: a name has up to 128 characters, a value up to 256, letters, digits, "
            "spaces and + - . / : = _"
            for name, value in _readable(wanted)
            if not (_TAG_NAME.fullmatch(name) and _TAG_VALUE.fullmatch(value))
        ],
    ]


def _readable(pairs: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [each for each in pairs if _is_pair(each)]


def _is_pair(each: tuple[Any, ...]) -> bool:
    return len(each) == len(("name", "value")) and all(isinstance(part, str) for part in each)


def _faults_of_pairs(what: str, pairs: tuple[tuple[str, str], ...]) -> list[str]:
    odd = [each for each in pairs if not _is_pair(each)]
    return [f"{what} has {odd[0]!r}, which is no name with a value of text"] if odd else []
