"""The steps of a batch, and what they make of its blobs."""

from collections.abc import Collection, Mapping
from typing import NoReturn

from attrs import evolve

from airflow_azureml.core.ledger import MOST_FAILURES, Batch, BatchState, BlobState, Entry, Open, Shown
from airflow_azureml.core.ledger_shards import Group
from airflow_azureml.errors import FencedError

#: Most characters of a reason that are kept.
LONGEST_REASON = 1000


def sealed(batch: Batch, *, won: Collection[str]) -> Batch:
    """End the claiming, with those blobs only whose entries are this batch's; again changes nothing.

    Raises:
        FencedError: It is void.
    """
    if batch.state is BatchState.CLAIMED:
        return batch
    if batch.state is not BatchState.CLAIMING:
        _fence(batch, "claim")
    return evolve(batch, state=BatchState.CLAIMED, items=tuple(each for each in batch.items if each.key in won))


def submitted(batch: Batch, *, owner: str, job: str, rejected: Mapping[str, str]) -> Batch:
    """Note that its job is going to be posted; the same owner may say so again, as with a new name of the job.

    Raises:
        FencedError: It is somebody else's, or has ended.
    """
    if batch.state not in {BatchState.CLAIMED, BatchState.SUBMITTED} or batch.owner != owner:
        _fence(batch, f"submit for {owner}")
    return evolve(batch, state=BatchState.SUBMITTED, job=job or batch.job, rejected=_rejected(batch, rejected))


def scored(batch: Batch, *, job: str, output: str, rejected: Mapping[str, str]) -> Batch:
    """Settle it: whatever was not rejected is scored; the same said again changes nothing.

    Raises:
        FencedError: It was settled otherwise, or never submitted.
    """
    if batch.state is BatchState.SCORED and (batch.job, batch.output) == (job or batch.job, output):
        return batch
    if batch.state is not BatchState.SUBMITTED:
        _fence(batch, f"settle with job {job or batch.job}")
    rejections = _rejected(batch, rejected)
    return evolve(batch, state=BatchState.SCORED, job=job or batch.job, output=output, rejected=rejections)


def failed(batch: Batch, *, reason: str, job: str = "", most_failures: int = MOST_FAILURES) -> Batch:
    """Note that its job failed; a blob that was alone in it once too often is rejected. Again changes nothing.

    Raises:
        FencedError: It was settled otherwise, or never claimed.
    """
    if batch.state is BatchState.FAILED:
        return batch
    if batch.state not in {BatchState.CLAIMED, BatchState.SUBMITTED}:
        _fence(batch, "fail")
    why = reason[:LONGEST_REASON]
    tried = [each for each in batch.items if each.key not in batch.rejected]
    hopeless = {each.key: why for each in tried if len(tried) == 1 and each.alone + 1 >= most_failures}
    rejections = _rejected(batch, hopeless)
    return evolve(batch, state=BatchState.FAILED, reason=why, job=job or batch.job, rejected=rejections)


def voided(batch: Batch, *, reason: str) -> Batch:
    """Take it back: its blobs are open again, as if nothing had been. Again changes nothing.

    Raises:
        FencedError: It was settled otherwise.
    """
    if batch.state is BatchState.VOID:
        return batch
    if batch.state.is_final:
        _fence(batch, "void")
    return evolve(batch, state=BatchState.VOID, reason=reason[:LONGEST_REASON])


def state_of(entry: Entry, batch: Batch | None) -> BlobState:
    """Say where a blob version is.

    Args:
        entry: What is stored of it.
        batch: The batch that its entry names; None where there is no such batch any more.
    """
    if not entry.batch or batch is None:
        return BlobState.OPEN
    if batch.turns.get(entry.item.key) != entry.item.turn:
        return BlobState.OPEN
    if entry.item.key in batch.rejected:
        return BlobState.REJECTED
    return _STATE_OF_BLOBS[batch.state]


#: Where the blobs of a batch are that were not rejected.
_STATE_OF_BLOBS: Mapping[BatchState, BlobState] = {
    BatchState.CLAIMING: BlobState.CLAIMED,
    BatchState.CLAIMED: BlobState.CLAIMED,
    BatchState.SUBMITTED: BlobState.SUBMITTED,
    BatchState.SCORED: BlobState.SCORED,
    BatchState.FAILED: BlobState.OPEN,
    BatchState.VOID: BlobState.OPEN,
}


def next_turn(entry: Entry, batch: Batch | None) -> Open:
    """Say how an open blob version may be claimed next.

    Args:
        entry: What is stored of it.
        batch: The batch that its entry names; None where there is no such batch any more.
    """
    item = evolve(entry.item, turn=entry.item.turn + 1, version=entry.version)
    if not entry.batch or batch is None or batch.state is not BatchState.FAILED:
        return item
    tried = sum(each.key not in batch.rejected for each in batch.items)
    if tried <= 1:
        return evolve(item, at_most=1, alone=item.alone + 1)
    return evolve(item, at_most=tried // 2)


def shown(entry: Entry, batch: Batch | None) -> Shown:
    """Show a blob version to a person; arguments as of `state_of`."""
    state = state_of(entry, batch)
    reasons = (
        {BlobState.REJECTED: batch.rejected.get(entry.item.key, ""), BlobState.OPEN: batch.reason} if batch else {}
    )
    return Shown(
        key=entry.item.key,
        state=state,
        turn=entry.item.turn,
        reason=reasons.get(state, ""),
        arrival=entry.item.arrival,
        batch=batch,
    )


def reopened(entry: Entry, batch: Batch | None) -> Entry:
    """Make an entry say itself that its blob is open, so that its batch may be removed; arguments as of `state_of`."""
    item = next_turn(entry, batch)
    return evolve(entry, batch="", item=evolve(item, turn=entry.item.turn))


def pardoned(entry: Entry) -> Entry:
    """Open a done blob again, since a person says so; failures before count no more, but it stays apart."""
    return evolve(entry, batch="", item=evolve(entry.item, alone=0))


def group_of(entry: Entry, batch: Batch) -> Group:
    """Say where in its shard a done blob version belongs."""
    arrival = entry.item.arrival
    month = batch.times[batch.state.value][: len("2026-01")]
    return Group(container=f"{arrival.account}/{arrival.container}", state=state_of(entry, batch), month=month)


def _rejected(batch: Batch, more: Mapping[str, str]) -> dict[str, str]:
    """Add rejections of the batch's own blobs; what was rejected once stays so, for its first reason."""
    new = {key: why[:LONGEST_REASON] for key, why in more.items() if key in batch.turns}
    return {**new, **batch.rejected}


def _fence(batch: Batch, what: str) -> NoReturn:
    why = f" ({batch.reason})" if batch.reason else ""
    raise FencedError(
        f"Cannot {what}: batch {batch.id} of {batch.owner} is {batch.state.value}{why}, and has gone on without this "
        "task. Nothing was changed; its blobs are in other hands"
    )
