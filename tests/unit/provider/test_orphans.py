"""Whose a job is, and whether anybody still wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from airflow.utils.state import TaskInstanceState
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import (
    INSTANCE_PROPERTY,
    KEY_PROPERTY,
    LEAVE,
    ON_KILL_PROPERTY,
    OWNER_PROPERTY,
    PHASE_OF_STATUS,
    JobKey,
    JobSnapshot,
    Phase,
)
from airflow_azureml.core.orphans import (
    LIVING,
    OVER,
    Answer,
    OwnedJob,
    Owner,
    Rules,
    Verdict,
    instance_of,
    judge,
    reason_to_keep,
    table,
)
from airflow_azureml.core.pipelines import Invocation
from airflow_azureml.core.published import Assignments
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.wire import endpoints, named, orphans, published
from tests.unit.provider.conversation import Talk, answer

NOW = 1_800_000_000.0
RULES = Rules(older_than_s=600.0)
OWNER = Owner(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")


def _job(
    owner: str = "d/r/t/-1/1",
    *,
    status: str = "Running",
    key: str = OWNER.key.digest,
    age_s: float | None = 3600,
    marks: Mapping[str, str] | None = None,
) -> OwnedJob:
    job = JobSnapshot(name="j", status=status, properties={OWNER_PROPERTY: owner, KEY_PROPERTY: key, **(marks or {})})
    return OwnedJob(job=job, owner_text=owner, created_at=None if age_s is None else NOW - age_s)


def _is_orphan(owned: OwnedJob, seen: Answer | None, rules: Rules = RULES) -> bool:
    return judge(owned, seen, now=NOW, rules=rules).verdict is Verdict.ORPHAN


@pytest.mark.parametrize("state", sorted(OVER))
def test_a_job_whose_task_has_ended_is_an_orphan(state: str) -> None:
    finding = judge(_job(), Answer(found=True, state=state), now=NOW, rules=RULES)

    assert (finding.verdict, finding.why) == (Verdict.ORPHAN, f"its task has ended: {state}")


def test_a_job_whose_task_is_gone_is_an_orphan() -> None:
    assert _is_orphan(_job(), Answer(found=False))


@pytest.mark.parametrize("state", [*sorted(LIVING), None, "a state that Airflow adds tomorrow"])
def test_a_job_whose_task_may_want_it_is_kept(state: str | None) -> None:
    assert not _is_orphan(_job(), Answer(found=True, state=state))


def test_every_state_of_airflow_is_either_living_or_over() -> None:
    assert {state.value for state in TaskInstanceState} == LIVING | OVER
    assert not LIVING & OVER


@pytest.mark.parametrize("seen", [None, Answer(trouble="no answer", found=True, state="failed")])
def test_without_an_answer_a_job_is_kept(seen: Answer | None) -> None:
    assert not _is_orphan(_job(), seen)


def test_a_dag_that_is_not_known_here_keeps_its_jobs_unless_told_otherwise() -> None:
    seen = Answer(dag_known=False)

    assert not _is_orphan(_job(), seen)
    assert _is_orphan(_job(), seen, evolve(RULES, unknown_dags=True))


@pytest.mark.parametrize(("living", "is_orphan"), [(None, False), (2, False), (0, True)])
def test_a_job_that_others_can_adopt_is_an_orphan_when_none_is_left(living: int | None, is_orphan: bool) -> None:
    shared = _job(key=JobKey.given("d", "t", "text").digest)

    assert _is_orphan(shared, Answer(found=True, state="failed", others_living=living)) is is_orphan


@pytest.mark.parametrize(
    ("owned", "why"),
    [
        (_job(status="CancelRequested"), "is being cancelled"),
        (_job(status="Completed"), "has ended (Completed)"),
        (_job("d/r"), "carries an owner that cannot be read"),
        (_job("other/r/t/-1/1"), "is of another DAG"),
        (_job(age_s=None), "is of unknown age"),
        (_job(age_s=599), "is 599 s old"),
        (_job(age_s=600), ""),
    ],
)
def test_some_jobs_are_kept_whatever_airflow_says(owned: OwnedJob, why: str) -> None:
    rules = evolve(RULES, dag_ids=frozenset({"d"}))

    assert reason_to_keep(owned, now=NOW, rules=rules) == why
    assert _is_orphan(owned, Answer(found=False), rules) is not bool(why)


def test_a_job_that_was_to_be_left_is_shown_and_kept_unless_told_otherwise() -> None:
    left, over = _job(marks={ON_KILL_PROPERTY: LEAVE}), Answer(found=True, state="failed")
    finding = judge(left, over, now=NOW, rules=RULES)

    assert finding.verdict is Verdict.KEPT
    assert finding.why == "its task has ended: failed, and it was to be left (on_kill_action='leave')"
    assert _is_orphan(left, over, evolve(RULES, include_left=True))
    assert not _is_orphan(left, Answer(found=True, state="running"), evolve(RULES, include_left=True))


def test_a_job_says_which_airflow_it_is_of() -> None:
    assert (_job(marks={INSTANCE_PROPERTY: "staging"}).instance, _job().instance) == ("staging", "")


@pytest.mark.parametrize("name", ["staging", "team-a.prod_2", "7"])
def test_an_airflow_has_the_name_that_it_was_given(name: str) -> None:
    assert instance_of(configured=name, base_url="https://airflow.example") == name


def test_an_airflow_without_a_name_is_told_by_its_address_however_that_is_spelt() -> None:
    spelt = ["https://airflow.example", "https://airflow.example/", " https://Airflow.example "]
    names = {instance_of(configured="", base_url=each) for each in spelt}

    assert len(names) == 1
    assert names.isdisjoint({instance_of(configured="", base_url="https://airflow.example/staging"), ""})
    assert "airflow.example" not in names.pop()
    assert instance_of(configured="", base_url="") == ""


@pytest.mark.parametrize("name", ["a b", "x" * 64, "-", "a/b", "\n"])
def test_a_name_that_a_jobs_property_should_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"\[azureml\] instance is .* at most 63"):
        instance_of(configured=name, base_url="")


MARKS = {INSTANCE_PROPERTY: "staging", ON_KILL_PROPERTY: LEAVE}


def test_what_a_job_says_of_its_task_is_among_its_properties_whatever_runs_it() -> None:
    key = OWNER.key
    made = answer(201, {"name": "j", "properties": {"status": "NotStarted"}})
    talk = Talk()
    talk.hold(named.put(WORKSPACE, key, 1, {"properties": {"own": "1"}}, owner="o", besides=MARKS), [made])
    whose: dict[str, Any] = {"key": key, "attempt": 1, "owner": "o", "besides": MARKS}
    invoked = endpoints.Submission(invocation=Invocation(inputs={}, outputs={}), **whose).to_wire()
    v1 = published.Submission(assignments=Assignments(), experiment="e", **whose).to_wire()

    assert talk.asked[0].json["properties"]["properties"].items() >= {"own": "1", OWNER_PROPERTY: "o", **MARKS}.items()
    assert invoked["properties"]["properties"].items() >= {OWNER_PROPERTY: "o", **MARKS}.items()
    assert v1["Properties"].items() >= {OWNER_PROPERTY: "o", **MARKS}.items()


answers = st.builds(
    Answer,
    dag_known=st.booleans(),
    found=st.booleans(),
    state=st.sampled_from([None, "unheard of", *sorted(LIVING | OVER)]),
    others_living=st.sampled_from([None, 0, 1]),
    trouble=st.sampled_from(["", "no answer"]),
)
owned_jobs = st.builds(
    _job,
    st.sampled_from(["d/r/t/-1/1", "d/r/t/4/2", "d//t/-1/1", "nonsense"]),
    status=st.sampled_from([*PHASE_OF_STATUS, "Tomorrow"]),
    key=st.sampled_from([OWNER.key.digest, "another", ""]),
    age_s=st.sampled_from([None, 0.0, 599.0, 600.0, 1e6]),
    marks=st.sampled_from([{}, {ON_KILL_PROPERTY: LEAVE}]),
)


@given(owned=owned_jobs, seen=st.none() | answers, unknown_dags=st.booleans(), include_left=st.booleans())
def test_an_orphan_is_certain_of_everything(
    owned: OwnedJob, seen: Answer | None, unknown_dags: bool, include_left: bool
) -> None:
    if not _is_orphan(owned, seen, evolve(RULES, unknown_dags=unknown_dags, include_left=include_left)):
        return

    assert include_left or not owned.is_left_on_purpose
    assert owned.owner is not None
    assert owned.created_at is not None
    assert NOW - owned.created_at >= RULES.older_than_s
    assert not owned.job.phase.is_final
    assert owned.job.phase is not Phase.STOPPING
    assert seen is not None
    assert not seen.trouble
    if seen.dag_known:
        assert not seen.found or seen.state in OVER
        assert owned.is_its_owners_alone or seen.others_living == 0
    else:
        assert unknown_dags


@given(
    run_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    map_index=st.integers(-1, 10**6),
    try_number=st.integers(0, 99),
)
def test_an_owner_is_read_as_it_was_written_whatever_the_run_is_called(
    run_id: str, map_index: int, try_number: int
) -> None:
    read = Owner.parse(f"my.dag/{run_id}/group.task/{map_index}/{try_number}")

    assert read == Owner(
        dag_id="my.dag", run_id=run_id, task_id="group.task", map_index=map_index, try_number=try_number
    )


@pytest.mark.parametrize(
    "text", ["", "d", "d/r/t/-1", "d/r/t/x/1", "d/r/t/1/-1", "/r/t/1/1", "d/r//1/1", "d/r/t/--1/1"]
)
def test_what_is_no_owner_is_none(text: str) -> None:
    assert Owner.parse(text) is None


def test_the_table_has_a_line_for_each_job_under_its_headings() -> None:
    findings = [
        judge(_job(), Answer(found=False), now=NOW, rules=RULES),
        judge(_job("odd"), None, now=NOW, rules=RULES),
    ]

    assert table(findings).splitlines() == [
        "VERDICT  JOB  STATUS   OWNER  WHY",
        "orphan   j    Running  d r t  its task is gone",
        "kept     j    Running  odd    carries an owner that cannot be read",
    ]


def _entry(name: str, status: str, created: str, owner: str = "d/r/t/-1/1") -> dict[str, Any]:
    properties = {"status": status, "properties": {OWNER_PROPERTY: owner} if owner else {}}
    return {"name": name, "properties": properties, "systemData": {"createdAt": created}}


NEXT = f"{WORKSPACE.url}/jobs?page=2"


def test_only_living_jobs_with_an_owner_are_listed_over_all_pages() -> None:
    first = [_entry("a", "Running", "2027-01-15T07:00:00+00:00"), _entry("b", "Completed", "2027-01-15T07:00:00Z")]
    second = [_entry("c", "Queued", ""), _entry("d", "Running", "2027-01-15T07:00:00Z", owner="")]
    talk = Talk()

    found = talk.hold(
        orphans.living(WORKSPACE, since=0),
        [answer(200, {"value": first, "nextLink": NEXT}), answer(200, {"value": [*second, {"name": "broken"}]})],
    )

    assert [(one.job.name, one.created_at) for one in found] == [("a", 1_799_996_400.0), ("c", None)]
    assert talk.asked[1].url == NEXT


def test_reading_ends_with_a_page_on_which_everything_is_old_enough() -> None:
    old, young = _entry("a", "Running", "2020-01-01T00:00:00Z"), _entry("b", "Running", "2028-01-01T00:00:00Z")
    pages = [answer(200, {"value": [young, old], "nextLink": NEXT}), answer(200, {"value": [old], "nextLink": NEXT})]

    found = Talk().hold(orphans.living(WORKSPACE, since=NOW), pages)

    assert [one.job.name for one in found] == ["b", "a", "a"]


def test_no_token_is_sent_where_a_page_points_elsewhere() -> None:
    page = {"value": [], "nextLink": "https://elsewhere.example/jobs"}

    with pytest.raises(ProtocolError, match="the token is not sent there"):
        Talk().hold(orphans.living(WORKSPACE, since=0), [answer(200, page)])
