"""The plan of `make chaos CASE=jobs` is the seed's, and its judge says no whenever a promise is broken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.faults import FaultList
from azureml_emulator.scripts import Script
from demo.chaos_judge import Job, Look, Task, faults, figures
from demo.chaos_plan import ALWAYS_WHOLE, KILLS, KINDS, LEAST_OF_EACH, SPAN_S, Fate, Going, Instance, Kill, draw
from demo.postgres import MissingError, programs

SOUND, FLAKY, FAILING = (Instance(part=0, task="endpoint", map_index=index) for index in range(3))
WANTED = {
    SOUND: Going(Fate.SOUND, "sound-0", "sound-0"),
    FLAKY: Going(Fate.FLAKY, "flaky-0", "sound-0"),
    FAILING: Going(Fate.FAILING, "failing-0", "failing-0"),
}


def _job(instance: Instance, status: str, attempt: int = 1, name: str = "") -> Job:
    index = instance.map_index
    return Job(
        name=name or f"job-{index}-{attempt}",
        status=status,
        key=f"key-{index}",
        owner=f"{instance.owner}{attempt}",
        attempt=attempt,
    )


JOBS = (_job(SOUND, "Completed"), _job(FLAKY, "Failed"), _job(FLAKY, "Completed", 2), _job(FAILING, "Failed"))
GOOD = Look(
    tasks={
        SOUND: Task(state="success", tries=1, job="job-0-1"),
        FLAKY: Task(state="success", tries=2, job="job-1-2"),
        FAILING: Task(state="failed", tries=1),
    },
    jobs=JOBS,
)


def _with(look: Look, instance: Instance, **changes: Any) -> Look:
    changed = attrs.evolve(look.tasks[instance], **changes)
    return attrs.evolve(look, tasks={**look.tasks, instance: changed})


def _instead(look: Look, instance: Instance, *jobs: Job) -> Look:
    others = [job for job in look.jobs if not job.owner.startswith(instance.owner)]
    return attrs.evolve(look, jobs=[*others, *jobs])


def test_nothing_is_wrong_when_every_task_ended_as_its_last_job_did() -> None:
    assert faults(GOOD, WANTED) == []
    told = figures(GOOD, WANTED, [])
    assert (told["ok"], told["doubled"], told["orphans"], told["stuck"]) == (True, 0, 0, 0)


def test_two_jobs_at_one_attempt_are_a_doubled_job() -> None:
    doubled = _instead(GOOD, SOUND, _job(SOUND, "Completed"), _job(SOUND, "Completed", name="other"))

    found = faults(doubled, WANTED)

    assert any("has 2 jobs at attempt 1" in each for each in found)
    assert figures(doubled, WANTED, found)["doubled"] == 2


@pytest.mark.parametrize("status", ["Completed", "Canceled", "Running"])
def test_another_job_after_one_that_did_not_fail_is_a_fault(status: str) -> None:
    again = _instead(GOOD, SOUND, _job(SOUND, status), _job(SOUND, "Completed", 2))
    again = _with(again, SOUND, tries=2, job="job-0-2")

    found = faults(again, WANTED)

    assert any(f"has another job after job-0-1, which is {status}" in each for each in found)


def test_a_task_that_passed_without_a_job_is_a_fault() -> None:
    assert any("is success and has no job" in each for each in faults(_instead(GOOD, SOUND), WANTED))


def test_a_task_that_airflow_does_not_know_is_a_fault() -> None:
    tasks = {each: task for each, task in GOOD.tasks.items() if each != SOUND}

    assert any("is not known to Airflow" in each for each in faults(attrs.evolve(GOOD, tasks=tasks), WANTED))


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
def test_a_task_that_passed_though_its_job_did_not_is_a_false_success(status: str) -> None:
    false = _instead(GOOD, SOUND, _job(SOUND, status))

    assert any(f"passed, and its job job-0-1 is {status}" in each for each in faults(false, WANTED))


def test_a_task_that_failed_though_its_job_completed_is_a_fault() -> None:
    found = faults(_with(GOOD, SOUND, state="failed", job=""), WANTED)

    assert any("failed, and its job job-0-1 is Completed" in each for each in found)


def test_a_task_that_names_anothers_job_is_a_fault() -> None:
    found = faults(_with(GOOD, SOUND, job="job-1-2"), WANTED)

    assert len(found) == 1
    assert "names job job-1-2 as its own, not job-0-1" in found[0]


@pytest.mark.parametrize("state", ["deferred", "running", "queued", "up_for_retry", "none"])
def test_a_task_that_has_not_ended_is_stuck(state: str) -> None:
    stuck = _with(GOOD, SOUND, state=state)

    found = faults(stuck, WANTED)

    assert any(f"is stuck: {state}, try 1" in each for each in found)
    assert not stuck.is_over
    assert figures(stuck, WANTED, found)["stuck"] == 1


@pytest.mark.parametrize("status", ["Running", "Queued", "CancelRequested", "Paused"])
def test_a_job_that_goes_on_is_an_orphan(status: str) -> None:
    left = _instead(GOOD, FAILING, _job(FAILING, status))

    found = faults(left, WANTED)

    assert any(f"has left job job-2-1 {status}" in each for each in found)
    assert not left.is_over
    assert figures(left, WANTED, found)["orphans"] == 1


def test_a_job_of_nobody_is_a_fault() -> None:
    stranger = attrs.evolve(_job(SOUND, "Completed", name="stranger"), owner="chaos_jobs/part-9/endpoint/0/1")

    found = faults(attrs.evolve(GOOD, jobs=[*JOBS, stranger]), WANTED)

    assert found == ["job stranger (Completed) belongs to no task: 'chaos_jobs/part-9/endpoint/0/1'"]


def test_a_lost_attempt_and_a_second_key_are_faults() -> None:
    skipped = _instead(GOOD, FLAKY, _job(FLAKY, "Completed", 2))
    other = attrs.evolve(_job(FLAKY, "Completed", 2), key="other")

    assert any("has attempts 2" in each for each in faults(skipped, WANTED))
    found = faults(_instead(GOOD, FLAKY, _job(FLAKY, "Failed"), other), WANTED)
    assert any("has jobs of several keys" in each for each in found)


def test_a_sound_task_that_failed_and_a_failing_one_that_passed_are_faults() -> None:
    failed = _with(_instead(GOOD, SOUND, _job(SOUND, "Failed")), SOUND, state="failed", job="")
    passed = _with(_instead(GOOD, FAILING, _job(FAILING, "Completed")), FAILING, state="success", job="job-2-1")

    assert any("(sound) ended as failed" in each for each in faults(failed, WANTED))
    assert any("(failing) ended as success" in each for each in faults(passed, WANTED))


def test_more_jobs_than_tries_are_a_fault() -> None:
    more = _instead(GOOD, FAILING, _job(FAILING, "Failed"), _job(FAILING, "Failed", 2))

    assert any("has 2 jobs of 1 tries" in each for each in faults(more, WANTED))


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_the_same_seed_gives_the_same_plan_and_each_kind_dies_often_enough(seed: int) -> None:
    plan = draw(seed)

    assert plan == draw(seed)
    assert len(plan.goings) == 200
    assert len(plan.kills) == KILLS
    of_kind = Counter(_kind(kill) for kill in plan.kills)
    assert set(of_kind) == set(KINDS)
    assert min(of_kind.values()) >= LEAST_OF_EACH
    assert [kill.at_s for kill in plan.kills] == sorted(kill.at_s for kill in plan.kills)
    assert all(0 < kill.at_s <= SPAN_S for kill in plan.kills)
    assert all(kill.whole for kill in plan.kills if kill.part in ALWAYS_WHOLE)


def _kind(kill: Kill) -> str:
    return next(kind for kind, parts in KINDS.items() if kill.part in parts)


def test_postgresql_is_taken_from_debians_newest_version(tmp_path: Path) -> None:
    for version in ("9", "15", "common"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        for name in ("initdb", "postgres", "pg_isready"):
            (folder / name).touch()

    assert programs(tmp_path, path="") == tmp_path / "15/bin"


def test_where_postgresql_is_missing_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="install it: apt-get install postgresql"):
        programs(tmp_path, path=str(tmp_path))


def test_other_seeds_give_other_plans() -> None:
    assert draw(1) != draw(2)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_what_a_plan_tells_the_emulator_and_the_dag_is_well_formed(seed: int) -> None:
    plan = draw(seed)
    scripts = {name: Script.from_wire(said) for name, said in plan.scripts.items()}
    for storm in plan.storms:
        FaultList().replace([dict(fault) for fault in storm.faults])
    told = plan.for_dag()

    for instance, going in plan.goings.items():
        assert told["parts"][instance.part][instance.task][instance.map_index] == [going.first, going.then]
        last = {name: scripts[name].statuses[-1][0] for name in (going.first, going.then) if name}
        passes = [last.get(name, "Completed") == "Completed" for name in (going.first, going.then)]
        assert passes == {Fate.SOUND: [True, True], Fate.FLAKY: [False, True], Fate.FAILING: [False, False]}[going.fate]
