"""What is wrong with blobs, outputs, the ledger and jobs after chaos: pure, so that a test can show that it says no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

#: Azure ML's words for a job that has ended, and Airflow's for a run.
ENDED = frozenset({"Completed", "Failed", "Canceled"})
OVER = frozenset({"success", "failed"})
#: The ledger's words for a batch of which nothing is to come, and the one of them that has results.
FINAL = frozenset({"scored", "failed", "void"})
SCORED = "scored"
#: How the reasons begin for which a version may be left out.
GONE = ("superseded", "deleted")


@attrs.frozen(order=True)
class Version:
    """One version of one blob; the eTag without quotes."""

    path: str
    etag: str

    def __str__(self) -> str:
        return f"{self.path} ({self.etag})"


@attrs.frozen(kw_only=True)
class Published:
    """What readers find by one marker.

    Attributes:
        batch: The batch's id.
        job: The job that the marker names.
        read: By version, the digest of what the pipeline has read; None where the output says nothing of it.
        rejected: Why the marker says that a version was rejected.
    """

    batch: str
    job: str
    read: Mapping[Version, str | None]
    rejected: Mapping[Version, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Batch:
    """What the ledger's document of a batch says.

    Attributes:
        rejected: Why a version of it was rejected.
    """

    id: str
    state: str
    job: str
    versions: frozenset[Version]
    rejected: Mapping[Version, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Job:
    """What the workspace says of a job.

    Attributes:
        owner: Whose it says that it is; empty where it says nothing.
    """

    name: str
    status: str
    owner: str


@attrs.frozen(kw_only=True)
class World:
    """Everything as one look showed it.

    Attributes:
        current: By path, the eTag of each incoming blob that is there.
        published: What each marker leads to.
        batches: The ledger's batches.
        entries: By version, the batch that the ledger's document of it names.
        jobs: All jobs of the endpoint.
        runs: Airflow's runs of the DAG, and their states.
    """

    current: Mapping[str, str]
    published: Sequence[Published]
    batches: Sequence[Batch]
    entries: Mapping[Version, str]
    jobs: Sequence[Job]
    runs: Mapping[str, str]

    @property
    def surviving(self) -> list[Version]:
        """The versions that are there."""
        return [Version(path, etag) for path, etag in sorted(self.current.items())]

    @property
    def outputs(self) -> Counter[Version]:
        """In how many published outputs each version is."""
        return Counter(version for each in self.published for version in each.read)

    @property
    def is_done(self) -> bool:
        """Whether every version that is there is published, and nobody works on anything."""
        outputs = self.outputs
        return (
            all(version in outputs for version in self.surviving)
            and all(job.status in ENDED for job in self.jobs)
            and all(batch.state in FINAL for batch in self.batches)
        )


@attrs.frozen(kw_only=True)
class Truth:
    """What was really written.

    Attributes:
        last: By path, the digest of what is there in the end.
        contents: By path, the digests of everything that was ever written.
    """

    last: Mapping[str, str]
    contents: Mapping[str, frozenset[str]]


@attrs.frozen
class Fault:
    """Something that is not as it has to be.

    Attributes:
        kind: ``lost``, ``doubled``, ``disagreeing``, ``orphans`` or ``unfinished``.
    """

    kind: str
    what: str


KINDS = ("lost", "doubled", "disagreeing", "orphans", "unfinished")


def faults(world: World, truth: Truth) -> list[Fault]:
    """Say what is not as it has to be; empty when all is.

    Every surviving version is in exactly one published output, and none is in two; what a pipeline read is what was
    written; the ledger's scored batches are the published outputs, blob by blob and job by job; each job that completed
    is that of a published output, and none goes on; Airflow has nothing left to do.
    """
    return [
        *_of_storage(world, truth),
        *_of_outputs(world),
        *_of_contents(world, truth),
        *_of_ledger(world),
        *_of_entries(world),
        *_of_jobs(world),
        *(
            Fault("unfinished", f"run {run} is {state}")
            for run, state in sorted(world.runs.items())
            if state not in OVER
        ),
    ]


def _of_storage(world: World, truth: Truth) -> Iterable[Fault]:
    """The storage itself has to be what was written; otherwise nothing else means anything."""
    for path in sorted(set(truth.last) - set(world.current)):
        yield Fault("unfinished", f"{path} was written and acknowledged, and is not in the storage")
    for path in sorted(set(world.current) - set(truth.last)):
        yield Fault("unfinished", f"{path} is in the storage, and was deleted or never written")


def _of_outputs(world: World) -> Iterable[Fault]:
    outputs, surviving = world.outputs, world.surviving
    for version in surviving:
        if version not in outputs:
            yield Fault("lost", f"{version} is in no published output")
    for version, count in sorted(outputs.items()):
        if count > 1:
            where = ", ".join(each.batch for each in world.published if version in each.read)
            yield Fault("doubled", f"{version} is in {count} published outputs: {where}")
    for batch, count in sorted(Counter(each.batch for each in world.published).items()):
        if count > 1:
            yield Fault("doubled", f"batch {batch} has {count} markers")


def _of_contents(world: World, truth: Truth) -> Iterable[Fault]:
    """What a pipeline has read of a version is what was written as that version."""
    there = set(world.surviving)
    for each in world.published:
        for version, digest in sorted(each.read.items()):
            written = truth.contents.get(version.path, frozenset())
            if version in there and digest != truth.last.get(version.path):
                yield Fault("disagreeing", f"{version} was read as {digest} by batch {each.batch}, not as it is there")
            elif digest not in written:
                yield Fault("disagreeing", f"{version} was read as {digest} by batch {each.batch}; nobody wrote that")
        yield from _of_rejected(world, each.batch, each.rejected, by="its marker")


def _of_rejected(world: World, batch: str, rejected: Mapping[Version, str], *, by: str) -> Iterable[Fault]:
    """No blob here has anything wrong; only what was replaced or deleted before it was scored may be left out."""
    for version, why in sorted(rejected.items()):
        if world.current.get(version.path) == version.etag or not why.startswith(GONE):
            yield Fault("disagreeing", f"{version} of batch {batch} is rejected by {by}: {why}")


def _of_ledger(world: World) -> Iterable[Fault]:
    published = {each.batch: each for each in world.published}
    scored = {batch.id: batch for batch in world.batches if batch.state == SCORED}
    for batch in world.batches:
        if batch.state not in FINAL:
            yield Fault("unfinished", f"batch {batch.id} is {batch.state} in the ledger")
        yield from _of_rejected(world, batch.id, batch.rejected, by="the ledger")
    for missing in sorted(set(scored) - set(published)):
        yield Fault("disagreeing", f"batch {missing} is scored in the ledger, and not published")
    for unknown in sorted(set(published) - set(scored)):
        yield Fault("disagreeing", f"batch {unknown} is published, and not scored in the ledger")
    for both in sorted(set(scored) & set(published)):
        batch, output = scored[both], published[both]
        if differing := (batch.versions - batch.rejected.keys()) ^ output.read.keys():
            shown = ", ".join(map(str, sorted(differing)[:3]))
            yield Fault("disagreeing", f"batch {both} has other blobs in the ledger than in its output: {shown}")
        if batch.job != output.job:
            yield Fault(
                "disagreeing", f"batch {both} is of job {batch.job} in the ledger, of {output.job} by its marker"
            )


def _of_entries(world: World) -> Iterable[Fault]:
    """Each published version has one document of its own, which names the batch that published it."""
    for each in world.published:
        for version in sorted(each.read):
            named = world.entries.get(version)
            if named != each.batch:
                yield Fault("disagreeing", f"{version} is of batch {named} in the ledger, published by {each.batch}")


def _of_jobs(world: World) -> Iterable[Fault]:
    published, batches = {each.job for each in world.published}, {batch.job for batch in world.batches if batch.job}
    jobs = {job.name: job for job in world.jobs}
    for job in sorted(world.jobs, key=lambda job: job.name):
        if job.status not in ENDED:
            yield Fault("orphans", f"job {job.name} is left {job.status}, of {job.owner or 'nobody'}")
        elif job.status == "Completed" and job.name not in published:
            known = "which a batch names" if job.name in batches else "which no batch names"
            yield Fault("orphans", f"job {job.name} of {job.owner or 'nobody'} completed for nothing, {known}")
    for each in sorted(world.published, key=lambda each: each.batch):
        status = jobs[each.job].status if each.job in jobs else "not there"
        if each.read and status != "Completed":
            yield Fault(
                "disagreeing", f"batch {each.batch} is published, and its job {each.job or '(none)'} is {status}"
            )


def figures(world: World, found: Sequence[Fault]) -> dict[str, object]:
    """Count."""
    kinds, statuses = Counter(each.kind for each in found), Counter(job.status for job in world.jobs)
    return {
        "surviving": len(world.current),
        "runs": len(world.runs),
        "failed_runs": sum(state == "failed" for state in world.runs.values()),
        "batches": len(world.batches),
        "scored_batches": sum(batch.state == SCORED for batch in world.batches),
        "jobs": len(world.jobs),
        "failed_jobs": statuses["Failed"],
        "canceled_jobs": statuses["Canceled"],
        "published": len(world.published),
        "published_versions": len(world.outputs),
        **{kind: kinds[kind] for kind in KINDS},
        "ok": not found,
    }
