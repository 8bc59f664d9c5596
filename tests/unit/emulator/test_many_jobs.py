"""Many jobs at once: none is lost, none says what it never was, whether the emulator lives or is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from azureml_emulator.testing import emulator
from demo import chaos_emulator, command_jobs
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Azurite, Emulator
from demo.command_jobs import Watch


def test_more_jobs_than_nodes_wait_and_all_complete(tmp_path: Path, azurite: Azurite) -> None:
    names = [f"job-{number:02d}" for number in range(16)]
    with Emulator(tmp_path, azurite, event_queues=()) as emulator, command_jobs.open_client(emulator.http) as client:
        command_jobs.make_cluster(client, nodes=4)
        command_jobs.submit(client, names, lasts_s=0.5)
        most = 0

        def _tell(counts: dict[str, int]) -> None:
            nonlocal most
            most = max(most, counts.get("Running", 0))

        watch = command_jobs.watch_to_the_end(client, names, deadline_s=120, tell=_tell)

    assert watch.counts == {"Completed": len(names)}
    assert watch.faults(names) == []
    assert 1 <= most <= 4
    assert any("Queued" in words for words in watch.read.values())


def test_a_look_at_more_jobs_than_a_page_holds_sees_all_of_them(azurite: Azurite) -> None:
    told = {"azurite_blob": azurite.blob_url, "azurite_queue": azurite.queue_url}
    with emulator(**told) as running, command_jobs.open_client(running.addresses.http) as client:  # type: ignore[arg-type]  # texts
        where = f"{SUBSCRIPTION}/{RESOURCE_GROUP}/{WORKSPACE}"
        running.control.jobs(205, [("Completed", 0)], prefix="many", workspace=where)

        found = command_jobs.look(client)

    assert found == {f"many-{number:05d}": "Completed" for number in range(205)}


def test_no_job_is_lost_when_the_emulator_is_killed_again_and_again(tmp_path: Path) -> None:
    outcome = chaos_emulator.play(tmp_path, 7, jobs=8, kills=3)

    assert outcome.faults == []
    assert outcome.kills == 3
    assert outcome.struck >= 1, "a kill found jobs that had not ended"
    assert sum(outcome.ended.values()) == 8
    assert set(outcome.ended) <= {"Completed", "Failed"}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["Running", "Completed", "Running"], "left its end"),
        (["Completed", "Failed"], "left its end"),
        (["Running", "Preparing"], "went back"),
        (["Queued", "Preparing", "Queued", "Running", "Completed"], ""),
        (["Preparing", "Failed"], ""),
    ],
)
def test_the_watch_sees_what_should_never_be(words: list[str], fault: str) -> None:
    watch = Watch()
    for word in words:
        watch.see({"one": word})

    found = watch.faults(["one"])

    assert bool(found) is bool(fault)
    assert any(fault in each for each in found) or not fault


def test_the_watch_misses_a_job_that_was_never_there() -> None:
    assert Watch().faults(["one"]) == ["one was never there"]
