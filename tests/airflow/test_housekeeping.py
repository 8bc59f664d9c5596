"""Compute and orphans in a running Airflow, against the emulator."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import wait_until
from tests.airflow.housekeeping import Workspace, given_key

if TYPE_CHECKING:
    from tests.airflow.conftest import Small

#: What a job is called here until it has ended.
LIVE = {"Starting", "Queued", "Running"}


@pytest.fixture(scope="module")
def workspace(small: Small, dags_folder: Path) -> Workspace:
    return Workspace.with_dags(small, dags_folder)


@pytest.fixture
def compute() -> str:
    return f"c-{uuid.uuid4().hex[:8]}"


def _scale(workspace: Workspace, compute: str) -> tuple[int, int, str]:
    found = workspace.compute(compute)["properties"]["scaleSettings"]
    return found["minNodeCount"], found["maxNodeCount"], found["nodeIdleTimeBeforeScaleDown"]


def test_ensuring_a_compute_twice_is_doing_it_once(small: Small, workspace: Workspace, compute: str) -> None:
    first = small.begin("ensure", compute=compute)
    assert small.until(first)["state"] == "success", small.log(first)
    before = workspace.compute(compute)
    second = small.begin("ensure", compute=compute)

    assert small.until(second)["state"] == "success"
    assert small.xcom(first)["done"] == "created"
    assert small.xcom(second)["done"] == "was there as wanted"
    assert workspace.compute(compute) == before
    assert _scale(workspace, compute) == (0, 2, "PT200S")
    assert small.xcom(first)["id"].endswith(f"/workspaces/local/computes/{compute}")


def test_a_compute_with_other_limits_is_changed_and_keeps_the_rest(
    small: Small, workspace: Workspace, compute: str
) -> None:
    inner = {
        "osType": "Linux",
        "vmSize": "STANDARD_DS3_V2",
        "vmPriority": "LowPriority",
        "scaleSettings": {"minNodeCount": 1, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT3M20S"},
    }
    body = {"location": "northeurope", "tags": {"team": "a"}, "properties": {"computeType": "AmlCompute"}}
    body["properties"] |= {"description": "theirs", "properties": inner}  # type: ignore[operator]  # a mapping
    workspace.call("PUT", f"computes/{compute}", body)
    run = small.begin("ensure_more", compute=compute)

    assert small.until(run)["state"] == "success", small.log(run)
    assert small.xcom(run)["done"] == "changed to 0 to 5 nodes, idle for 200 s"
    assert _scale(workspace, compute) == (0, 5, "PT200S")
    found = workspace.call("GET", f"computes/{compute}")
    assert (found["location"], found["tags"]) == ("northeurope", {"team": "a"})
    assert found["properties"]["description"] == "theirs"
    assert found["properties"]["properties"]["vmPriority"] == "LowPriority"


def test_another_machine_size_is_refused_and_nothing_is_changed(
    small: Small, workspace: Workspace, compute: str
) -> None:
    small.until(small.begin("ensure", compute=compute))
    before = workspace.compute(compute)
    run = small.begin("ensure", compute=compute, vm_size="Standard_NC6")

    assert small.until(run)["state"] == "failed"
    assert "AirflowFailException" in small.log(run)
    assert "is there with machines STANDARD_DS3_V2, not Standard_NC6" in small.log(run)
    assert workspace.compute(compute) == before


def test_a_range_without_a_node_in_it_is_refused(small: Small, workspace: Workspace, compute: str) -> None:
    run = small.begin("ensure_nothing", compute=compute)

    assert small.until(run)["state"] == "failed"
    assert "vm_size is empty; 3 to 2 nodes is no range with a node in it" in small.log(run)
    workspace.call("GET", f"computes/{compute}", expect=404)


def test_deleting_a_compute_twice_is_fine(small: Small, workspace: Workspace, compute: str) -> None:
    small.until(small.begin("ensure", compute=compute))
    first = small.begin("delete", compute=compute)
    assert small.until(first)["state"] == "success"
    second = small.begin("delete", compute=compute)

    assert small.until(second)["state"] == "success"
    assert [small.xcom(run)["done"] for run in (first, second)] == ["deleted", "was not there"]
    workspace.call("GET", f"computes/{compute}", expect=404)


def test_a_compute_that_was_set_up_is_torn_down_though_the_work_failed(
    small: Small, workspace: Workspace, compute: str
) -> None:
    run = small.begin("around", compute=compute)
    states: dict[str, str] = {}

    def _over() -> bool:
        found = small.airflow.get(f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances")["task_instances"]
        states.update({one["task_id"]: one["state"] for one in found})
        return states.get("down") in {"success", "failed", "skipped", "upstream_failed"}

    assert wait_until(_over, deadline_s=90), states
    assert states == {"up": "success", "run": "failed", "down": "success"}
    workspace.call("GET", f"computes/{compute}", expect=404)


@pytest.fixture
def tidy(workspace: Workspace) -> Iterator[list[str]]:
    """Jobs to cancel when the test is over."""
    jobs: list[str] = []
    yield jobs
    for job in jobs:
        workspace.cancel(job)


def _line(small: Small, run: tuple[str, str], job: str) -> str:
    return next(line for line in small.log(run).splitlines() if f" {job} " in line).rstrip()


def test_a_dry_run_names_the_orphan_and_cancels_nothing(small: Small, workspace: Workspace, tidy: list[str]) -> None:
    orphan = workspace.owned("small_plain/manual__gone/run/-1/1")
    others = workspace.job("sleep 300")
    tidy += [orphan, others]
    run = small.begin("orphans")

    assert small.until(run)["state"] == "success", small.log(run)
    line = _line(small, run, orphan)
    assert line.startswith("orphan")
    assert line.endswith("small_plain manual__gone run  its task is gone")
    result = small.xcom(run)
    assert orphan in result["jobs"]
    assert (result["dry_run"], result["cancelled"]) == (True, 0)
    assert others not in small.log(run)
    assert "dry_run=False cancels them" in small.log(run)
    assert {workspace.status(orphan), workspace.status(others)} <= LIVE


@pytest.mark.usefixtures("workspace")
def test_a_job_left_by_a_task_that_has_ended_is_shown_and_cancelled_only_if_told_to(small: Small) -> None:
    left = small.begin("leaving", seconds=300)
    small.until_watched(left)
    (job,) = small.jobs(left)
    small.airflow.call("PATCH", f"/api/v2/dags/{left[0]}/dagRuns/{left[1]}/taskInstances/run", {"new_state": "success"})
    shown = small.begin("orphans_cancel")
    assert small.until(shown)["state"] == "success", small.log(shown)
    line = _line(small, shown, job["name"])
    run = small.begin("orphans_left")

    assert small.until(run)["state"] == "success", small.log(run)
    assert line.startswith("kept")
    assert line.endswith("its task has ended: success, and it was to be left (on_kill_action='leave')")
    small.until_jobs(left, "Canceled")
    assert f"Asked Azure ML to cancel job {job['name']}: its task has ended: success" in small.log(run)


def test_the_jobs_of_another_airflow_are_counted_and_not_judged(
    small: Small, workspace: Workspace, tidy: list[str]
) -> None:
    owner = "small_plain/manual__gone/run/-1/1"
    theirs, ours = workspace.owned(owner, instance="another"), workspace.owned(owner)
    tidy += [theirs, ours]
    run = small.begin("orphans_left")

    assert small.until(run)["state"] == "success", small.log(run)
    workspace.until_status(ours, "Canceled")
    assert workspace.status(theirs) in LIVE
    assert theirs not in small.log(run)
    assert small.xcom(run)["others"] >= 1
    assert f"live jobs are of other Airflow instances than this one ({workspace.instance})" in small.log(run)


def test_a_job_whose_run_was_deleted_is_cancelled(small: Small, workspace: Workspace) -> None:
    left = small.begin("leaving", seconds=300)
    small.until_watched(left)
    (job,) = small.jobs(left)
    url = f"/api/v2/dags/{left[0]}/dagRuns/{left[1]}"
    small.airflow.call("PATCH", f"{url}/taskInstances/run", {"new_state": "success"})
    assert wait_until(lambda: small.airflow.get(url)["state"] == "success", deadline_s=60)
    small.airflow.call("DELETE", url)
    run = small.begin("orphans_left")

    assert small.until(run)["state"] == "success", small.log(run)
    workspace.until_status(job["name"], "Canceled")
    assert f"Asked Azure ML to cancel job {job['name']}: its task is gone" in small.log(run)


def test_the_job_of_a_living_task_is_never_cancelled(small: Small, workspace: Workspace) -> None:
    waiting = small.begin("plain", word="alive", seconds=300)
    small.until_watched(waiting)
    (job,) = small.jobs(waiting)
    run = small.begin("orphans_cancel")

    assert small.until(run)["state"] == "success"
    assert _line(small, run, job["name"]).endswith("its task is deferred")
    assert workspace.status(job["name"]) == "Running"
    small.airflow.call(
        "PATCH", f"/api/v2/dags/{waiting[0]}/dagRuns/{waiting[1]}/taskInstances/run", {"new_state": "failed"}
    )
    small.until_jobs(waiting, "Canceled")


def test_of_a_mapped_task_each_index_is_judged_by_itself(small: Small, workspace: Workspace, tidy: list[str]) -> None:
    small.airflow.unpause("small_mapped")
    mapped = small.begin("mapped")[1]
    url = f"/api/v2/dags/small_mapped/dagRuns/{mapped}/taskInstances"

    def _half() -> bool:
        found = small.airflow.get(url)["task_instances"]
        return {(one["map_index"], one["state"]) for one in found} == {(0, "success"), (1, "running")}

    assert wait_until(_half, deadline_s=60), small.airflow.get(url)
    ended, living = (workspace.owned(f"small_mapped/{mapped}/run/{index}/1") for index in (0, 1))
    tidy.append(living)
    run = small.begin("orphans_cancel")

    assert small.until(run)["state"] == "success", small.log(run)
    workspace.until_status(ended, "Canceled")
    assert workspace.status(living) in LIVE
    assert _line(small, run, living).endswith(f"{mapped} run[1]  its task is running")


def test_a_job_that_another_run_may_have_adopted_is_kept_until_none_is_left(
    small: Small, workspace: Workspace, tidy: list[str]
) -> None:
    key = given_key("small_keyed", "a key that lasts")
    job = workspace.owned("small_keyed/manual__gone/run/-1/1", key=key)
    tidy.append(job)
    sibling = small.begin("keyed", key="another key", word="sibling", seconds=300)
    small.until_watched(sibling)
    kept = small.begin("orphans_cancel")
    assert small.until(kept)["state"] == "success"
    line, status = _line(small, kept, job), workspace.status(job)
    small.airflow.call(
        "PATCH", f"/api/v2/dags/{sibling[0]}/dagRuns/{sibling[1]}/taskInstances/run", {"new_state": "failed"}
    )
    run = small.begin("orphans_cancel")

    assert small.until(run)["state"] == "success"
    assert line.endswith("its task is gone, but 1 of other runs may have adopted the job")
    assert status == "Running"
    workspace.until_status(job, "Canceled")


def test_a_job_that_is_young_or_of_a_dag_unknown_here_is_kept(
    small: Small, workspace: Workspace, tidy: list[str]
) -> None:
    strange, young = (workspace.owned(f"{dag}/manual__gone/run/-1/1") for dag in ("not_ours", "small_plain"))
    odd = workspace.owned("whose is it")
    tidy += [strange, young, odd]
    old_only = small.begin("orphans_old")
    dry = small.begin("orphans")

    assert small.until(old_only)["state"] == "success"
    assert small.until(dry)["state"] == "success"
    assert _line(small, old_only, young).endswith("s old")
    assert small.xcom(old_only)["cancelled"] == 0
    assert _line(small, dry, strange).endswith("this Airflow does not know its DAG")
    assert _line(small, dry, odd).endswith("carries an owner that cannot be read")
    assert not {strange, odd} & set(small.xcom(dry)["jobs"])
    assert {workspace.status(job) for job in (strange, young, odd)} <= LIVE
