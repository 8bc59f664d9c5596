"""What a sensor looks for in a container, and what it has found so far."""

import heapq
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from attrs import define, field, frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.conditions import Sight, State
from airflow_azureml.core.filters import ArrivalFilter

#: Most arrivals that a task may return: of some 450 bytes each, they stay below 500 kB.
MOST = 1000


@frozen(kw_only=True)
class Search:
    """What is looked for.

    Attributes:
        account_url: The storage account's blob service, ``https://ACCOUNT.blob.core.windows.net``.
        wanted: Which blobs count.
        at_least: How many of them there have to be; at least 1.
        at_most: How many of them are returned: the oldest.
        newer_than: Blobs that were last written before do not count; with its zone. None for any.
        quiet_s: Seconds for which a blob must not have been written, by the storage account's own clock.
    """

    account_url: str
    wanted: ArrivalFilter
    at_least: int = 1
    at_most: int = 100
    newer_than: datetime | None = None
    quiet_s: float = 0.0

    @property
    def container_url(self) -> str:
        """Where to look."""
        return f"{self.place.blob_base}/{self.wanted.container}"

    @property
    def place(self) -> StorageUrl:
        """The storage account."""
        return StorageUrl.parse(self.account_url)

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        return [
            *self.wanted.faults(),
            *([] if self.at_least >= 1 else [f"at_least is {self.at_least}; it must be 1 or more"]),
            *([] if 1 <= self.at_most <= MOST else [f"at_most is {self.at_most}; it must be from 1 to {MOST}"]),
            *([] if self.quiet_s >= 0 else ["the quiet time is negative"]),
        ]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {
            "account_url": self.account_url,
            "wanted": self.wanted.to_wire(),
            "at_least": self.at_least,
            "at_most": self.at_most,
            "newer_than": None if self.newer_than is None else self.newer_than.astimezone(UTC).isoformat(),
            "quiet_s": self.quiet_s,
        }

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        newer_than = raw["newer_than"] and datetime.fromisoformat(raw["newer_than"])
        return cls(**{**raw, "wanted": ArrivalFilter(**raw["wanted"]), "newer_than": newer_than})


@define
class Finds:
    """What has been found while a container is listed; it holds no more than is returned.

    Attributes:
        counted: Blobs that count.
        unsettled: Blobs that would, but were written just now.
        seen: Blobs that were looked at.
    """

    search: Search
    counted: int = 0
    unsettled: int = 0
    seen: int = 0
    _newest_first: list[tuple[float, int, Arrival]] = field(factory=list)

    def add(self, arrivals: Iterable[Arrival], *, now: datetime) -> None:
        """Look at some more blobs.

        Args:
            arrivals: What a page of the listing shows.
            now: The storage account's time.
        """
        for arrival in arrivals:
            self.seen += 1
            if self.search.wanted.reason_to_skip(arrival):
                continue
            written = datetime.fromisoformat(arrival.time)
            if self.search.newer_than is not None and written < self.search.newer_than:
                continue
            if (now - written).total_seconds() < self.search.quiet_s:
                self.unsettled += 1
                continue
            self.counted += 1
            # The heap's first is the newest of those kept: it makes room for an older one.
            entry = (-written.timestamp(), -self.seen, arrival)
            keep = heapq.heappush if len(self._newest_first) < self.search.at_most else heapq.heappushpop
            keep(self._newest_first, entry)

    @property
    def oldest(self) -> list[Arrival]:
        """Those that are returned, oldest first."""
        return [arrival for _, _, arrival in sorted(self._newest_first, reverse=True)]

    def sight(self) -> Sight:
        """Say what was seen."""
        wanted = self.search.wanted
        what = f"Container {wanted.container}" + (f" below {wanted.prefix}" if wanted.prefix else "")
        told = f"has {self.counted} wanted blobs of {self.seen}"
        told += f", and {self.unsettled} that were written just now" if self.unsettled else ""
        if self.counted < self.search.at_least:
            return Sight(what=what, state=State.MISSING, told=f"{told}; {self.search.at_least} are waited for")
        return Sight(what=what, state=State.MET, told=told, result={"arrivals": [one.to_wire() for one in self.oldest]})
