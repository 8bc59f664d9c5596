"""What a sensor looks for in a container, and what it has found so far."""

import bisect
import heapq
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from attrs import define, field, frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.conditions import Sight, State
from airflow_azureml.core.filters import ArrivalFilter, Details
from airflow_azureml.core.sets import BlobSet, Found, Manifest, Sets, gather
from airflow_azureml.errors import ConfigError

#: Most arrivals that a task may return: of some 450 bytes each, they stay below 500 kB.
MOST = 1000
#: How many sets that are not complete are told of, each with its reason.
_TOLD = 5


@frozen(kw_only=True)
class Search:
    """What is looked for.

    Attributes:
        account_url: The storage account's blob service, ``https://ACCOUNT.blob.core.windows.net``.
        wanted: Which blobs count.
        sets: What says that blobs which belong together are all there; None where each blob stands for itself.
        at_least: How many blobs there have to be, or complete sets; at least 1.
        at_most: How many blobs are returned: the oldest. Of a set, all or none.
        newer_than: Blobs that were last written before do not count, and sets of which no blob was written since; with
            its zone. None for any.
    """

    account_url: str
    wanted: ArrivalFilter
    sets: Sets | None = None
    at_least: int = 1
    at_most: int = 100
    newer_than: datetime | None = None

    @property
    def container_url(self) -> str:
        """Where to look."""
        return f"{self.place.blob_base}/{self.wanted.container}"

    @property
    def place(self) -> StorageUrl:
        """The storage account."""
        return StorageUrl.parse(self.account_url)

    @property
    def include(self) -> frozenset[str]:
        """What a listing has to tell beside what it always does."""
        return self.wanted.include | (self.sets.include if self.sets else frozenset())

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        return [
            *self._faults_of_url(),
            *self.wanted.faults(),
            *(self.sets.faults() if self.sets else []),
            *([] if self.at_least >= 1 else [f"at_least is {self.at_least}; it must be 1 or more"]),
            *([] if 1 <= self.at_most <= MOST else [f"at_most is {self.at_most}; it must be from 1 to {MOST}"]),
        ]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {
            "account_url": self.account_url,
            "wanted": self.wanted.to_wire(),
            "sets": self.sets and self.sets.to_wire(),
            "at_least": self.at_least,
            "at_most": self.at_most,
            "newer_than": None if self.newer_than is None else self.newer_than.astimezone(UTC).isoformat(),
        }

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        newer_than = raw["newer_than"] and datetime.fromisoformat(raw["newer_than"])
        sets = raw["sets"] and Sets.from_wire(raw["sets"])
        return cls(**{**raw, "wanted": ArrivalFilter(**raw["wanted"]), "sets": sets, "newer_than": newer_than})

    def _faults_of_url(self) -> list[str]:
        try:
            service = self.place.service
        except ConfigError as error:
            return [f"account_url: {error}"]
        wrong = service == "queue" or self.place.path
        return [f"account_url {self.account_url!r} must end with the account's blob service"] if wrong else []

    @property
    def what(self) -> str:
        """Name the place as a sentence may."""
        return f"Container {self.wanted.container}" + (f" below {self.wanted.prefix}" if self.wanted.prefix else "")


@define
class Finds:
    """What has been found while a container is listed; it holds no more than is returned.

    Attributes:
        counted: Blobs that count.
        unsettled: Blobs that would, but were written just now, or are still being copied.
        seen: Blobs that were looked at.
    """

    search: Search
    counted: int = 0
    unsettled: int = 0
    seen: int = 0
    _newest_first: list[tuple[float, int, Arrival]] = field(factory=list)

    def add(self, blobs: Iterable[tuple[Arrival, Details]], *, now: datetime) -> None:
        """Look at some more blobs.

        Args:
            blobs: What a page of the listing shows.
            now: The storage account's time.
        """
        for arrival, details in blobs:
            self.seen += 1
            if self.search.wanted.reason_to_skip(arrival, details):
                continue
            written = datetime.fromisoformat(arrival.time)
            if self.search.newer_than is not None and written < self.search.newer_than:
                continue
            if self.search.wanted.reason_to_wait(arrival, details, now=now):
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
        what = self.search.what
        told = f"has {self.counted} wanted blobs of {self.seen}"
        told += f", and {self.unsettled} that are still written or copied" if self.unsettled else ""
        if self.counted < self.search.at_least:
            return Sight(what=what, state=State.MISSING, told=f"{told}; {self.search.at_least} are waited for")
        return Sight(what=what, state=State.MET, told=told, result={"arrivals": [one.to_wire() for one in self.oldest]})


@define
class SetFinds:
    """What sets have been found while a container is listed.

    A listing goes through the names in their order, so that what lies in a folder, and below it, comes without a break:
    a set is judged as soon as its folder is left. No more is held than the folders on the way to the present name, and
    the sets that are returned.

    Attributes:
        counted: Sets that are complete.
        seen: Blobs that were looked at.
        waiting: Sets that are not.
        too_large: The first complete set found with more blobs than may be returned.
    """

    search: Search
    rule: Sets
    counted: int = 0
    seen: int = 0
    waiting: int = 0
    too_large: BlobSet | None = None
    _open: dict[str, list[Found]] = field(factory=dict)
    _reasons: list[str] = field(factory=list)
    _oldest: list[tuple[str, str, BlobSet]] = field(factory=list)
    _cut: tuple[str, str] | None = None

    def add(self, blobs: Iterable[tuple[Arrival, Details]], *, now: datetime) -> list[Found]:
        """Look at some more blobs.

        Args:
            blobs: What a page of the listing shows, those that are still being copied too.
            now: The storage account's time.

        Returns:
            What is in the folders that are left by now, to be judged.
        """
        left: list[Found] = []
        for arrival, details in blobs:
            self.seen += 1
            folder = self.rule.folder(arrival.path)
            if folder is None or self.rule.reason_to_skip(self.search.wanted, arrival, details):
                continue
            if folder not in self._open:
                left += self._leave(arrival.path)
            waits = self.search.wanted.reason_to_wait(arrival, details, now=now)
            self._open.setdefault(folder, []).append(Found(arrival=arrival, details=details, waits=waits))
        return left

    def rest(self) -> list[Found]:
        """Give what is in the last folders, when the listing has come to its end."""
        return [found for folder in self._open.values() for found in folder]

    def judge(self, found: Iterable[Found], manifests: Mapping[str, Manifest | str], *, now: datetime) -> None:
        """Take account of the folders that are left.

        Args:
            found: What `add` or `rest` gave.
            manifests: What their manifests say; see `gather`.
            now: The storage account's time.
        """
        gathered = gather(found, self.rule, now, manifests=manifests)
        for folder, why in gathered.waiting:
            self.waiting += 1
            if len(self._reasons) < _TOLD:
                self._reasons.append(f"{folder or 'the root'} ({why})")
        for one in gathered.ready:
            if self.search.newer_than is None or datetime.fromisoformat(one.time) >= self.search.newer_than:
                self._keep(one)

    @property
    def oldest(self) -> list[BlobSet]:
        """Those that are returned, oldest first."""
        return [one for _, _, one in self._oldest]

    def sight(self) -> Sight:
        """Say what was seen."""
        what, most = self.search.what, self.search.at_most
        told = f"has {self.counted} complete sets, of {self.seen} blobs"
        if self.too_large is not None:
            name, size = self.too_large.folder or "the root", len(self.too_large.members)
            told = f"has a set of {size} blobs in {name}, and at_most is {most}: a part of a set is never returned"
            return Sight(what=what, state=State.FAILED, told=told)
        if self.waiting:
            more = f" and {self.waiting - _TOLD} more" if self.waiting > _TOLD else ""
            told += f", and {self.waiting} that are not: {'; '.join(self._reasons)}{more}"
        if self.counted < self.search.at_least:
            return Sight(what=what, state=State.MISSING, told=f"{told}; {self.search.at_least} are waited for")
        arrivals = [each.to_wire() for one in self.oldest for each in one.members]
        sets = [
            {"folder": one.folder, "key": one.key, "time": one.time, "blobs": len(one.members)} for one in self.oldest
        ]
        return Sight(what=what, state=State.MET, told=told, result={"arrivals": arrivals, "sets": sets})

    def _leave(self, path: str) -> list[Found]:
        """Take out the folders in which a name does not lie."""
        gone = [folder for folder in self._open if not path.startswith(folder)]
        return [found for folder in gone for found in self._open.pop(folder)]

    def _keep(self, one: BlobSet) -> None:
        """Keep a set while it is one of the oldest that fit; what was once left out for a set stays so."""
        self.counted += 1
        place = (one.time, one.folder)
        if len(one.members) > self.search.at_most:
            self.too_large = self.too_large or one
            return
        if self._cut is not None and place >= self._cut:
            return
        bisect.insort(self._oldest, (*place, one), key=lambda entry: entry[:2])
        while sum(len(kept.members) for kept in self.oldest) > self.search.at_most:
            time, folder, _ = self._oldest.pop()
            self._cut = (time, folder)
