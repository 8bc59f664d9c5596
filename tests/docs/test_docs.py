"""The docs name what there is, and lead where they say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from airflow_azureml import errors
from airflow_azureml.core.results import PipelineResult
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator
from airflow_azureml.provider import CONNECTION_FIELDS
from airflow_azureml.watchers import blob_arrivals
from tests.docs.reading import without_a_sentence

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "emulator/README.md", ROOT / "pipelines/README.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_that_is_there(page: Path) -> None:
    broken = [target for target, _ in LINK.findall(page.read_text()) if not (page.parent / target).exists()]

    assert broken == []


def test_every_connection_field_is_described() -> None:
    text = (ROOT / "docs/how-to/connection.md").read_text()

    assert [name for name in CONNECTION_FIELDS if f"`{name}`" not in text] == []


def test_every_error_is_described() -> None:
    text = (ROOT / "docs/how-to/pipelines.md").read_text()
    names = [name for name, one in vars(errors).items() if inspect.isclass(one)]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_field_of_the_result_is_described() -> None:
    text = (ROOT / "docs/how-to/pipelines.md").read_text()
    fields = re.findall(r"``(\w+)``", PipelineResult.to_wire.__doc__ or "")

    assert len(fields) == 11
    assert [name for name in fields if f"`{name}`" not in text] == []


@pytest.mark.parametrize("what", [AzureMLPipelineOperator, blob_arrivals], ids=lambda what: what.__name__)
def test_every_argument_has_its_sentence(what: object) -> None:
    assert without_a_sentence(what, but={"kwargs"}) == []


def test_every_test_that_the_list_of_pains_names_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/pains.md").read_text())
    written = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }

    assert len(named) >= 12
    assert sorted(set(named) - written) == []
