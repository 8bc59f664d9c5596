"""A batch's folder: what its files are called, what goes with them, and what a pipeline tells of them.

Blobs are copied into the folder of their batch, under names that no file system and no mount can misread; which file
is which blob stands in the manifest beside the folder, and in the marker by which results are published.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.errors import ProtocolError

#: Where batches are staged, in the blobs' own account.
CONTAINER = "airflow-azureml-staging"
#: In the folder of a batch.
DATA, MANIFEST = "data", "manifest.json"
#: Below the place of results: the folder of a batch's outputs, and the one of the markers that readers go by.
BATCHES, PUBLISHED = "batches", "_published"
#: What a pipeline may write into its output, and the largest that is read. Bytes.
REPORT = "report.json"
MOST_REPORT = 8 << 20
SCHEMA = 1
#: Most rows of one file that a report may tell of; whoever adds them up may keep them as signed 64-bit numbers.
MOST_ROWS = 2**53
#: How the reason begins that a version was left out which storage does not have any more.
SUPERSEDED, DELETED = "superseded", "deleted"
#: Most characters of a reason that are kept, as in the ledger.
LONGEST_REASON = 1000
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,8}){1,2}\Z")


def file_name(arrival: Arrival) -> str:
    """Name the file of a version: its key, and how its blob's name ends."""
    base = arrival.path.rpartition("/")[2]
    ends = _SUFFIX.search(base, 1)  # a dot at the start begins a name
    return f"{arrival.key}{ends.group() if ends else ''}"


def manifest(batch_id: str, arrivals: Iterable[Arrival]) -> str:
    """Write which file is which version of which blob; the same for the same batch."""
    files = [{"file": file_name(each), **_version(each), "size_bytes": each.size_bytes} for each in arrivals]
    return _text({"schema": SCHEMA, "batch": batch_id, "files": files})


@frozen(kw_only=True)
class FileReport:
    """What a pipeline tells of one file.

    Attributes:
        scored: Rows that were scored.
        rejected: Rows that were not.
        fault: Why the file was not scored at all; empty when it was.
    """

    scored: int = 0
    rejected: int = 0
    fault: str = ""


@frozen
class BatchReport:
    """What a pipeline tells of a batch's files, by their names.

    Attributes:
        files: None where the pipeline writes no report: then whatever it was given is scored.
    """

    files: Mapping[str, FileReport] | None = None

    @classmethod
    def parse(cls, content: bytes | None) -> Self:
        """Read ``report.json``: ``{"files": [{"file": …, "scored": 9, "rejected": 1, "fault": ""}, …]}``.

        Raises:
            ProtocolError: It is something else.
        """
        if content is None:
            return cls()
        try:
            listed = json.loads(content)["files"]
            files = {str(one["file"]): _file_report(one) for one in listed}
        except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"Read the pipeline's {REPORT}: it is none: {error!r}") from error
        return cls(files)

    def of(self, arrival: Arrival) -> FileReport:
        """Find what is told of a version; one of which nothing is told was not scored."""
        if self.files is None:
            return FileReport()
        return self.files.get(file_name(arrival), FileReport(fault=f"the pipeline's {REPORT} does not name it"))


def _file_report(raw: Mapping[str, Any]) -> FileReport:
    scored, rejected = (int(raw.get(name) or 0) for name in ("scored", "rejected"))
    if not (0 <= scored <= MOST_ROWS and 0 <= rejected <= MOST_ROWS):
        raise ValueError(f"{scored} rows scored and {rejected} rejected")
    # JSON can write halves of characters, which nothing else can.
    fault = str(raw.get("fault") or "").encode("utf-8", "replace").decode()
    return FileReport(scored=scored, rejected=rejected, fault=fault)


def _reason(fault: str) -> str:
    """Write what a pipeline tells as a reason, so that none of its words makes a blob one that is gone."""
    told = f"the pipeline tells: {fault}" if fault.startswith((SUPERSEDED, DELETED)) else fault
    return told[:LONGEST_REASON]


@frozen(kw_only=True)
class Publication:
    """What a batch came to.

    Attributes:
        job: The job that scored it; empty where there was nothing to score.
        output: The URI of its outputs' folder; empty likewise.
        scored: The versions that were scored, with what the pipeline tells of each.
        rejected: Why each of the others was not.
    """

    batch_id: str
    job: str
    output: str
    scored: Sequence[tuple[Arrival, FileReport]] = ()
    rejected: Sequence[tuple[Arrival, str]] = ()

    @classmethod
    def of(
        cls,
        batch_id: str,
        *,
        job: str,
        output: str,
        arrivals: Sequence[Arrival],
        rejected: Mapping[str, str],
        report: BatchReport,
    ) -> Self:
        """Sort the versions of a batch into those that were scored and those that were not.

        Args:
            batch_id: The batch.
            job: Its job.
            output: Where that wrote to.
            arrivals: All versions of the batch.
            rejected: Those that were left out before the job was submitted, by their keys, and why.
            report: What the pipeline tells of the others.
        """
        told = {each.key: report.of(each) for each in arrivals if each.key not in rejected}
        faults = {**rejected, **{key: _reason(one.fault) for key, one in told.items() if one.fault}}
        return cls(
            batch_id=batch_id,
            job=job,
            output=output,
            scored=[(each, told[each.key]) for each in arrivals if each.key not in faults],
            rejected=[(each, faults[each.key]) for each in arrivals if each.key in faults],
        )

    @property
    def reasons(self) -> dict[str, str]:
        """Why versions were rejected, by their keys."""
        return {arrival.key: reason for arrival, reason in self.rejected}

    @property
    def counts(self) -> dict[str, int]:
        """Blobs and rows that were scored, and that were not; blobs that are gone are none that were rejected."""
        gone = sum(reason.startswith((SUPERSEDED, DELETED)) for _, reason in self.rejected)
        return {
            "blobs": len(self.scored),
            "rejected_blobs": len(self.rejected) - gone,
            "gone_blobs": gone,
            "rows": sum(one.scored for _, one in self.scored),
            "rejected_rows": sum(one.rejected for _, one in self.scored),
        }

    def marker(self) -> str:
        """Write the marker; the same for the same publication, whoever writes it."""
        return _text(
            {
                "schema": SCHEMA,
                "batch": self.batch_id,
                "job": self.job,
                "output": self.output,
                **self.counts,
                "files": [
                    {
                        "file": file_name(arrival),
                        **_version(arrival),
                        "scored": one.scored,
                        "rejected": one.rejected,
                    }
                    for arrival, one in self.scored
                ],
                "rejected": [{**_version(arrival), "reason": reason} for arrival, reason in self.rejected],
            }
        )


def _bare(text: str) -> str:
    return text.rstrip("/")


@frozen(kw_only=True)
class Places:
    """Where a group keeps what belongs to its batches.

    Attributes:
        staging: The address of the folder where batches are staged, without a slash at its end.
        results: The URI of the folder for results, ``azureml://datastores/NAME/paths/…``, without a slash at its end.
    """

    staging: str = field(converter=_bare)
    results: str = field(converter=_bare)

    def data(self, batch_id: str) -> str:
        """Give the folder of a batch's files."""
        return f"{self.staging}/{batch_id}/{DATA}/"

    def manifest(self, batch_id: str) -> str:
        """Give the address of a batch's manifest."""
        return f"{self.staging}/{batch_id}/{MANIFEST}"

    def output(self, batch_id: str) -> str:
        """Give the folder of a batch's outputs."""
        return f"{self.results}/{BATCHES}/{batch_id}/"

    def marker(self, batch_id: str) -> str:
        """Give the URI of the marker that publishes a batch."""
        return f"{self.results}/{PUBLISHED}/{batch_id}.json"


def _version(arrival: Arrival) -> dict[str, str]:
    return {
        "account": arrival.account,
        "container": arrival.container,
        "path": arrival.path,
        "etag": arrival.etag,
        "time": arrival.time,
    }


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1)
