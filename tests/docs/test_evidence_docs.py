"""What the pages about evidence and approval show is what the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from airflow.sdk import DAG

from airflow_azureml import errors
from airflow_azureml.client.signatures import Keys
from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import DIGEST_TAG, URI_TAG, Evidence
from airflow_azureml.operators.approval import AzureMLApprovalOperator

PAGES = {name: Path(__file__).resolve().parents[2] / f"docs/how-to/{name}.md" for name in ("evidence", "approval")}


def _shown(page: str, language: str) -> str:
    return str(re.findall(rf"```{language}\n(.*?)```", PAGES[page].read_text(), re.DOTALL)[0])


@pytest.mark.parametrize(
    ("page", "behind"),
    [
        ("evidence", {"train": {"checks", "record"}, "checks": {"record"}, "record": {"require"}, "require": set()}),
        (
            "approval",
            {
                "train": {"gate", "approve"},
                "gate": {"approve"},
                "approve": {"publish_to_production"},
                "publish_to_production": set(),
            },
        ),
    ],
)
def test_the_dag_that_is_shown_is_one(page: str, behind: dict[str, set[str]]) -> None:
    names: dict[str, Any] = {}
    exec(compile(_shown(page, "python"), f"{page}.md", "exec"), names)  # noqa: S102  # the page's own code
    tasks = names["train"].dag.tasks

    assert {task.task_id: set(task.downstream_task_ids) for task in tasks} == behind


def test_every_member_of_evidence_is_told() -> None:
    table = _section("What is in it")
    told = {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert told == {one.name for one in attrs.fields(Evidence)}


def test_every_error_of_evidence_is_told_with_its_cure() -> None:
    told = {name for row in _section("What counts") for name in re.findall(r"`(\w+Error)`", row.split("|")[1])}

    assert told == {each.__name__ for each in errors.EvidenceError.__subclasses__()}


def test_the_key_that_is_shown_is_one_and_the_tags_are_those() -> None:
    shown = Keys.parse(password=None, extra=_shown("evidence", "json"), source="the page")
    text = PAGES["evidence"].read_text()

    assert list(shown.names.values()) == ["staging 2026"]
    assert all(f"`{tag}`" in text for tag in (URI_TAG, DIGEST_TAG))


def test_the_approval_that_is_shown_can_be_read() -> None:
    found = Approval.from_wire(json.loads(_shown("approval", "json")))

    assert (found.approved, found.by, found.note) == (True, "ada", "looks good")


def test_an_approval_waits_seven_days_as_the_page_says() -> None:
    with DAG("d", schedule=None):
        made = AzureMLApprovalOperator(task_id="a", what="go on")

    assert made.response_timeout is not None
    assert made.response_timeout.days == 7


def _section(title: str) -> list[str]:
    """Give the rows of the table of a section, but for its head."""
    section = PAGES["evidence"].read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]
