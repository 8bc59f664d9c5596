"""What arrives is scored in batches, each version once: the DAG that users copy, and every part of it real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import attrs
import pytest
from azure.storage.blob import BlobServiceClient

from demo.batches import DAG, BatchLook, BatchWitness, faults, faults_of_ledger
from demo.evidence import Version
from demo.patients import PatientFile, whole
from demo.scenario import blobs, listen, make_queue, publish, upload
from demo.show import Show
from demo.stack import Stack
from demo.tour import arrive

#: Seconds; a message that a killed triggerer held is delivered again after 60.
DEADLINE_S = 240.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        publish(running.emulator, say=print)
        make_queue(running.emulator)
        yield running


@pytest.fixture(scope="module")
def storage(stack: Stack) -> Iterator[BlobServiceClient]:
    with blobs(stack.emulator) as service:
        yield service


@pytest.fixture(scope="module")
def witness(stack: Stack, storage: BlobServiceClient) -> Iterator[BatchWitness]:
    with BatchWitness(stack, storage) as looking:
        yield looking


@attrs.define
class Arrived:
    """What is there and counts."""

    wanted: dict[Version, PatientFile] = attrs.field(factory=dict)
    broken: set[Version] = attrs.field(factory=set)


@pytest.fixture(scope="module")
def arrived() -> Arrived:
    return Arrived()


def _look_until(witness: BatchWitness, is_enough: Callable[[BatchLook], bool], what: str) -> BatchLook:
    end = time.monotonic() + DEADLINE_S
    while True:
        look = witness.look_at_batches()
        if look.is_quiet and is_enough(look):
            return look
        if time.monotonic() > end:
            pytest.fail(f"Not {what} after {DEADLINE_S:.0f} s: {look}")
        witness.stack.check()
        time.sleep(1)


def test_what_arrived_while_the_dag_was_off_is_scored_in_one_batch_and_a_broken_blob_is_rejected_alone(
    stack: Stack, storage: BlobServiceClient, witness: BatchWitness, arrived: Arrived
) -> None:
    uploads = arrive(stack, Show(""), storage)
    newest = {each.file.path: each for each in uploads}
    arrived.wanted = {each.version: each.file for each in newest.values() if not each.file.is_broken}
    arrived.broken = {each.version for each in newest.values() if each.file.is_broken}

    listen(stack, DAG)
    look = _look_until(witness, lambda look: all(map(look.scored, arrived.wanted)), "all scored")

    assert faults(look, arrived.wanted, arrived.broken, scores_of=witness.scores_of) == []
    assert faults_of_ledger(witness.ledger(), look) == []
    assert [len(batch.scored) for batch in look.batches] == [3]
    assert len(look.heard[uploads[0].version]) == 2


def test_a_version_that_comes_later_is_scored_in_a_batch_of_its_own_and_the_one_before_stays_scored(
    storage: BlobServiceClient, witness: BatchWitness, arrived: Arrived
) -> None:
    later = whole("patients/ward-a.csv", first=300, count=9)
    before = witness.look_at_batches()

    version = upload(storage, later)
    look = _look_until(witness, lambda look: bool(look.scored(version)), "the new version scored")

    arrived.wanted[version] = later
    assert faults(look, arrived.wanted, arrived.broken, scores_of=witness.scores_of) == []
    assert len(look.batches) == len(before.batches) + 1
