"""Blobs that belong together: when all of a set are there, and which version of the set that is."""

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from attrs import asdict, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.filters import UNKNOWN, ArrivalFilter, Details, is_text
from airflow_azureml.errors import ProtocolError

#: Bytes of the largest manifest that is read: 4,000 of the longest names.
MANIFEST_BYTES = 4 * 1024 * 1024
#: How many names a reason tells.
_TOLD = 3
_MD5_BYTES = 16


@frozen(kw_only=True)
class Sets:
    """What says that blobs which belong together are all there: exactly one of these.

    A set is what lies in one folder. It is never told in part, and once for each of its versions: a set with a blob
    that was overwritten, added or taken away since, and that is complete again, is a new version of it.

    Attributes:
        marker: The name of a blob in the set's folder that its writer makes last, such as ``_SUCCESS``. It speaks for
            what was written before it: a blob written later waits until the marker is written again.
        manifest: The name of a blob in the set's folder that lists the set's blobs, such as ``manifest.json``; see
            `Manifest`. It may be written first or last.
        count: How many blobs make a set; more are a set, too.
        quiet_for: How long nothing in the folder must have been written, by the storage account's clock.
        depth: The number of folders in the path, from the container's root on, that make the set's folder, so that
            blobs in folders below belong to it; None for the folder in which a blob lies.
    """

    marker: str = ""
    manifest: str = ""
    count: int = 0
    quiet_for: timedelta = timedelta(0)
    depth: int | None = None

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        signs: dict[str, object] = {"marker": self.marker, "manifest": self.manifest}
        numbers = {"count": self.count, "depth": 0 if self.depth is None else self.depth}
        odd = [f"{name} is {given!r}, not a text" for name, given in signs.items() if not isinstance(given, str)]
        odd += [f"{name} is {given!r}, not a number" for name, given in numbers.items() if type(given) is not int]
        if not isinstance(self.quiet_for, timedelta):
            odd.append(f"quiet_for is {self.quiet_for!r}, not a timedelta")
        return [f"sets: {fault}" for fault in odd] or self._faults_of_values()

    def _faults_of_values(self) -> list[str]:
        given = [name for name in ("marker", "manifest", "count", "quiet_for") if getattr(self, name)]
        names = [name for name in ("marker", "manifest") if "/" in (it := getattr(self, name)) or it in {".", ".."}]
        return [
            *(
                []
                if len(given) == 1
                else [f"sets need one of marker, manifest, count, quiet_for; got {given or 'none'}"]
            ),
            *[f"the {name} of a set is a name in its folder, without a slash" for name in names],
            *(["the count of a set is negative"] if self.count < 0 else []),
            *(["the quiet time of a set is negative"] if self.quiet_for < timedelta(0) else []),
            *(
                []
                if self.depth is None or self.depth >= 0
                else [f"the depth of a set is {self.depth!r}, not a number of folders"]
            ),
        ]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {**asdict(self), "quiet_for": self.quiet_for.total_seconds()}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        return cls(**{**raw, "quiet_for": timedelta(seconds=raw["quiet_for"])})

    @property
    def include(self) -> frozenset[str]:
        """What a listing has to be read for, beside what it always tells: a manifest may name checksums."""
        return frozenset({"md5"} if self.manifest else ())

    def folder(self, path: str) -> str | None:
        """Name the folder of the set that a blob belongs to, with a slash at its end; empty for the root.

        Returns:
            None for a blob that lies less deep than sets do.
        """
        *folders, _ = path.split("/")
        if self.depth is not None:
            if len(folders) < self.depth:
                return None
            folders = folders[: self.depth]
        return "".join(f"{each}/" for each in folders)

    def is_sign(self, path: str) -> bool:
        """Tell whether a blob is the marker or the manifest of its set, which is no member of it."""
        name = self.marker or self.manifest
        return bool(name) and path == f"{self.folder(path)}{name}"

    def reason_to_skip(self, wanted: ArrivalFilter, arrival: Arrival, details: Details = UNKNOWN) -> str:
        """Say why a blob is neither of a set nor a set's sign; a sign need not look like the set's blobs."""
        if self.is_sign(arrival.path) and arrival.path.startswith(wanted.prefix):
            return "" if arrival.container == wanted.container else f"not in container {wanted.container}"
        return wanted.reason_to_skip(arrival, details)


@frozen(kw_only=True)
class Named:
    """One entry of a manifest.

    Attributes:
        path: The name, in the set's folder or below.
        size_bytes: None where the manifest does not say it.
        etag: Without quotes; empty where the manifest does not say it.
        md5: Of the content, base64, as Azure keeps it; empty where the manifest does not say it.
    """

    path: str
    size_bytes: int | None = None
    etag: str = ""
    md5: str = ""


@frozen
class Manifest:
    """A set's own list of its blobs.

    It is JSON in UTF-8: a list with an entry for each blob, which is its name, or an object with its ``name`` and,
    where the writer knows them, ``size`` (bytes), ``eTag`` and ``md5`` (base64, as in ``Content-MD5``). Names begin in
    the folder of the set: ``part-0.csv``, ``sub/part-1.csv``.
    """

    named: tuple[Named, ...]

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read a manifest.

        Raises:
            ProtocolError: It is none; the message says all that is wrong with it.
        """
        try:
            body = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"it is no JSON in UTF-8: {error}") from error
        if not isinstance(body, list) or not body:
            raise ProtocolError("it must be a list of names, or of objects with a name, and not be empty")
        faults = [f"entry {number}: {fault}" for number, entry in enumerate(body) for fault in _faults_of_entry(entry)]
        names = [entry["name"] if isinstance(entry, dict) else entry for entry in body] if not faults else []
        if len(set(names)) < len(names):
            faults.append("a name is there more than once")
        if faults:
            more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
            raise ProtocolError("; ".join(faults[:_TOLD]) + more)
        return cls(tuple(map(_named, body)))


def _faults_of_entry(entry: Any) -> list[str]:
    told = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(told, dict):
        return ["neither a name nor an object"]
    name, size, etag, md5 = (told.get(each) for each in ("name", "size", "eTag", "md5"))
    unknown = sorted(set(told) - {"name", "size", "eTag", "md5"})
    folders = name.split("/") if isinstance(name, str) else [""]
    is_name = bool(name) and not {"", ".", ".."} & set(folders) and is_text(name)
    is_size = size is None or (isinstance(size, int) and not isinstance(size, bool) and size >= 0)
    return [
        *([f"unknown {', '.join(unknown)}"] if unknown else []),
        *([] if is_name else [f"{name!r} is no name in the set's folder"]),
        *([] if is_size else [f"the size {size!r} is no number of bytes"]),
        *([] if etag is None or is_text(etag) else [f"the eTag {etag!r} is no text"]),
        *([] if md5 is None or _is_md5(md5) else [f"the md5 {md5!r} is none in base64"]),
    ]


def _is_md5(text: object) -> bool:
    try:
        return isinstance(text, str) and len(base64.b64decode(text, validate=True)) == _MD5_BYTES
    except (ValueError, binascii.Error):
        return False


def _named(entry: Any) -> Named:
    if isinstance(entry, str):
        return Named(path=entry)
    etag = (entry.get("eTag") or "").strip('"')
    return Named(path=entry["name"], size_bytes=entry.get("size"), etag=etag, md5=entry.get("md5") or "")


@frozen(kw_only=True)
class Found:
    """A blob that counts, or a set's sign, as a listing shows it.

    Attributes:
        waits: Why it is not complete yet, as the end of a sentence; its set waits with it. Empty when it is.
    """

    arrival: Arrival
    details: Details = UNKNOWN
    waits: str = ""


@frozen(kw_only=True)
class BlobSet:
    """A complete set, in one of its versions.

    Attributes:
        folder: Where it lies, with a slash at its end; empty for the container's root.
        members: Its blobs, in the order of their names.
        time: When the last of them, or its sign, was written; UTC, as ISO 8601.
    """

    folder: str
    members: tuple[Arrival, ...]
    time: str

    @property
    def key(self) -> str:
        """What identifies this version: 32 hexadecimal digits, of its blobs and their versions."""
        text = "\n".join(sorted(each.key for each in self.members))
        return hashlib.sha256(f"{self.folder}\n{text}".encode()).hexdigest()[:32]


@frozen(kw_only=True)
class Gathered:
    """What is to be made of some blobs.

    Attributes:
        ready: The sets that are complete, in the order of their times.
        waiting: The folders of those that are not, and why, as the end of a sentence.
    """

    ready: tuple[BlobSet, ...]
    waiting: tuple[tuple[str, str], ...] = ()


def gather(
    found: Iterable[Found], rule: Sets, now: datetime, *, manifests: Mapping[str, Manifest | str] | None = None
) -> Gathered:
    """Sort blobs into sets, and say which are complete; the order in which they are given does not matter.

    Args:
        found: All blobs of each folder in question, as one look saw them, signs among them: those for which
            `Sets.reason_to_skip` is empty. A look that misses some would make a set of a part.
        rule: What makes a set complete.
        now: The storage account's time at that look.
        manifests: By the `Arrival.key` of each: what it says, or why it cannot be read.
    """
    ready, waiting = [], []
    for folder, blobs in sorted(_folders(found, rule).items()):
        sign = blobs.pop(f"{folder}{rule.marker or rule.manifest}", None)
        if rule.manifest:
            members, why = _by_manifest(folder, sign, blobs, manifests or {})
        else:
            members, why = blobs, _reason_to_wait(sign, blobs, rule, now)
        if why:
            waiting.append((folder, why))
        elif members:
            time = max(each.arrival.time for each in [*members.values(), *([sign] if sign else [])])
            in_order = tuple(members[path].arrival for path in sorted(members))
            ready.append(BlobSet(folder=folder, members=in_order, time=time))
    return Gathered(ready=tuple(sorted(ready, key=lambda one: (one.time, one.folder))), waiting=tuple(waiting))


def manifests_to_read(found: Iterable[Found], rule: Sets) -> list[Arrival]:
    """Pick the manifests, which have to be read before `gather` can say anything of their sets."""
    return [each.arrival for each in found if rule.manifest and rule.is_sign(each.arrival.path) and not each.waits]


def _folders(found: Iterable[Found], rule: Sets) -> dict[str, dict[str, Found]]:
    """Sort the blobs by the folder of their set; those that lie less deep belong to none."""
    folders: dict[str, dict[str, Found]] = {}
    for each in found:
        folder = rule.folder(each.arrival.path)
        if folder is not None:
            folders.setdefault(folder, {})[each.arrival.path] = each
    return folders


def _reason_to_wait(sign: Found | None, members: Mapping[str, Found], rule: Sets, now: datetime) -> str:
    """Say why a set without a manifest is not complete; empty when it is."""
    incomplete = [each for each in [*members.values(), *([sign] if sign else [])] if each.waits]
    if incomplete:
        return f"{incomplete[0].arrival.path} {incomplete[0].waits}"
    if rule.marker and sign is None:
        return f"there is no {rule.marker}"
    if rule.marker and sign is not None:
        late = [path for path, each in sorted(members.items()) if _time(each) > _time(sign)]
        return f"{_some(late)} written after {rule.marker}, which has to be written again" if late else ""
    if len(members) < rule.count:
        return f"{len(members)} of {rule.count} blobs are there"
    if members and rule.quiet_for:
        age = now - max(map(_time, members.values()))
        if age < rule.quiet_for:
            told = f"the last blob was written {max(age.total_seconds(), 0):.0f} s ago"
            return f"{told}, and {rule.quiet_for.total_seconds():.0f} s of quiet are asked for"
    return ""


def _by_manifest(
    folder: str, sign: Found | None, blobs: Mapping[str, Found], manifests: Mapping[str, Manifest | str]
) -> tuple[dict[str, Found], str]:
    """Pick the blobs that the manifest names, or say why the set is not complete; others are none of it."""
    if sign is None:
        return {}, "there is no manifest"
    if sign.waits:
        return {}, f"{sign.arrival.path} {sign.waits}"
    manifest = manifests.get(sign.arrival.key, "it has not been read")
    if isinstance(manifest, str):
        return {}, f"{sign.arrival.path} cannot be used: {manifest}"
    missing = [each.path for each in manifest.named if folder + each.path not in blobs]
    if missing:
        return {}, f"{_some(missing)} not there, or left out by the filter, of {len(manifest.named)} named"
    members = {folder + each.path: blobs[folder + each.path] for each in manifest.named}
    reasons = [why for each in manifest.named if (why := _difference(each, members[folder + each.path]))]
    return members, reasons[0] if reasons else ""


def _difference(named: Named, found: Found) -> str:
    """Say what keeps a blob from being the one that is named; empty when nothing does."""
    path, blob = named.path, found.arrival
    if found.waits:
        return f"{path} {found.waits}"
    if named.size_bytes not in (None, blob.size_bytes):
        return f"{path} has {blob.size_bytes} bytes, and {named.size_bytes} are named"
    if named.etag and named.etag != blob.etag:
        return f"{path} has eTag {blob.etag}, and {named.etag} is named"
    if named.md5 and named.md5 != found.details.md5:
        return f"{path} has the MD5 {found.details.md5 or '(none that Azure knows)'}, and {named.md5} is named"
    return ""


def _time(found: Found) -> datetime:
    return datetime.fromisoformat(found.arrival.time)


def _some(names: Collection[str]) -> str:
    """Name a few, as the beginning of a sentence."""
    few = ", ".join(sorted(names)[:_TOLD])
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{few}{more} {'is' if len(names) == 1 else 'are'}"
