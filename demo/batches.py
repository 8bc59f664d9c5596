"""What Airflow, the workspace and the storage say has become of blobs that are scored in batches, and what is wrong.

Only the ledger's rows are the provider's own words, as ``airflow azureml ledger show`` prints them; they have to agree
with all the rest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
from azure.core.exceptions import ResourceNotFoundError

from demo.azure import ACCOUNT
from demo.evidence import PREDICTIONS, Job, Scores, Version, Witness, faults_of_scores
from demo.patients import PatientFile

DAG = "score_batches"
RESULTS = "azureml://datastores/workspaceblobstore/paths/scored"
STAGED = "airflow-azureml-staging"


@attrs.frozen(kw_only=True)
class Scored:
    """A blob version that a published batch says is scored.

    Attributes:
        folder: Where its predictions lie, below the batch's output.
    """

    version: Version
    folder: str
    rows: int
    rejected_rows: int


@attrs.frozen(kw_only=True)
class Batch:
    """A published batch, as its marker tells.

    Attributes:
        output: The URI of its outputs' folder; empty where it had nothing to score.
        rejected: Blob versions that were not scored, and why.
    """

    id: str
    job: str
    output: str
    scored: tuple[Scored, ...] = ()
    rejected: Mapping[Version, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Row:
    """What the ledger says of a blob version."""

    version: Version
    state: str
    batch: str
    reason: str


@attrs.frozen(kw_only=True)
class BatchLook:
    """Everything as one look showed it.

    Attributes:
        heard: When Airflow stored events of a version, each of them.
        staged: The batch into whose folder a version was copied.
        batches: The published ones.
        jobs: The jobs of the DAG, by name.
        current: The eTag of each incoming blob that is there.
        files: Every blob below the results that is named like a predictions file, as ``container/path``.
        runs: Each run of the DAG and its state.
    """

    heard: Mapping[Version, Sequence[float]]
    staged: Mapping[Version, str]
    batches: Sequence[Batch]
    jobs: Mapping[str, Job]
    current: Mapping[str, str]
    files: frozenset[str]
    runs: Mapping[str, str]

    @property
    def is_quiet(self) -> bool:
        """Whether there were runs, and no run and no job goes on."""
        ended = {"Completed", "Failed", "Canceled"}
        return bool(self.runs) and (
            all(state in {"success", "failed"} for state in self.runs.values())
            and all(job.status in ended for job in self.jobs.values())
        )

    def scored(self, version: Version) -> list[tuple[Batch, Scored]]:
        """Find where a version is published as scored."""
        return [(batch, each) for batch in self.batches for each in batch.scored if each.version == version]

    def rejected(self, version: Version) -> list[str]:
        """Find why it was not; empty where no batch says so."""
        return [batch.rejected[version] for batch in self.batches if version in batch.rejected]

    def job_of(self, batch_id: str) -> Job | None:
        """Find the job of a batch, whose key it is; the completed one where there are several."""
        mine = [job for job in self.jobs.values() if job.key == batch_id]
        return next((job for job in mine if job.status == "Completed"), mine[0] if mine else None)


class BatchWitness(Witness):
    """Looks at a stack whose DAG ``score_batches`` is on; use it with ``with``."""

    dag = DAG

    def look_at_batches(self) -> BatchLook:
        """Look once."""
        return BatchLook(
            heard=self.heard_each(),
            staged=dict(self._staged()),
            batches=tuple(self._batches()),
            jobs={job.name: job for job in self.jobs() if job.owner.startswith(f"{DAG}/")},
            current=self.current(),
            files=frozenset(self._result_files()),
            runs=self.runs(),
        )

    def scores_of(self, batch: Batch, scored: Scored) -> Scores:
        """Read what a batch's job has written for one of its blobs."""
        return self.scores_at(f"{batch.output.rstrip('/')}/{scored.folder}")

    def ledger(self) -> list[Row]:
        """Have ``airflow azureml ledger show`` print the ledger."""
        account = f"{self.stack.emulator.blob}/{ACCOUNT}"
        printed = self.stack.airflow.cli("azureml", "ledger", "show", "--ledger", account, "--output", "json")
        return [
            Row(
                version=Version(path=each["path"], etag=each["etag"]),
                state=each["state"],
                batch=each["batch"],
                reason=each["reason"],
            )
            for each in json.loads(printed[printed.index("[") :])
        ]

    def _staged(self) -> Iterable[tuple[Version, str]]:
        for name in self._names(STAGED, ""):
            batch, _, file = name.partition("/")
            if file == "manifest.json":
                for each in self._json(STAGED, name)["files"]:
                    yield Version(path=each["path"], etag=each["etag"]), batch

    def _batches(self) -> Iterable[Batch]:
        container, path = self.place(RESULTS)
        for name in self._names(container, f"{path}/_published/"):
            told = self._json(container, name)
            yield Batch(
                id=told["batch"],
                job=told["job"],
                output=told["output"],
                scored=tuple(
                    Scored(
                        version=Version(path=each["path"], etag=each["etag"]),
                        folder=each["file"],
                        rows=each["scored"],
                        rejected_rows=each["rejected"],
                    )
                    for each in told["files"]
                ),
                rejected={Version(path=one["path"], etag=one["etag"]): one["reason"] for one in told["rejected"]},
            )

    def _result_files(self) -> Iterable[str]:
        container, path = self.place(RESULTS)
        return (f"{container}/{each}" for each in self._names(container, f"{path}/") if each.endswith(PREDICTIONS))

    def _names(self, container: str, prefix: str) -> list[str]:
        try:
            return list(self.blobs.get_container_client(container).list_blob_names(name_starts_with=prefix))
        except ResourceNotFoundError:
            return []

    def _json(self, container: str, path: str) -> Any:
        return json.loads(self.blobs.get_blob_client(container, path).download_blob().readall())


def faults(
    look: BatchLook,
    wanted: Mapping[Version, PatientFile],
    broken: Collection[Version],
    *,
    scores_of: Callable[[Batch, Scored], Scores],
) -> list[str]:
    """Say what is not as it has to be; empty when all is.

    Each wanted version is scored in exactly one published batch, with the right rows; each broken one is rejected in
    exactly one, with its reason; nothing else is published. Each published batch has exactly one completed job, and
    no completed job and no predictions file is left over.

    Args:
        look: What the systems said.
        wanted: What can be scored and was not replaced.
        broken: What cannot be scored at all, and was not replaced.
        scores_of: Reads what a batch's job has written for a blob.
    """
    wrong = [f"run {run} has {state}" for run, state in look.runs.items() if state != "success"]
    for version, file in wanted.items():
        found = look.scored(version)
        if len(found) == 1:
            wrong += _faults_of_one(*found[0], file, scores_of(*found[0]))
        else:
            wrong.append(f"{version.path} ({version.etag}) is scored in {len(found)} published batches, not 1")
    for version in broken:
        reasons = look.rejected(version)
        if len(reasons) != 1 or not reasons[0]:
            wrong.append(f"{version.path} ({version.etag}) is rejected {len(reasons)} times, not once with a reason")
    told = {each.version for batch in look.batches for each in batch.scored} - set(wanted)
    wrong += [f"{version.path} ({version.etag}) is scored, and must not be" for version in sorted(told)]
    told = {version for batch in look.batches for version in batch.rejected} - set(broken)
    wrong += [f"{version.path} ({version.etag}) is rejected, and must not be" for version in sorted(told)]
    return [*wrong, *_faults_of_jobs(look), *_faults_of_files(look, scores_of)]


def faults_of_ledger(rows: Iterable[Row], look: BatchLook) -> list[str]:
    """Say where the ledger and what is published disagree; empty when they tell the same."""
    said = Counter((row.version, row.state, row.batch) for row in rows)
    there = Counter(
        [(each.version, "scored", batch.id) for batch in look.batches for each in batch.scored]
        + [(version, "rejected", batch.id) for batch in look.batches for version in batch.rejected]
    )
    only = [f"only the ledger says: {_written(each)}" for each in (said - there).elements()]
    return only + [f"the ledger does not say: {_written(each)}" for each in (there - said).elements()]


def _written(fact: tuple[Version, str, str]) -> str:
    version, state, batch = fact
    return f"{version.path} ({version.etag}) is {state} in batch {batch or 'none'}"


def _faults_of_one(batch: Batch, scored: Scored, file: PatientFile, scores: Scores) -> Iterable[str]:
    if (scored.rows, scored.rejected_rows) != (file.good, file.bad):
        yield (
            f"{file.path}: batch {batch.id} tells of {scored.rows} rows and {scored.rejected_rows} rejected ones, "
            f"not {file.good} and {file.bad}"
        )
    yield from faults_of_scores(scores, file)


def _faults_of_jobs(look: BatchLook) -> Iterable[str]:
    done = Counter(job.key for job in look.jobs.values() if job.status == "Completed")
    for batch in look.batches:
        if batch.job and (done[batch.id] != 1 or look.jobs.get(batch.job, _NOBODYS).key != batch.id):
            yield f"batch {batch.id} has {done[batch.id]} completed jobs, not 1, which is {batch.job}"
    for key in sorted(done.keys() - {batch.id for batch in look.batches}):
        yield f"a job of batch {key} is completed, and the batch is not published"


def _faults_of_files(look: BatchLook, scores_of: Callable[[Batch, Scored], Scores]) -> Iterable[str]:
    places = {f"{scores_of(batch, each).place}/{PREDICTIONS}" for batch in look.batches for each in batch.scored}
    yield from (f"predictions file {place} is of no published batch" for place in sorted(look.files - places))
    yield from (f"predictions file {place} is missing" for place in sorted(places - look.files))


_NOBODYS = Job(name="", status="", key="", owner="")
