"""A blob arrives and is scored once, whatever happens on its way: Airflow, Azurite and the emulator are real."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from azure.storage.blob import BlobServiceClient

from demo.azure import ARRIVALS_QUEUE, INCOMING
from demo.evidence import DAG, SCORE, Look, Task, Version, Witness, faults
from demo.patients import PatientFile, half_broken, whole
from demo.scenario import blobs, messages, prepare, publish, put_message, upload, waiting
from demo.stack import Stack

#: Seconds; a message that a killed triggerer held is delivered again after 60.
DEADLINE_S = 240.0
COPIES = "copies"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    queues = (f"{ARRIVALS_QUEUE}:{INCOMING}", f"{COPIES}:{INCOMING}")
    with Stack(folder, event_queues=queues) as running:
        publish(running.emulator, say=print)
        prepare(running)
        yield running


@pytest.fixture(scope="module")
def storage(stack: Stack) -> Iterator[BlobServiceClient]:
    with blobs(stack.emulator) as service:
        yield service


@pytest.fixture(scope="module")
def witness(stack: Stack, storage: BlobServiceClient) -> Iterator[Witness]:
    with Witness(stack, storage) as looking:
        yield looking


def _look_until(witness: Witness, is_enough: Callable[[Look], bool], what: str) -> Look:
    end = time.monotonic() + DEADLINE_S
    while True:
        look = witness.look()
        if is_enough(look):
            return look
        if time.monotonic() > end:
            pytest.fail(
                f"Not {what} after {DEADLINE_S:.0f} s. Runs: {look.runs}; jobs: {look.jobs}; heard: {look.heard}"
            )
        witness.stack.check()
        time.sleep(1)


def _all_scored(wanted: Mapping[Version, PatientFile]) -> Callable[[Look], bool]:
    return lambda look: look.is_quiet and all(look.completed(version) for version in wanted)


def _all_tried(versions: list[Version]) -> Callable[[Look], bool]:
    over = {"success", "failed", "skipped", "upstream_failed"}
    return lambda look: (
        look.is_quiet
        and all(look.tasks.get(version) for version in versions)
        and all(task.state in over for version in versions for task in look.tasks[version])
    )


def _log(stack: Stack, task: Task) -> str:
    path = f"/api/v2/dags/{DAG}/dagRuns/{task.run_id}/taskInstances/{SCORE}/logs/1"
    return json.dumps(stack.airflow.get(path, map_index=task.map_index, full_content=True))


def test_five_blobs_are_each_scored_once_though_the_triggerer_is_killed(
    stack: Stack, storage: BlobServiceClient, witness: Witness
) -> None:
    files = [whole(f"patients/five-{number}.csv", first=10 * number, count=10 + number) for number in range(4)]
    files.append(half_broken("patients/five-4.csv", first=60, count=20))
    wanted = {}
    for number, file in enumerate(files):
        if number == 2:
            _look_until(witness, lambda look: bool(look.heard), "an event stored")
            stack.airflow.kill("triggerer")
        wanted[upload(storage, file)] = file
        if number == 3:
            stack.airflow.start("triggerer")

    look = _look_until(witness, _all_scored(wanted), "all five scored")

    assert faults(look, wanted, scores_of=witness.scores) == []
    assert len(look.jobs) == 5


def test_a_message_that_is_delivered_again_starts_no_second_job(
    stack: Stack, storage: BlobServiceClient, witness: Witness
) -> None:
    file = whole("patients/again.csv", first=200, count=7)
    version = upload(storage, file)
    before = _look_until(witness, _all_scored({version: file}), "scored")
    copy = next(text for text in messages(stack.emulator, COPIES) if version.etag in base64.b64decode(text).decode())

    put_message(stack.emulator, copy)
    put_message(stack.emulator, copy)
    look = _look_until(
        witness,
        lambda look: look.is_quiet and len(look.runs) > len(before.runs) and not waiting(stack.emulator),
        "the repeated messages worked off",
    )

    assert faults(look, {version: file}, scores_of=witness.scores) == []
    assert set(look.jobs) == set(before.jobs)


def test_a_malformed_message_goes_to_the_poison_queue_with_its_reason_and_the_next_blob_is_scored(
    stack: Stack, storage: BlobServiceClient, witness: Witness
) -> None:
    file = whole("patients/after-poison.csv", first=210, count=5)

    malformed = base64.b64encode(b'{"eventType": "half a mess').decode()
    put_message(stack.emulator, malformed)
    version = upload(storage, file)
    look = _look_until(witness, _all_scored({version: file}), "the next blob scored")

    put_aside = [json.loads(text) for text in messages(stack.emulator, f"{ARRIVALS_QUEUE}-poison")]
    assert [each["content"] for each in put_aside] == [malformed]
    assert "JSON" in put_aside[0]["reason"]
    assert faults(look, {version: file}, scores_of=witness.scores) == []
    assert stack.airflow.children["triggerer"].is_alive


def test_files_that_cannot_be_scored_fail_alone_with_their_reason_and_nothing_is_submitted_for_them(
    stack: Stack, storage: BlobServiceClient, witness: Witness
) -> None:
    good = whole("patients/good.csv", first=220, count=6)
    header_only = PatientFile("patients/header-only.csv", whole("", first=0, count=0).content, good=0)
    picture = PatientFile("patients/picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", good=0)
    gone = whole("patients/gone.csv", first=230, count=4)
    nothing = PatientFile("patients/nothing.csv", b"", good=0)
    jobs_before = set(witness.look().jobs)

    bad = {
        name: upload(storage, file) for name, file in (("header", header_only), ("picture", picture), ("gone", gone))
    }
    storage.get_blob_client(INCOMING, gone.path).delete_blob()
    empty = upload(storage, nothing)
    wanted = {upload(storage, good): good}
    look = _look_until(witness, _all_tried([*bad.values(), *wanted]), "all of them tried")

    assert faults(look, wanted, scores_of=witness.scores) == []
    assert len(set(look.jobs) - jobs_before) == 1
    assert empty not in look.tasks
    assert {name: look.tasks[version][-1].state for name, version in bad.items()} == dict.fromkeys(bad, "failed")
    assert "it has a header and no rows" in _log(stack, look.tasks[bad["header"]][-1])
    assert "it is binary, not text" in _log(stack, look.tasks[bad["picture"]][-1])
    assert "patients/gone.csv" in _log(stack, look.tasks[bad["gone"]][-1])
