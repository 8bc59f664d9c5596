"""What the page about publishing shows is what the code reads and gives."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from attrs import fields

from airflow_azureml.core import bundle_parts, bundles
from airflow_azureml.core.environments import Environment, chain_of
from airflow_azureml.core.marked import Marked
from airflow_azureml.core.members import Members
from airflow_azureml.core.smoke_runs import smoke_runs_of
from airflow_azureml.operators.publish import AzureMLPublishPipelineOperator
from tests.docs.reading import without_a_sentence

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/publish.md"
TEXT = PAGE.read_text()


def _shown(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def test_the_manifest_that_is_shown_is_one() -> None:
    said = Members(Marked.parse(_shown("yaml"), name="publish.md"))
    top = said.mapping((), bundles.MANIFEST_MEMBERS)
    training = {"inputs": {"fraction": {"type": "number"}}, "outputs": {"model": {"type": "uri_folder"}}}
    scoring = {"inputs": {"data": {"type": "uri_file"}, "model": {"type": "uri_folder"}}}
    runs = smoke_runs_of(
        said,
        ("smoke",),
        {"diabetes-training": training, "diabetes-scoring": scoring, "diabetes-report": {"inputs": {}}},
    )

    said.raise_faults()
    assert set(top) == set(bundles.MANIFEST_MEMBERS), "each member is shown"
    assert runs["diabetes-scoring"].after == {"diabetes-training"}
    assert [each.name for each in chain_of(top["environments"], whence="publish.md")] == ["staging", "production"]


def test_the_task_that_is_shown_is_one() -> None:
    names: dict[str, object] = {}
    exec(_shown("python"), names)  # noqa: S102  # the page's own code

    assert isinstance(names["publish"], AzureMLPublishPipelineOperator)


def test_every_field_of_an_environment_and_every_kind_of_file_is_described() -> None:
    assert [one.name for one in fields(Environment) if f"`{one.name}`" not in TEXT and one.name != "name"] == []
    assert [name for name in bundle_parts.KINDS if f"`{name}`" not in TEXT] == []


def test_every_argument_of_the_operator_has_its_sentence() -> None:
    assert without_a_sentence(AzureMLPublishPipelineOperator, but={"self", "kwargs"}) == []


def test_every_field_of_what_the_task_returns_is_described() -> None:
    names = set(re.findall(r'"(\w+)"', inspect.getdoc(AzureMLPublishPipelineOperator) or ""))

    assert len(names) == 9
    assert [name for name in sorted(names) if f"`{name}`" not in TEXT] == []
