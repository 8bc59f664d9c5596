"""The tasks of a promotion, and what it came to."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup
from airflow.sdk.exceptions import AirflowFailException
from jinja2 import Template

from airflow_azureml.core.environments import RequiredEvidence
from airflow_azureml.core.promotion_outcomes import PromotionOutcome
from airflow_azureml.errors import ConfigError
from airflow_azureml.task_groups.promotion import (
    Environment,
    Subset,
    Training,
    TrainingData,
    promote_code,
    promote_hybrid,
    promote_model,
)
from airflow_azureml.task_groups.promotion_releases import is_of

STORE = "azureml://datastores/workspaceblobstore/paths"
DATA = TrainingData(uri=f"{STORE}/training-data/")
TRAINING = Training(model="m", pipeline="training", policy="gate.yaml", outputs=f"{STORE}/out/", data=DATA)
DEV = Environment("dev", conn_id="d", suffix="-dev")
STAGING = Environment("staging", conn_id="s", suffix="-staging")
PRODUCTION = Environment("production", conn_id="p", protected=True)
CODE: dict[str, Any] = {
    "folder": "pipelines",
    "sha": "HEAD",
    "training": TRAINING,
    "subset": Subset(fraction=0.5),
    "approval": {"approvers": ["ada"]},
}
MODEL: dict[str, Any] = {
    "sha": "HEAD",
    "training": TRAINING,
    "registry": "models",
    "folder": "pipelines",
    "approval": {"approvers": ["ada"]},
}


def tasks_of(kind: Any, environments: list[Environment], **told: Any) -> dict[str, BaseOperator]:
    """Make the group; its tasks, by their names in it."""
    with DAG("promote", schedule=None) as dag:
        kind("g", environments=environments, **told)
    return {name.removeprefix("g."): task for name, task in dag.task_dict.items() if isinstance(task, BaseOperator)}


def reached(tasks: dict[str, BaseOperator], start: str) -> set[str]:
    """Name the tasks that come after one, by whatever way."""
    found: set[str] = set()
    todo = [start]
    while todo:
        after = {name.removeprefix("g.") for name in tasks[todo.pop()].downstream_task_ids}
        todo += after - found
        found |= after
    return found


@pytest.mark.parametrize(
    ("kind", "told"),
    [(promote_code, CODE), (promote_model, MODEL), (promote_hybrid, MODEL)],
    ids=["code", "model", "both"],
)
def test_nothing_leads_into_production_but_the_recorded_approval_or_that_it_was_passed_before(
    kind: Any, told: dict[str, Any]
) -> None:
    tasks = tasks_of(kind, [DEV, STAGING, PRODUCTION], **told)

    into = {
        name.removeprefix("g.")
        for task_id, task in tasks.items()
        for name in task.upstream_task_ids
        if task_id.startswith("production.") and not name.startswith("g.production.")
    }
    assert into == {"staging.approved", "staging.passed"}
    assert tasks["production.enter"].trigger_rule.value == "none_failed_min_one_success"
    assert reached(tasks, "production.enter") >= {"production.require", "production.evidence", "outcome"}
    writers = [
        name for name in tasks if name.startswith("production.") and name.split(".")[1] not in ("enter", "passed")
    ]
    assert set(writers) - {"production.require"} <= reached(tasks, "production.require")


def test_each_environment_has_its_own_endpoint_and_connection_and_the_subset_is_read_by_production() -> None:
    tasks = tasks_of(promote_code, [DEV, STAGING, PRODUCTION], **CODE)

    trained: list[Any] = [tasks["dev.train"], tasks["staging.train"], tasks["production.model.train"]]
    assert [(each.pipeline.name, each.conn_id) for each in trained] == [
        ("training-dev", "d"),
        ("training-staging", "s"),
        ("training", "p"),
    ]
    subset: Any = tasks["staging.subset"]
    assert (subset.source, subset.source_conn_id, subset.conn_id) == (DATA.uri, "p", "s")
    assert "subset" in str(trained[1].inputs["partitions"]["uri"])
    assert trained[2].inputs["partitions"]["uri"] == DATA.uri
    assert "dev.approve" not in tasks
    assert tasks["staging.require"].environment == "dev"  # type: ignore[attr-defined]  # ours


def test_the_gate_of_production_goes_on_in_its_own_group_though_another_further_out_has_such_a_name() -> None:
    gate: Any = tasks_of(promote_code, [STAGING, PRODUCTION], **CODE)["production.model.gate"]

    assert gate._ways() == (["g.production.model.register"], ["g.production.model.outcome"])


def test_evidence_of_production_has_the_digests_of_the_partitions_that_were_tested() -> None:
    tested = {**CODE, "training": attrs.evolve(TRAINING, data=TrainingData(uri=DATA.uri, tests="tests.yaml"))}

    plain: Any = tasks_of(promote_code, [STAGING, PRODUCTION], **CODE)["production.evidence"]
    known: Any = tasks_of(promote_code, [STAGING, PRODUCTION], **tested)["production.evidence"]

    assert plain.data == [DATA.uri]
    assert "g.production.model.test_data" in known.upstream_task_ids


@attrs.frozen
class TaskInstance:
    plan: Any

    def xcom_pull(self, task_ids: str) -> Any:
        assert task_ids == "g.plan"
        return self.plan


@pytest.mark.parametrize(
    ("authentication", "plan", "fault"),
    [
        ("default", {"steps": {"production": ["run"]}}, "Environment 'production' is protected, and connection 'p'"),
        ("managed_identity", None, "Task g.plan has left no plan for environment production: None"),
        ("managed_identity", {"steps": {"staging": []}}, "has left no plan for environment production"),
    ],
)
def test_production_is_not_entered_by_a_person_nor_without_a_plan(
    monkeypatch: pytest.MonkeyPatch, authentication: str, plan: Any, fault: str
) -> None:
    place = {"subscription_id": str(uuid.UUID(int=1)), "resource_group": "g", "workspace": "w"}
    extra = {**place, "authentication": authentication}
    monkeypatch.setenv("AIRFLOW_CONN_P", json.dumps({"conn_type": "azureml", "extra": extra}))
    enter: Any = tasks_of(promote_code, [STAGING, PRODUCTION], **CODE)["production.enter"]
    context: Any = {"ti": TaskInstance(plan)}

    with pytest.raises(AirflowFailException, match=fault):
        enter.execute(context)


def test_without_approval_nobody_is_asked_and_evidence_leads_on() -> None:
    tasks = tasks_of(promote_code, [STAGING, PRODUCTION], **{**CODE, "approval": None})

    assert "staging.approve" not in tasks
    assert {"g.staging.evidence", "g.staging.passed"} == tasks["production.enter"].upstream_task_ids
    assert tasks["production.require"].approved is False  # type: ignore[attr-defined]  # ours


def test_a_release_follows_the_evidence_of_production() -> None:
    def release(model: Any) -> BaseOperator:
        assert model is not None
        return BaseOperator(task_id="release")

    code = tasks_of(promote_code, [STAGING, PRODUCTION], **CODE, release=release)
    model = tasks_of(promote_model, [STAGING, PRODUCTION], **MODEL, release=release)

    # By whichever way it comes there: this run has made the version, or one before it, which was not released.
    assert code["production.champion"].upstream_task_ids == {"g.production.evidence", "g.production.passed"}
    assert code["production.champion"].trigger_rule.value == "none_failed_min_one_success"
    assert code["production.release"].upstream_task_ids == {"g.production.ours"}
    assert code["production.ours"].upstream_task_ids == {"g.production.proven", "g.production.champion"}
    assert model["production.release"].upstream_task_ids == {"g.production.verify"}
    assert model["production.evidence"].upstream_task_ids >= {"g.production.release"}


def test_a_model_is_tested_before_its_evidence_is_recorded() -> None:
    def test(environment: Environment, shared: Any) -> TaskGroup:
        assert "registered_in" in shared or "registries/models" in shared
        with TaskGroup("test") as group:
            BaseOperator(task_id=f"smoke_{environment.name}")
        return group

    tasks = tasks_of(promote_model, [DEV, STAGING, PRODUCTION], **MODEL, test=test)

    assert tasks["staging.evidence"].upstream_task_ids >= {"g.staging.test.smoke_staging"}
    assert tasks["dev.evidence"].upstream_task_ids >= {"g.dev.test.smoke_dev"}


@pytest.mark.parametrize(
    ("environments", "told", "faults"),
    [
        ([PRODUCTION], {}, ["it needs two environments at least"]),
        ([STAGING, PRODUCTION], {"folder": ""}, ["folder is empty"]),
        ([STAGING, PRODUCTION], {"subset": Subset()}, ["give one of fraction and rows"]),
        (
            [STAGING, PRODUCTION],
            {"training": Training(model="a/b", pipeline="", policy="p", outputs="s3://x/")},
            ["model 'a/b' is no model's name", "pipeline is empty", "outputs is 's3://x/'"],
        ),
    ],
)
def test_all_that_is_wrong_is_said_when_the_dag_is_read(
    environments: list[Environment], told: dict[str, Any], faults: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        tasks_of(promote_code, environments, **{**CODE, **told})

    assert str(error.value).startswith("promote_code('g'): ")
    assert [fault for fault in faults if fault not in str(error.value)] == []


YES = {"accepted": True, "findings": []}
NO = {"accepted": False, "findings": [{"passed": False, "reason": "rmse is 90."}, {"passed": True, "reason": "ok"}]}
HERE = {"staging": {"passed": False}, "production": {"passed": False}}


@pytest.mark.parametrize(
    ("left", "outcome", "sentence"),
    [
        (
            {
                "verdicts": {"staging": YES, "production": YES},
                "approvals": {"staging": {"approved": True, "by": "ada"}},
                "entered": HERE,
                "final": {"model": "m:3"},
            },
            ("promoted", "production", "ada"),
            "Model m of commit abc is in production, as m:3.",
        ),
        (
            {"verdicts": {"staging": NO}, "approvals": {}, "entered": {"staging": {"passed": False}}, "final": None},
            ("rejected", "staging", ""),
            "was rejected by the gate in staging; what users have stays. rmse is 90.",
        ),
        (
            {
                "verdicts": {"staging": YES},
                "approvals": {"staging": {"approved": False, "by": "ada", "note": "No."}},
                "entered": {"staging": {"passed": False}},
                "final": None,
            },
            ("not approved", "staging", "ada"),
            "has passed staging, and was not approved, by ada. No.",
        ),
        (
            {
                "verdicts": {"staging": YES},
                "approvals": {
                    "staging": {"approved": False, "by": "nobody", "note": "Nobody answered within 3 days, 0:00:00."}
                },
                "entered": {"staging": {"passed": False}},
                "final": None,
            },
            ("not approved", "staging", "nobody"),
            "and was not approved, by nobody. Nobody answered within 3 days, 0:00:00.",
        ),
        (
            {
                "verdicts": {"staging": YES, "production": NO},
                "approvals": {"staging": {"approved": True, "by": "ada"}},
                "entered": HERE,
                "final": None,
            },
            ("rejected", "production", "ada"),
            "was rejected by the gate in production",
        ),
        (
            {
                "verdicts": {},
                "approvals": {},
                "entered": {"staging": {"passed": True}, "production": {"passed": True}},
                "final": None,
            },
            ("was there", "production", ""),
            "was in production already; nothing was trained or registered.",
        ),
        (
            {"verdicts": {}, "approvals": {}, "entered": {"staging": {"passed": False}}, "final": None},
            ("nothing", "staging", ""),
            "went no further than staging.",
        ),
    ],
)
def test_what_a_promotion_came_to_is_told(left: dict[str, Any], outcome: tuple[str, str, str], sentence: str) -> None:
    found = PromotionOutcome.of("Model m", "abc", **left)

    assert (found.outcome.value, found.environment, found.by) == outcome
    assert sentence in found.sentence
    assert found.to_wire()["reasons"] == list(found.reasons)


def test_the_deadline_and_the_facts_of_an_approval_are_its_own() -> None:
    told = {**CODE, "approval": {"approvers": ["ada"], "deadline": timedelta(days=1), "facts": {"Ticket": "7"}}}

    approve: Any = tasks_of(promote_code, [STAGING, PRODUCTION], **told)["staging.approve"]

    assert approve.deadline == timedelta(days=1)
    assert set(approve.facts) == {"Trained on", "Cost", "Estimated cost in production", "Ticket"}
    assert set(approve.verdicts) == {"gate", "integration checks"}


@pytest.mark.parametrize(
    ("checks", "subset", "told"),
    [
        ({"cost": 1.5, "cost_text": "1.50 EUR (5.56 node hours)"}, {"rows": 100, "of": 400}, "about 6.00 EUR"),
        ({"cost": None, "cost_text": ""}, {"rows": 100, "of": 400}, ""),
        (None, None, ""),
    ],
)
def test_what_production_may_cost_is_estimated_from_the_subset(checks: Any, subset: Any, told: str) -> None:
    approve: Any = tasks_of(promote_code, [STAGING, PRODUCTION], **CODE)["staging.approve"]
    left = {"g.staging.checks": checks, "g.staging.subset": subset}
    ti = SimpleNamespace(xcom_pull=lambda task_ids: left[task_ids])

    assert Template(approve.facts["Estimated cost in production"]).render(ti=ti) == told


@pytest.mark.parametrize(
    ("proven", "champion", "is_ours"),
    [
        ({"model": "m:3"}, {"model": "m", "version": "3"}, True),
        ({"model": "m:3"}, {"model": "m", "version": "4"}, False),
        ({"model": "m:3"}, {}, False),
        ({"model": ""}, {}, False),
        (None, None, False),
    ],
)
def test_only_the_version_that_the_commit_has_made_is_released(proven: Any, champion: Any, is_ours: bool) -> None:
    assert is_of(proven, champion) is is_ours


def test_each_environment_but_the_first_refuses_a_commit_that_has_not_passed_the_one_before_even_alone() -> None:
    tasks: dict[str, Any] = tasks_of(promote_code, [DEV, STAGING, PRODUCTION], **CODE)

    asked = {name: tasks[f"{name}.publish"].environment.requires for name in ("dev", "staging", "production")}
    folder = tasks["production.require"].folder
    assert asked["dev"] is None
    assert asked["staging"] == RequiredEvidence(
        "dev", conn_id="d", most_age=timedelta(days=14), folder=folder, evidence_conn_id="azureml_evidence"
    )
    assert asked["production"] == attrs.evolve(asked["staging"], environment="staging", conn_id="s", approved=True)


@pytest.mark.parametrize("kind", [promote_code, promote_hybrid])
def test_what_trains_is_what_this_run_has_published_whatever_is_the_default_by_then(kind: Any) -> None:
    told = CODE if kind is promote_code else MODEL
    tasks: dict[str, Any] = tasks_of(kind, [STAGING, PRODUCTION], **told)
    train = tasks["staging.train" if kind is promote_code else "staging.model.train"]
    left = {"g.staging.publish": {"deployments": {"training": "ridge-1"}}}
    ti = SimpleNamespace(xcom_pull=lambda task_ids: left[task_ids])

    assert Template(train.pipeline.deployment).render(ti=ti) == "ridge-1"
    assert "g.staging.publish" in train.get_flat_relative_ids(upstream=True)
