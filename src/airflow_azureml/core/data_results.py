"""What a data test leaves in XCom, and what becomes of data that failed."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from attrs import frozen

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.results import MOST_BYTES
from airflow_azureml.errors import ConfigError

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: Most characters of a reason that are told, in XCom and in the log.
LONGEST_REASON = 200
#: What is kept free for findings, rows and digest when it is judged whether a result will fit. Bytes.
_ROOM = 700
#: Most findings that an error or a log tells.
MOST_TOLD = 20


class OnFail(StrEnum):
    """What becomes of a task whose data failed; nothing that follows it runs in any case."""

    #: The task fails, and is not retried.
    FAIL = "fail"
    #: The task is skipped; the run stays green.
    SKIP = "skip"
    #: The blob is copied to quarantine with its report; the task is skipped.
    QUARANTINE = "quarantine"


class RunOn(StrEnum):
    """Where data is tested."""

    #: In a process beside the task's.
    WORKER = "worker"
    #: In a command job of Azure ML, for data that is too large for a worker.
    JOB = "job"


@frozen(kw_only=True)
class DataResult:
    """What a data test found.

    Attributes:
        path: The URI that the data was given by; of an arrival its address.
        etag: The version, without quotes.
        size_bytes: Of the blob.
        rows: How many there are; None where they could not be counted.
        digest: ``sha256:`` and the digest of the content; empty where it could not be read.
        report: The address of the report.
        told_at: The address of the whole verdict.
        quarantine: The address of the copy in quarantine; empty where there is none.
    """

    verdict: Verdict
    path: str
    etag: str
    size_bytes: int
    rows: int | None = None
    digest: str = ""
    report: str = ""
    told_at: str = ""
    quarantine: str = ""

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON of less than 4 kB: ``schema``, ``accepted``, ``path``, ``etag``, ``size_bytes``, ``rows``,
        ``digest``, ``policy``, ``checks``, ``failed``, ``left_out``, ``report``, ``verdict``, ``quarantine``.
        """  # noqa: D205  # the list of fields is the sentence
        failed = [
            {
                "column": each.subject[:LONGEST_REASON],
                "check": each.check[:LONGEST_REASON],
                "reason": _short(each.reason),
            }
            for each in self.verdict.failed
        ]
        kept = len(failed)
        while True:
            told = {
                "schema": SCHEMA,
                "accepted": self.verdict.accepted,
                "path": self.path,
                "etag": self.etag,
                "size_bytes": self.size_bytes,
                "rows": self.rows,
                "digest": self.digest,
                "policy": self.verdict.policy[:LONGEST_REASON],
                "checks": len(self.verdict.findings),
                "failed": failed[:kept],
                "left_out": len(failed) - kept,
                "report": self.report,
                "verdict": self.told_at,
                "quarantine": self.quarantine,
            }
            if not kept or len(json.dumps(told).encode()) <= MOST_BYTES:
                return told
            kept -= 1

    @property
    def sentence(self) -> str:
        """Say what was found, and of a no the first reasons."""
        failed = self.verdict.failed
        if self.verdict.accepted:
            return f"{self.path}, version {self.etag}: all {len(self.verdict.findings)} checks passed."
        if not failed:
            return f"{self.path}, version {self.etag}: nothing was checked, so it does not pass."
        reasons = "\n".join(
            f"- {_named(each.subject)}{_short(each.reason.removeprefix(_named(each.subject)))}"
            for each in failed[:MOST_TOLD]
        )
        more = f"\n- and {len(failed) - MOST_TOLD} more" if len(failed) > MOST_TOLD else ""
        return (
            f"{self.path}, version {self.etag}: {len(failed)} of {len(self.verdict.findings)} checks failed.\n"
            f"{reasons}{more}\nThe report: {self.report}"
        )


def check_fits(addresses: Sequence[str]) -> None:
    """Refuse addresses that would not fit into a result, before anything is read.

    Args:
        addresses: The path of the data, and where report, verdict and copy will be.

    Raises:
        ConfigError: Together they are too long.
    """
    empty = DataResult(verdict=Verdict(subject="", policy="", findings=()), path="", etag="", size_bytes=0)
    own = len(json.dumps(empty.to_wire()).encode())
    written = sum(len(json.dumps(each).encode()) for each in addresses)
    if own + written + _ROOM > MOST_BYTES:
        raise ConfigError(
            f"The addresses of the data and of its report have {written} bytes together; a result in XCom has room"
            f" for {MOST_BYTES - own - _ROOM}. Choose a shorter folder for reports or quarantine, or a shorter path."
        )


def _named(column: str) -> str:
    return f"{column[:LONGEST_REASON]}: " if column else ""


def _short(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"
