"""What a scan of a container has to list, what of it is new, and the little it must remember for the next one.

Storage cannot be asked for what was written since a time: it lists names, in their order, with the time of the last
write by its own clock. So a scan tells what was written since the last scan *began*, less an overlap, and remembers
which versions it told in that overlap. What comes to its place with an older time (a rename in a hierarchical account
keeps it) or under a name that no scan lists again is found by the next reconciliation, which lists everything.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.layouts import ANY, Layout
from airflow_azureml.errors import ConfigError

#: The shortest overlap, seconds: one page may take 20 s to come, and times are cut to whole seconds.
SHORTEST_OVERLAP_S = 30.0


@frozen(kw_only=True)
class Scanning:
    """How a container is scanned.

    Attributes:
        layout: How its names grow: `ANY`, `NAMES` or ``dates("patients/%Y/%m/%d/")``. It saves listing; whether a blob
            counts is not its business.
        every: Time from the end of a scan to the next one.
        reconcile_every: Time from a reconciliation to the next one, which lists everything below the prefix, some pages
            after each scan, and tells it once more; None for never.
        overlap: How far a scan looks back before the beginning of the last one; at least 30 s.
        renames: Whether a blob may come to its place with an older time: a rename in an account with folders
            (hierarchical namespace) keeps it. Where none does, a reconciliation tells only what was written since the
            one before.
        newer_than: What was last written before does not count; with its zone. None for any.
    """

    layout: Layout = ANY
    every: timedelta = timedelta(minutes=1)
    reconcile_every: timedelta | None = timedelta(days=1)
    overlap: timedelta = timedelta(minutes=5)
    renames: bool = True
    newer_than: datetime | None = None

    def faults(self, prefix: str) -> list[str]:
        """Say what is wrong with it, for blobs whose names begin so; an empty list when nothing is."""
        spans = {"every": self.every, "reconcile_every": self.reconcile_every, "overlap": self.overlap}
        given = {name: span for name, span in spans.items() if span is not None or name != "reconcile_every"}
        odd = [
            f"{name} is {span!r}, not a timedelta" for name, span in given.items() if not isinstance(span, timedelta)
        ]
        if not isinstance(self.layout, Layout):
            odd.append(f"layout is {self.layout!r}, and none of ANY, NAMES and dates(...)")
        if self.newer_than is not None and not isinstance(self.newer_than, datetime):
            odd.append(f"newer_than is {self.newer_than!r}, not a datetime")
        return odd or self._faults_of_values(prefix)

    def _faults_of_values(self, prefix: str) -> list[str]:
        reconciles = self.reconcile_every
        return [
            *self.layout.faults(prefix),
            *([] if self.every > timedelta(0) else ["every must be longer than nothing"]),
            *(
                []
                if reconciles is None or reconciles > timedelta(0)
                else ["reconcile_every must be longer than nothing"]
            ),
            *([] if self.overlap >= timedelta(seconds=SHORTEST_OVERLAP_S) else ["overlap must be 30 s or longer"]),
            *(
                ["newer_than has no time zone"]
                if self.newer_than is not None and self.newer_than.tzinfo is None
                else []
            ),
        ]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {
            "layout": self.layout.to_wire(),
            "every_s": self.every.total_seconds(),
            "reconcile_every_s": None if self.reconcile_every is None else self.reconcile_every.total_seconds(),
            "overlap_s": self.overlap.total_seconds(),
            "renames": self.renames,
            "newer_than": _written(self.newer_than),
        }

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        reconciles = raw["reconcile_every_s"]
        return cls(
            layout=Layout.from_wire(raw["layout"]),
            every=timedelta(seconds=raw["every_s"]),
            reconcile_every=None if reconciles is None else timedelta(seconds=reconciles),
            overlap=timedelta(seconds=raw["overlap_s"]),
            renames=raw["renames"],
            newer_than=_read(raw["newer_than"]),
        )


@frozen(kw_only=True)
class Scan:
    """What is scanned.

    Attributes:
        account_url: The storage account's blob service, ``https://ACCOUNT.blob.core.windows.net``.
        wanted: Which blobs count.
        how: In which way.
    """

    account_url: str
    wanted: ArrivalFilter
    how: Scanning = field(factory=Scanning)

    @property
    def place(self) -> StorageUrl:
        """The storage account."""
        return StorageUrl.parse(self.account_url)

    @property
    def container_url(self) -> str:
        """The container's address."""
        return f"{self.place.blob_base}/{self.wanted.container}"

    @property
    def looks_back(self) -> timedelta:
        """How long after it was written a blob may be new to a scan: the overlap, and what it has to be quiet for."""
        return self.how.overlap + timedelta(seconds=self.wanted.quiet_s)

    @property
    def key(self) -> str:
        """What its state is kept under: another one, when it lists or tells another way."""
        how = [self.how.layout.to_wire(), _written(self.how.newer_than)]
        told = json.dumps([self.container_url, self.wanted.to_wire(), *how], sort_keys=True)
        return f"scan {hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        return [*faults_of_account(self.account_url), *self.wanted.faults(), *self.how.faults(self.wanted.prefix)]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {"account_url": self.account_url, "wanted": self.wanted.to_wire(), "how": self.how.to_wire()}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        return cls(
            account_url=raw["account_url"],
            wanted=ArrivalFilter(**raw["wanted"]),
            how=Scanning.from_wire(raw["how"]),
        )


def faults_of_account(account_url: str) -> list[str]:
    """Say what is wrong with the address of a storage account's blob service; an empty list when nothing is."""
    try:
        place = StorageUrl.parse(account_url)
    except ConfigError as error:
        return [f"account_url: {error}"]
    if place.service not in {"", "blob", "dfs"} or place.path:
        return [f"account_url {account_url!r} must be the account's alone, https://{place.account}.blob.…"]
    return []


def _written(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _read(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
