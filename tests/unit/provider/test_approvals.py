"""What whoever decides is shown, and what becomes of what they say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.approvals import MOST_SHOWN, Approval, Question, plain
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.operators.approval import AzureMLApprovalOperator
from tests.unit.provider.evidence_world import NO, SHA, YES, approvals, texts

AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


@attrs.define
class Instance:
    """What a task sees of its instance."""

    task: Any
    map_index: int = -1
    pushed: dict[str, Any] = attrs.field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def operator(**more: Any) -> Any:
    """The task, with two behind it, one of them a teardown."""
    with DAG("asking", schedule=None):
        made = AzureMLApprovalOperator(task_id="approve", what="promote m to production", **more)
        made >> EmptyOperator(task_id="publish")
        made >> EmptyOperator(task_id="clean").as_teardown()
    return made


def answer(task: Any, chosen: str, who: str | None = "ada", **more: Any) -> Instance:
    """Let the task go on with an answer, as the scheduler does."""
    person = None if who is None else {"id": who, "name": who}
    told = {"chosen_options": [chosen], "responded_by_user": person, "responded_at": AT, "params_input": {}}
    instance = Instance(task)
    try:
        returned = task.execute_complete({"ti": instance, "task": task}, {**told, **more})
    except DownstreamTasksSkipped as skip:
        instance.pushed["skipped"] = set(skip.tasks)
    else:
        assert returned == instance.pushed["return_value"]
    return instance


@given(approvals)
def test_an_approval_is_read_as_it_was_written(some: Approval) -> None:
    assert Approval.from_wire(some.to_wire()) == some


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"approved": "yes", "by": "ada", "at": "2026-11-21T20:00:00+00:00"},
        {"approved": True, "by": "", "at": "2026-11-21T20:00:00+00:00"},
        {"approved": True, "by": "ada", "at": "2026-11-21T20:00:00"},
        {"approved": True, "by": "ada", "at": "yesterday"},
    ],
)
def test_what_is_no_approval_is_none(raw: object) -> None:
    with pytest.raises(ProtocolError):
        Approval.from_wire(raw)


def test_a_question_shows_all_that_is_needed_to_decide() -> None:
    shown = Question(
        sha=SHA,
        diff_url="https://example.com/compare/a...b?x=1",
        verdicts={"gate": YES, "integration checks": NO},
        metrics={"rmse": 50.123456789},
        facts={"Cost": "12.40 EUR", "Nothing": ""},
        links={"Job": "https://ml.azure.com/runs/train-1"},
    ).markdown

    assert f"| Commit | `{SHA}` |" in shown
    assert "| Changes | [what changes](https://example.com/compare/a...b?x=1) |" in shown
    assert "| Cost | 12.40 EUR |" in shown
    assert "Nothing" not in shown
    assert "### gate: accepted" in shown
    assert "### integration checks: rejected" in shown
    assert "| **no** | rmse at most 60 | It is 70. |" in shown
    assert "| rmse | 50.1235 |" in shown


def test_what_does_not_hold_is_shown_before_what_does_and_never_left_out() -> None:
    bad = [Finding(check=f"bad{number}", passed=False, reason="no") for number in range(MOST_SHOWN + 5)]
    good = [Finding(check=f"good{number}", passed=True, reason="ok") for number in range(MOST_SHOWN + 5)]
    shown = Question(verdicts={"gate": Verdict(subject="m", policy="p", findings=[*good, *bad])}).markdown

    assert all(f"| bad{number} |" in shown for number in range(MOST_SHOWN + 5))
    assert shown.index("bad0") < shown.index("good0")
    assert "| yes | 5 more |" in shown


def test_a_step_is_not_shown_to_have_measured_what_its_job_tells_too() -> None:
    shown = Question(metrics={"rmse": 50.0, "evaluate.rmse": 50.0, "train.rmse": 40.0, "train.loss": 1.0}).markdown

    assert "| rmse | 50 |" in shown
    assert "evaluate.rmse" not in shown
    assert "| train.rmse | 40 |" in shown
    assert "| train.loss | 1 |" in shown


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://x/) [y](z", "file:///etc", "https://x y", "ftp://x"])
def test_what_is_no_address_of_the_web_is_no_link(url: str) -> None:
    shown = Question(diff_url=url, links={"job": url}).markdown

    assert "](" not in shown


@given(st.text(alphabet="a|[]<>*_`\\\n\t &", max_size=12) | texts)
def test_a_text_from_outside_is_one_line_without_markup(text: str) -> None:
    shown = plain(text)

    assert "\n" not in shown
    assert "<" not in shown
    assert not set("|[]*_`") & set(re.sub(r"\\.", "", shown))


def test_a_yes_goes_on_and_says_who_gave_it() -> None:
    done = answer(operator(), "Approve", "ada", params_input={"note": "looks good"})

    wanted = {"approved": True, "by": "ada", "at": "2026-11-21T20:00:00+00:00", "note": "looks good"}
    assert done.pushed == {"return_value": wanted}


def test_a_no_skips_what_follows_but_for_teardowns_and_says_who_gave_it() -> None:
    done = answer(operator(), "Reject", "eve", params_input={"note": "too slow"})

    assert done.pushed["skipped"] == {"publish"}
    assert done.pushed["return_value"]["approved"] is False
    assert done.pushed["return_value"]["by"] == "eve"
    assert done.pushed["return_value"]["note"] == "too slow"


def test_a_question_that_nobody_answered_is_a_no_of_nobody() -> None:
    done = answer(operator(deadline=timedelta(hours=2)), "Reject", None, timedout=True, params_input={"note": ""})

    assert done.pushed["skipped"] == {"publish"}
    assert done.pushed["return_value"] == {
        "approved": False,
        "by": "nobody",
        "at": "2026-11-21T20:00:00+00:00",
        "note": "Nobody answered within 2:00:00.",
    }


@pytest.mark.parametrize(("who", "named"), [("eve", "eve"), (None, "nobody")])
def test_a_yes_of_somebody_who_may_not_fails_the_task(who: str | None, named: str) -> None:
    task = operator(approvers=["ada", {"id": "3", "name": "Grace"}])

    with pytest.raises(AirflowFailException, match=rf"{named} has approved, and only ada, 3 may\. Nothing was done"):
        answer(task, "Approve", who)


def test_a_yes_of_nobody_is_none_even_where_anybody_may() -> None:
    with pytest.raises(AirflowFailException, match="nobody has approved, and only a person may"):
        answer(operator(), "Approve", None)


def test_a_no_of_somebody_who_may_not_is_a_no() -> None:
    done = answer(operator(approvers=["ada"]), "Reject", "eve")

    assert done.pushed["skipped"] == {"publish"}


def test_a_person_with_a_number_for_an_id_is_named() -> None:
    who = {"id": "3", "name": "Grace"}
    done = answer(operator(approvers=[who]), "Approve", responded_by_user=who)

    assert done.pushed["return_value"]["by"] == "Grace (3)"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"verdicts": {"gate": "yes"}}, "The verdict 'gate' is 'yes'"),
        ({"verdicts": {"gate": {"schema": 9}}}, "The verdict 'gate' cannot be read"),
        ({"result": "train-1"}, "result is 'train-1'"),
        ({"metrics": {"rmse": "low"}}, "A metric is no number"),
    ],
)
def test_what_cannot_be_shown_is_not_asked(more: dict[str, Any], words: str) -> None:
    task = operator(**more)

    with pytest.raises(AirflowFailException, match=words):
        task.execute({"ti": Instance(task)})


def test_the_form_has_a_note_and_what_the_task_asks_and_no_parameter_of_the_dag() -> None:
    with DAG("asking", schedule=None, params={"sha": SHA}, default_args={"execution_timeout": timedelta(hours=1)}):
        made = AzureMLApprovalOperator(task_id="approve", what="go on", params={"ticket": "T-1"})
        plain_one = AzureMLApprovalOperator(task_id="approve_too", what="go on")

    assert set(made.serialized_params) == {"note", "ticket"}
    assert set(plain_one.serialized_params) == {"note"}
    assert made.response_timeout == timedelta(days=7)


@pytest.mark.parametrize("name", ["body", "defaults", "assigned_users", "response_timeout"])
def test_what_the_operator_says_itself_is_not_to_be_said(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} of an approval is this operator's own"):
        operator(**{name: "Approve"})
