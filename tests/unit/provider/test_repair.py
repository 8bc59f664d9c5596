"""Repair: what an attempt takes over from the attempts before it, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, KEY_PROPERTY, JobKey, JobSnapshot
from airflow_azureml.core.repair import FENCE, check, judged, rerun_of
from airflow_azureml.core.reports import Report, Step
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.wire import reports
from tests.unit.provider.conversation import Talk, answer

KEY = JobKey.of_task("d", "r", "t", -1)
OTHER = JobKey.of_task("d", "r", "another", -1)
WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
STEPS: dict[str, Any] = {
    "prepare": {"type": "command", "componentId": "c1", "environment_variables": {"A": "1"}},
    "plain": {"componentId": "c2"},
    "inner": {"type": "pipeline", "componentId": "c3"},
}


def job(attempt: int, status: str, key: JobKey = KEY) -> JobSnapshot:
    properties = {KEY_PROPERTY: key.digest, ATTEMPT_PROPERTY: str(attempt)}
    return JobSnapshot(name=key.job_name(attempt), status=status, properties=properties)


statuses = st.sampled_from(["Completed", "Failed", "Canceled", "NotResponding", "Something new"])
attempts = st.lists(st.tuples(statuses, st.sampled_from([KEY, OTHER])), max_size=5).map(
    lambda each: [job(number, status, key) for number, (status, key) in enumerate(each, 1)]
)
settings = st.fixed_dictionaries({}, optional={"force_rerun": st.booleans(), "default_compute": st.just("cpu")})


@given(attempts, settings)
def test_without_repair_settings_and_steps_stay_as_they_are(earlier: list[JobSnapshot], asked: dict[str, Any]) -> None:
    rerun = rerun_of(earlier, key=KEY, wanted=False, settings=asked)

    assert (rerun.settings, rerun.fenced(STEPS), rerun.told) == (asked, STEPS, "")


@given(attempts, settings)
def test_an_attempt_forces_a_rerun_exactly_when_one_before_it_completed(
    earlier: list[JobSnapshot], asked: dict[str, Any]
) -> None:
    completed = any(one.status == "Completed" and one.key == KEY.digest for one in earlier)

    rerun = rerun_of(earlier, key=KEY, wanted=True, settings=asked)

    assert rerun.settings == {**asked, "force_rerun": completed}
    assert bool(rerun.variables) is not completed


@given(attempts)
def test_what_is_repaired_is_told_and_nothing_where_nothing_was_before(earlier: list[JobSnapshot]) -> None:
    own = [one for one in earlier if one.key == KEY.digest]

    told = rerun_of(earlier, key=KEY, wanted=True, settings={}).told

    assert bool(told) is bool(own)
    if own and not any(one.status == "Completed" for one in own):
        assert told.startswith("This attempt repairs ")
        assert all(f"{one.name} ({one.status})" in told for one in own)


def test_the_steps_of_a_key_are_marked_as_its_own_and_keep_the_variables_they_had() -> None:
    marked = rerun_of([], key=KEY, wanted=True, settings={}).fenced(STEPS)
    others = rerun_of([], key=OTHER, wanted=True, settings={}).fenced(STEPS)

    assert marked["prepare"]["environment_variables"] == {"A": "1", FENCE: KEY.digest}
    assert marked["plain"]["environment_variables"] == {FENCE: KEY.digest}
    assert marked["inner"] == STEPS["inner"]
    assert marked["prepare"] != others["prepare"]
    assert STEPS["prepare"]["environment_variables"] == {"A": "1"}


def test_all_attempts_at_a_key_have_the_same_steps_so_that_they_can_be_taken_over() -> None:
    first = rerun_of([], key=KEY, wanted=True, settings={})
    third = rerun_of([job(1, "Failed"), job(2, "Canceled")], key=KEY, wanted=True, settings={})

    assert (first.fenced(STEPS), first.settings) == (third.fenced(STEPS), third.settings)


@pytest.mark.parametrize(
    ("asked", "decides", "told"),
    [
        ({"force_rerun": True}, True, "repair=True and force_rerun of the settings exclude each other"),
        ({"force_rerun": "true"}, True, "exclude each other"),
        (
            {},
            False,
            "repair=True is not for endpoint e: whether its steps are reused was decided when it was published",
        ),
    ],
    ids=["forced", "forced in words", "endpoint"],
)
def test_a_repair_that_could_be_none_is_refused(asked: dict[str, Any], told: str, *, decides: bool) -> None:
    with pytest.raises(ConfigError, match=told):
        check(wanted=True, settings=asked, decides=decides, pipeline="endpoint e")
    check(wanted=False, settings=asked, decides=decides, pipeline="endpoint e")


# whose results a step has

REUSED = Step(name="prepare", run="r2", status="Completed", reused=True, reused_run="r1", reused_job="j1")
makers = st.none() | st.builds(job, st.integers(1, 5), statuses, st.sampled_from([KEY, OTHER]))


@given(makers, st.integers(1, 5), st.booleans())
def test_only_the_results_of_an_earlier_attempt_that_did_not_complete_are_a_repair(
    maker: JobSnapshot | None, attempt: int, reused: bool
) -> None:
    step = Step(name="prepare", run="r2", status="Completed", reused=reused, reused_job="j1")

    found = judged(step, job(attempt, "Completed"), maker)

    own = maker is not None and maker.key == KEY.digest and maker.attempt < attempt and maker.status != "Completed"
    assert found.repairs == (maker.attempt if own and maker and reused else 0)
    assert Report(steps=[found]).stale == (["prepare"] if reused and not own else [])


def test_a_job_without_a_key_has_no_attempts_of_its_own() -> None:
    nobodys = JobSnapshot(name="j2", status="Completed", properties={ATTEMPT_PROPERTY: "2"})

    assert judged(REUSED, nobodys, JobSnapshot(name="j1", status="Failed")).repairs == 0


def test_a_step_says_whose_result_it_has_for_people_and_in_xcom() -> None:
    repaired = judged(REUSED, job(2, "Completed"), job(1, "Failed"))

    assert repaired.whence == ", reused from attempt 1 of this task (j1)"
    assert REUSED.whence == ", reused from an earlier run (j1)"
    assert Step(name="x", run="r", status="Completed").whence == ""
    assert repaired.to_wire()["reused_job"] == "j1"


def test_a_report_says_of_which_results_it_knows_and_of_which_it_does_not() -> None:
    repaired, nameless = (
        judged(REUSED, job(2, "Completed"), job(1, "Failed")),
        Step(name="load", run="s", status="Completed", reused=True),
    )

    report = Report(steps=[repaired, nameless])

    assert report.repaired == ["Step prepare was not run: attempt 1 of this task (j1) had completed it"]
    assert (report.stale, report.makers) == (["load"], "an earlier run (which one is not told)")
    assert Report(steps=[REUSED]).makers == "an earlier run (j1)"


def child(name: str, run: str, **more: Any) -> dict[str, Any]:
    return {"displayName": name, "runId": run, "status": "Completed", "properties": {}, **more}


def reused(name: str, run: str, *, by: str) -> dict[str, Any]:
    told = {"azureml.isreused": "true", "azureml.reusedrunid": f"{run}-original", "azureml.reusedpipelinerunid": by}
    return child(name, run, properties=told)


def seen(snapshot: JobSnapshot) -> Any:
    body = {"name": snapshot.name, "properties": {"status": snapshot.status, "properties": dict(snapshot.properties)}}
    return answer(200, body)


METRICS = answer(200, {"run": {"data": {"metrics": [{"key": "rows", "value": 7}]}}})
NOTHING = answer(200, {"run": {}})
NO_OUTPUTS = answer(200, {"runMetadata": {"outputs": {}}})


def test_a_report_tells_whose_results_were_reused_and_reads_their_metrics_where_they_are() -> None:
    before, this = job(1, "Failed"), job(2, "Completed")
    steps = [reused("prepare", "r", by=before.name), reused("load", "s", by="elsewhere"), child("train", "t")]
    talk = Talk()

    report = talk.hold(
        reports.read(WORKSPACE, this, "https://x"),
        [
            answer(200, {"value": steps}),
            seen(before),
            seen(job(1, "Completed", OTHER)),
            *(NOTHING, METRICS, NOTHING, NOTHING, NO_OUTPUTS),
        ],
    )

    assert [(step.name, step.repairs) for step in report.steps] == [("prepare", 1), ("load", 0), ("train", 0)]
    assert (report.reused, report.stale) == (["prepare", "load"], ["load"])
    assert report.metrics == {"prepare.rows": 7.0}
    assert [request.params.get("run_id") for request in talk.asked[3:7]] == [this.name, "r-original", "s-original", "t"]


def test_results_whose_maker_cannot_be_looked_at_are_nobodys() -> None:
    steps = [reused("prepare", "r", by="gone")]

    report = Talk().hold(
        reports.read(WORKSPACE, job(2, "Completed"), "https://x"),
        [answer(200, {"value": steps}), answer(404), NOTHING, NOTHING, NO_OUTPUTS],
    )

    assert report.stale == ["prepare"]
    assert [words.partition(":")[0] for words in report.unread] == ["Whose results were reused is not known"]


def test_steps_of_a_pipeline_in_a_pipeline_are_told_by_their_path() -> None:
    inner = child("inner", "i", runType="azureml.PipelineRun")
    steps = [answer(200, {"value": [inner, child("last", "l")]}), answer(200, {"value": [child("first", "f")]})]
    talk = Talk()

    report = talk.hold(
        reports.read(WORKSPACE, job(1, "Completed"), "https://x"), [*steps, NOTHING, NOTHING, METRICS, NO_OUTPUTS]
    )

    assert [step.name for step in report.steps] == ["inner", "last", "inner/first"]
    assert report.metrics == {"inner/first.rows": 7.0}


def test_what_an_unreadable_maker_raises_is_not_raised() -> None:
    refused = RefusedError("Look at job gone", status=403)

    report = Talk().hold(
        reports.read(WORKSPACE, job(2, "Completed"), "https://x"),
        [answer(200, {"value": [reused("prepare", "r", by="gone")]}), refused, NOTHING, NOTHING, NO_OUTPUTS],
    )

    assert report.stale == ["prepare"]
