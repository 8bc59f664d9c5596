"""What a published pipeline becomes in v2, and the command that writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.cli import migration
from airflow_azureml.core.migration import ENDPOINT_NAME, Migration, quoted
from airflow_azureml.core.published import Kind, Parameter, Published
from airflow_azureml.errors import ConfigError

GUID = "11111111-2222-3333-4444-555555555555"
STORED = "azureml://datastores/blobs/paths/"
ENTITY: dict[str, Any] = {
    "Id": GUID,
    "Name": "Score: patients (daily)",
    "Description": 'Scores "it"\nevery day',
    "Version": "1.0",
    "TotalRunSteps": 3,
    "ContinueRunOnStepFailure": True,
    "ParameterAssignments": {"untold": "x"},
    "Interface": {
        "Parameters": [
            {"Name": "max rows", "DefaultValue": "10", "IsOptional": True, "Type": "0"},
            {"Name": "loud", "DefaultValue": "True", "IsOptional": True, "Type": "0"},
            {"Name": "rate", "DefaultValue": "0.5", "IsOptional": True, "Type": "Double"},
            {"Name": "odd", "DefaultValue": "many", "IsOptional": True, "Type": "Int"},
            {"Name": "word", "DefaultValue": None, "IsOptional": False, "Type": "String"},
        ],
        "DataPathParameters": [
            {"Name": "data", "DefaultValue": {"DataStoreName": "blobs", "RelativePath": "in/"}, "IsOptional": True},
            {"Name": "out", "DefaultValue": {"DataStoreName": "blobs", "RelativePath": "out/"}, "IsOptional": True},
        ],
        "DataPathParameterList": [{"Name": "ds", "DefaultValue": {"SavedDataSetReference": {"Id": GUID}}}],
    },
}
PUBLISHED = Published.from_wire(ENTITY, ENTITY["Interface"])
#: Runs in a process of its own: azure-ai-ml takes seconds to import and changes the environment of its process.
READ = """
import json, logging, sys
from pathlib import Path
from azure.ai.ml import load_batch_endpoint, load_component
from azure.ai.ml.entities._load_functions import load_pipeline_component_batch_deployment  # the CLI's; not exported

logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
folder = Path(sys.argv[1])
component, endpoint = load_component(folder / "component.yml"), load_batch_endpoint(folder / "endpoint.yml")
deployment = load_pipeline_component_batch_deployment(folder / "deployment.yml")
print(json.dumps({
    "component": [component.name, component.version, component._validate().error_messages],
    "inputs": {name: [port.type, port.default] for name, port in component.inputs.items()},
    "outputs": {name: port.type for name, port in component.outputs.items()},
    "steps": list(component.jobs),
    "endpoint": endpoint.name,
    "deployment": [deployment.endpoint_name, deployment.component, deployment.settings],
}))
"""


def test_azure_ai_ml_reads_the_files_and_finds_no_fault(tmp_path: Path) -> None:
    file, folder = tmp_path / "published.json", tmp_path / "v2"
    file.write_text(json.dumps(ENTITY))
    command = [sys.executable, "-m", "airflow", "azureml", "migrate-published", "--file", str(file)]
    command += ["--folder", str(folder), "--compute", "cpu-cluster", "--output", "out"]
    variables = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow")}
    wrote = subprocess.run(command, env=variables, check=False, capture_output=True, text=True, timeout=120)
    assert wrote.returncode == 0, wrote.stderr

    read = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], check=False, capture_output=True, text=True, timeout=120
    )

    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout.splitlines()[-1]) == {
        "component": ["score_patients_daily", "1.0", {}],
        "inputs": {
            "untold": ["string", "x"],
            "max_rows": ["integer", 10],
            "loud": ["boolean", True],
            "rate": ["number", 0.5],
            "odd": ["string", "many"],
            "word": ["string", None],
            "data": ["uri_folder", None],
            "ds": ["mltable", None],
        },
        "outputs": {"out": "uri_folder"},
        "steps": ["steps"],
        "endpoint": "score-patients-daily",
        "deployment": [
            "score-patients-daily",
            "score_patients_daily:1.0",
            {"continue_on_step_failure": "True", "force_rerun": "True", "default_compute": "cpu-cluster"},
        ],
    }


def test_what_cannot_be_carried_over_is_said_where_it_is_missed() -> None:
    made = Migration.of(PUBLISHED, outputs=["out"])

    for words in (
        "# NOT CARRIED OVER: the steps (3).",
        f'# NOT CARRIED OVER: its default, "{STORED}in/".',
        f'# NOT CARRIED OVER: its default, "{GUID}".',
        '# In v1 its name is "max rows".',
        "# v1 does not tell its type",
        f'# v1 wrote to "{STORED}out/" by default',
        "# NOT CARRIED OVER: schedules",
    ):
        assert words in made.component
    assert "# NOT CARRIED OVER: the compute" in made.deployment
    assert '#     pipeline=BatchEndpoint("score-patients-daily", deployment="migrated")' in made.deployment


def test_the_steps_that_are_missing_fail_until_they_are_written() -> None:
    step = yaml.safe_load(Migration.of(PUBLISHED).component)["jobs"]["steps"]

    done = subprocess.run(["bash", "-c", step["component"]["command"]], check=False, capture_output=True, text=True)  # noqa: S607  # as Azure ML does
    assert (done.returncode, done.stderr) == (1, "Put the steps of the published pipeline here.\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"outputs": ["outt"]}, "outt is no parameter of the published pipeline"),
        ({"endpoint": "no name"}, "'no name' is no name of a batch endpoint"),
        ({"endpoint": "x"}, "'x' is no name of a batch endpoint"),
    ],
)
def test_what_is_asked_for_wrongly_is_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Migration.of(PUBLISHED, **options)


#: Words that YAML takes for something else, and names that are one in v2, are as likely as any other text.
texts = st.one_of(
    st.text(max_size=6), st.sampled_from(["false", "null", "y", "Y", "a b", "a_b", "A-B", "1", "p_1", "True", ""])
)


@given(st.text(max_size=40))
def test_any_text_is_one_scalar_on_one_line(text: str) -> None:
    written = quoted(text)

    assert written.isascii()
    assert written.isprintable()
    assert yaml.safe_load(written) == text


@settings(deadline=None, max_examples=60)
@given(
    texts,
    texts,
    st.dictionaries(
        texts, st.builds(Parameter, kind=st.sampled_from(Kind), required=st.booleans(), default=texts), max_size=4
    ),
    st.sets(st.integers(0, 3)),
)
def test_whatever_is_published_becomes_yaml_with_all_its_parameters(
    name: str, version: str, parameters: dict[str, Parameter], chosen: set[int]
) -> None:
    outputs = {was for number, was in enumerate(parameters) if number in chosen}
    odd = evolve(PUBLISHED, name=name, description=name, version=version, parameters=parameters)

    made = Migration.of(odd, outputs=outputs)

    component, endpoint, deployment = (yaml.safe_load(text) for text in made.files.values())
    inputs = component.get("inputs", {})
    assert len(inputs) == len(parameters) - len(outputs)
    assert len(component.get("outputs", {})) == len(outputs)
    assert all(each.isidentifier() for each in inputs)
    assert set(component["jobs"]["steps"].get("inputs", {})) == set(inputs)
    assert ENDPOINT_NAME.fullmatch(endpoint["name"])
    assert endpoint["name"] == deployment["endpoint_name"]
    assert deployment["component"] == f"azureml:{component['name']}:{component['version']}"
    python: dict[str, Any] = {"integer": int, "number": (int, float), "boolean": bool, "string": str}
    for each in inputs.values():
        if "default" in each:
            assert isinstance(each["default"], python[each["type"]]), each


def args(**given: Any) -> Namespace:
    said = {"id": "", "conn_id": "azureml_default", "file": "", "folder": "", "endpoint": "", "compute": ""}
    return Namespace(**{**said, "output": None, **given})


def test_without_a_folder_the_files_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.json").write_text(json.dumps(ENTITY))

    migration.migrate_published(args(file=str(tmp_path / "p.json")))

    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("# ----")] == [
        "# ---- component.yml",
        "# ---- endpoint.yml",
        "# ---- deployment.yml",
    ]


@pytest.mark.parametrize(
    ("content", "told"), [("{", "cannot be read as JSON"), ("[]", "no JSON object"), ("{}", "without its Id")]
)
def test_a_file_that_is_none_is_told(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "p.json").write_text(content)

    with pytest.raises(SystemExit, match=told):
        migration.migrate_published(args(file=str(tmp_path / "p.json")))


def test_no_file_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(ENTITY))
    (tmp_path / "endpoint.yml").write_text("mine")

    with pytest.raises(SystemExit, match=r"endpoint.yml is in .* already, and nothing was written"):
        migration.migrate_published(args(file=str(tmp_path / "p.json"), folder=str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["endpoint.yml", "p.json"]


def test_neither_id_nor_file_is_told() -> None:
    with pytest.raises(SystemExit, match="Name the published pipeline by its id"):
        migration.migrate_published(args())


def test_the_command_line_of_airflow_loads_nothing_of_azure() -> None:
    heavy = "{m.split('.')[0] for m in sys.modules} & {'azure', 'aiohttp', 'mlflow', 'pandas', 'requests'}"
    script = (
        f"import airflow.cli.cli_config, sys; before = {heavy}; import airflow_azureml.cli as cli;"
        f" cli.get_cli_commands(); print({heavy} - before)"
    )

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "set()"
