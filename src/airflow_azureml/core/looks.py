"""What a look at one blob tells of an arrival that an event, or a listing some time ago, told of."""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum

from attrs import evolve, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.filters import ArrivalFilter, Details

#: What marks a blob that stands for a folder. Source: the drivers of Hadoop, whose folders Azure's tools show so.
_FOLDER = "hdi_isfolder"


@frozen(kw_only=True)
class Look:
    """One blob as it is now.

    Attributes:
        etag: The version, without quotes.
        modified: When it was last written, with its zone.
        now: The storage account's time, with its zone.
    """

    etag: str
    size_bytes: int
    content_type: str
    modified: datetime
    now: datetime
    details: Details


class Outcome(Enum):
    """What becomes of an arrival."""

    READY = "ready"
    WAITS = "waits"
    LEFT_OUT = "left out"
    RENEWED = "renewed"


@frozen
class Verdict:
    """What a look says of an arrival.

    Attributes:
        arrival: With what the look told of it; of a blob that was overwritten, the version that is there now.
        why: The end of a sentence that begins with the blob; empty of one that is ready.
    """

    outcome: Outcome
    arrival: Arrival
    why: str = ""


def judge(arrival: Arrival, look: Look | None, wanted: ArrivalFilter) -> Verdict:
    """Say what becomes of an arrival, now that its blob was looked at.

    Args:
        arrival: The version that was told of.
        look: What is there; None when nothing is.
        wanted: Which blobs count.
    """
    if look is None:
        return Verdict(Outcome.LEFT_OUT, arrival, "is not there any more")
    told = evolve(arrival, size_bytes=look.size_bytes, content_type=look.content_type)
    now_there = evolve(told, etag=look.etag, sequencer="", time=look.modified.isoformat())
    if look.etag != arrival.etag:
        return Verdict(Outcome.RENEWED, now_there, f"was overwritten since: its eTag is {look.etag} now")
    is_folder = (look.details.metadata or {}).get(_FOLDER) == "true"
    if why := "is a folder" if is_folder else wanted.reason_to_skip(told, look.details):
        return Verdict(Outcome.LEFT_OUT, told, why)
    if why := wanted.reason_to_wait(now_there, look.details, now=look.now):
        return Verdict(Outcome.WAITS, told, why)
    return Verdict(Outcome.READY, told)


@frozen(kw_only=True)
class Looked:
    """What became of some arrivals.

    Attributes:
        ready: Those that are wanted and complete, with all that is known of them by now, in the order in which they
            were given.
        renewed: Versions that are wanted and complete, and stand in the place of some that were given. They are told
            of by events of their own, mostly; not where an event told of a copy when it began, or of a blob that is
            appended to.
        waiting: Those that are to be looked at again later, and why.
        left_out: Those that are not wanted, and those of versions that are not there any more, and why.
    """

    ready: tuple[Arrival, ...]
    renewed: tuple[Arrival, ...] = ()
    waiting: tuple[tuple[Arrival, str], ...] = ()
    left_out: tuple[tuple[Arrival, str], ...] = ()

    @classmethod
    def of(cls, verdicts: Iterable[tuple[Arrival, tuple[Verdict, ...]]]) -> "Looked":
        """Sum up what was found.

        Args:
            verdicts: Each arrival that was given, and what its looks said, one after the other: all but the last are
                `Outcome.RENEWED`.
        """
        ready, renewed, waiting, left_out = [], [], [], []
        for given, (*before, last) in verdicts:
            overwritten = before[-1].why if before else ""
            if last.outcome is Outcome.READY and overwritten:
                renewed.append(last.arrival)
                left_out.append((given, overwritten))
            elif last.outcome is Outcome.READY:
                ready.append(last.arrival)
            elif last.outcome is Outcome.LEFT_OUT:
                left_out.append((given, overwritten or last.why))
            else:
                waiting.append((given, last.why))
        newer = tuple({each.key: each for each in renewed}.values())
        return cls(ready=tuple(ready), renewed=newer, waiting=tuple(waiting), left_out=tuple(left_out))
