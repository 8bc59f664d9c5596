"""Data that is tested by a job of Azure ML, on a real Azurite and a real emulator, with the real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.errors import NotReadyError
from airflow_azureml.operators.data_tests import AzureMLDataTestOperator
from demo.azure import Emulator
from demo.stack import airflow_environment
from tests.unit.provider.data_tests_world import BAD, DRIFT, GOOD, World, table, world_of

#: azure-ai-ml warns of what it uses of others when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
JOB: dict[str, Any] = {"run_on": "job", "environment": "debian:bookworm"}
PANDERA = """
import pandera.polars as pa

schema = pa.DataFrameSchema({"id": pa.Column(int), "age": pa.Column(float, pa.Check.in_range(0, 120))})
"""


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    with world_of(emulator) as made:
        yield made


def test_a_job_finds_a_shifted_column_and_the_task_does_with_it_what_it_does_with_a_workers_verdict(
    world: World,
) -> None:
    world.put("was.csv", table(2000, seed=3))
    etag = world.put("now.csv", table(2000, age=75, seed=4))
    given = {**JOB, "spec": DRIFT, "reference": world.uri("was.csv"), "on_fail": "quarantine"}

    with pytest.raises(AirflowSkipException, match="age"):
        world.test(world.arrival("now.csv", etag), **given)

    assert [each["column"] for each in world.told["failed"]] == ["age"]
    assert (world.told["rows"], world.told["etag"]) == (2000, etag)
    folder = f"{world.incoming.container_name}/now.csv/{etag}"
    assert set(world.in_quarantine()) == {
        f"{folder}/{name}" for name in ("data/now.csv", "report.html", "verdict.json")
    }
    assert b"<svg" in world.in_quarantine()[f"{folder}/report.html"]
    assert len([name for name in world.incoming.list_blob_names() if name.endswith(".profile.json")]) == 1
    assert len(world.jobs()) == 1
    with pytest.raises(AirflowSkipException, match="age"):
        world.test(world.arrival("now.csv", etag), **given)
    assert len(world.jobs()) == 1


def test_a_pandera_schema_that_stands_beside_its_rules_goes_along_to_the_job(world: World, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("schema: 1\nname: people\npandera: rules.py:schema\n")
    (tmp_path / "rules.py").write_text(PANDERA)
    world.put("a.csv", GOOD)

    told = world.test(world.uri("a.csv"), **JOB, spec=tmp_path / "rules.yaml")

    assert (told["accepted"], told["rows"]) == (True, 400)


class ReplacedWhileTheJobRuns(AzureMLDataTestOperator):
    """Its blob is replaced while the job tests it."""

    replace: Any = None

    def result(self, context: Any, job: Any, report: Any) -> Any:
        type(self).replace()
        return super().result(context, job, report)


def test_what_a_job_found_in_a_version_that_was_replaced_does_not_count(world: World) -> None:
    world.put("a.csv", BAD)
    kind = type("Replaced", (ReplacedWhileTheJobRuns,), {"replace": lambda: world.put("a.csv", GOOD)})

    with pytest.raises(NotReadyError, match=r"was replaced while job .* tested it"):
        world.test(world.uri("a.csv"), kind=kind, on_fail="quarantine", **JOB)

    assert world.in_quarantine() == {}
    assert "return_value" not in world.ti.pushed


def test_a_job_that_cannot_use_its_reference_says_so_and_is_not_tried_again(world: World) -> None:
    world.put("was.json", b"{}")
    world.put("now.csv", GOOD)

    with pytest.raises(AirflowFailException, match=r"The reference .*was.json cannot be used as a profile"):
        world.test(world.uri("now.csv"), spec=DRIFT, reference=world.uri("was.json"), **JOB)

    assert "return_value" not in world.ti.pushed
