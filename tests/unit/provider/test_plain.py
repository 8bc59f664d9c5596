"""Pipeline jobs that are published nowhere: what they take, what is put into them, and what Airflow leaves alone."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.client.credentials import LocalCredential
from airflow_azureml.core.pipelines import Declared, Invocation
from airflow_azureml.core.plain import (
    Held,
    PipelineFile,
    filled,
    held,
    interface_of,
    keeping_azure_expressions,
    named,
    released,
)
from airflow_azureml.errors import ConfigError

SAY = {"inputs": {"word": {"type": "string"}, "times": {"type": "integer"}, "rows": {"type": "uri_file"}}}
JOB: dict[str, Any] = {
    "type": "pipeline",
    "inputs": {
        "word": "hello",
        "times": 2,
        "ratio": 0.5,
        "loud": True,
        "valued": {"value": "x"},
        "rows": "azureml:rows:1",
        "data": {"type": "uri_file", "path": "azureml:data:1", "mode": "download"},
        "folder": {"path": "azureml:folder:1"},
        "needed": {"type": "mltable"},
    },
    "outputs": {"result": {"type": "uri_file", "mode": "upload"}, "rest": None},
    "jobs": {
        "inline": {
            "component": SAY,
            "inputs": {"word": "${{parent.inputs.word}}", "times": "${{ parent.inputs.times }}"},
        },
        "filed": {"component": "say.yml", "inputs": {"rows": {"path": "${{parent.inputs.rows}}"}}},
    },
    "settings": {"default_compute": "azureml:cpu", "force_rerun": False},
}

names = st.sampled_from(["word", "times", "data", "rows"])
given_literals = st.dictionaries(st.sampled_from(["word", "times"]), st.integers(0, 9))
given_data = st.dictionaries(st.sampled_from(["data", "rows"]), st.sampled_from(["azureml://a/b", "azureml:x:2"]))


def read(reference: str) -> Mapping[str, Any] | None:
    return SAY if reference == "say.yml" else None


def bound(inputs: Mapping[str, Any], outputs: Mapping[str, str] | None = None) -> Invocation:
    passed = {"needed": "azureml:table:1", **inputs}
    return Invocation.bind(
        interface_of(JOB, read), inputs=passed, outputs=outputs or {}, assets="/subscriptions/ws", pipeline="p"
    )


def test_literals_have_the_type_of_the_steps_input_they_go_to_or_of_themselves() -> None:
    types = {name: one.type for name, one in interface_of(JOB, read).inputs.items()}

    assert types == {
        "word": "string",
        "times": "integer",
        "ratio": "number",
        "loud": "boolean",
        "valued": "string",
        "rows": "uri_file",
        "data": "uri_file",
        "folder": "uri_folder",
        "needed": "mltable",
    }
    assert interface_of(JOB).inputs["rows"].type == "string", "where the component cannot be read"


def test_an_input_without_a_value_is_required_and_others_are_not() -> None:
    inputs = interface_of(JOB, read).inputs

    assert [name for name, one in inputs.items() if one.required] == ["needed"]
    assert inputs["word"].default == "hello"
    assert inputs["data"].default == "azureml:data:1"


def test_outputs_are_folders_unless_they_say_otherwise() -> None:
    assert interface_of(JOB).outputs == {"result": Declared(type="uri_file"), "rest": Declared(type="uri_folder")}


def test_steps_that_take_an_input_differently_leave_it_its_own_type() -> None:
    nodes = {
        "one": {"component": {"inputs": {"n": {"type": "integer"}}}, "inputs": {"n": "${{parent.inputs.n}}"}},
        "two": {"component": {"inputs": {"n": {"type": "string"}}}, "inputs": {"n": "${{parent.inputs.n}}"}},
    }

    assert interface_of({"type": "pipeline", "inputs": {"n": 1}, "jobs": nodes}).inputs["n"].type == "number"


def test_a_job_of_a_component_takes_what_the_component_declares() -> None:
    component = {
        "inputs": {"word": {"type": "string"}, "times": {"type": "integer", "default": 3}},
        "outputs": {"result": {"type": "uri_folder"}},
    }
    interface = interface_of({"type": "pipeline", "component": "p.yml", "inputs": {"word": "x"}}, lambda _: component)

    assert interface.inputs["word"] == Declared(type="string", default="x")
    assert interface.inputs["times"] == Declared(type="integer", default="3")
    assert interface.outputs == {"result": Declared(type="uri_folder")}


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"type": "command", "command": "x"}, "This is a command job, not a pipeline job"),
        ({"command": "x"}, "This is a command job"),
        ({"type": "pipeline", "inputs": ["word"]}, "inputs of the pipeline job is a list, not a mapping"),
        ({"type": "pipeline", "jobs": "say"}, "jobs of the pipeline job is a str, not a mapping"),
    ],
)
def test_what_is_no_pipeline_job_is_told(job: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        interface_of(job)


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        bound({"wrod": "x", "times": 1.5, "data": "here.csv", "needed": None}, {"reslut": "azureml://a", "rest": "b"})

    for words in (
        "input 'wrod' is not declared",
        "output 'reslut' is not declared",
        "required input 'needed' (mltable) is missing",
        "input 'times' is a integer, and 1.5 is none",
        "input 'data' is a uri_file, and 'here.csv' is no URI",
        "output 'rest' is a uri_folder, and 'b' is no URI",
    ):
        assert words in str(told.value)


@given(given_literals, given_data)
def test_what_is_passed_is_put_in_and_nothing_else_changes(literals: dict[str, int], data: dict[str, str]) -> None:
    before = copy.deepcopy(JOB)
    made = filled(JOB, bound({**literals, **data}), settings={"force_rerun": True}, experiment="")

    assert before == JOB
    assert made["jobs"] == JOB["jobs"]
    for name, value in literals.items():
        assert made["inputs"][name] == str(value)
    for name in data:
        assert made["inputs"][name]["type"] == "uri_file"
        assert made["inputs"][name]["path"].startswith("azureml:")
    for name in set(JOB["inputs"]) - {*literals, *data, "needed"}:
        assert made["inputs"][name] == JOB["inputs"][name]


def test_data_stays_mounted_as_it_was_and_an_assets_id_is_written_as_azure_ai_ml_reads_it() -> None:
    invocation = bound({"data": "azureml:other:2"}, {"result": "azureml://datastores/d/paths/o/"})
    made = filled(JOB, invocation, settings={}, experiment="mine")

    path = "azureml:/subscriptions/ws/data/other/versions/2"
    assert made["inputs"]["data"] == {"type": "uri_file", "path": path, "mode": "download"}
    assert made["outputs"]["result"] == {
        "type": "uri_file",
        "path": "azureml://datastores/d/paths/o/",
        "mode": "upload",
    }
    assert made["experiment_name"] == "mine"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("cpu", "azureml:cpu"),
        ("azureml:cpu", "azureml:cpu"),
        ("serverless", "serverless"),
        ("/subscriptions/x/computes/cpu", "azureml:/subscriptions/x/computes/cpu"),
    ],
)
def test_settings_go_over_the_jobs_own_and_a_compute_may_be_a_plain_name(said: str, written: str) -> None:
    made = filled(JOB, bound({}), settings={"default_compute": said, "force_rerun": True}, experiment="")

    assert made["settings"] == {"default_compute": written, "force_rerun": True}


PIECES = {
    "${{inputs.x}}": "${{inputs.x}}",
    "${{ parent.jobs.a-b.outputs.c }}": "${{ parent.jobs.a-b.outputs.c }}",
    "${{search_space.lr}}": "${{search_space.lr}}",
    "${{name}}/${{default_datastore}}": "${{name}}/${{default_datastore}}",
    "{{ ds }}": "2026-01-01",
    "${{ ds }}": "$2026-01-01",
    "{% if ds %}y{% endif %}": "y",
    "plain $ { } ": "plain $ { } ",
}


@given(st.lists(st.sampled_from(sorted(PIECES))))
def test_what_is_azures_outlasts_rendering_and_what_is_airflows_is_rendered(pieces: list[str]) -> None:
    template = keeping_azure_expressions("".join(pieces))

    rendered = jinja2.Environment(autoescape=True).from_string(template).render(ds="2026-01-01")
    assert rendered == "".join(PIECES[piece] for piece in pieces)


def test_an_author_who_shields_them_already_is_left_alone() -> None:
    shielded = "{% raw %}${{inputs.x}}{% endraw %}"

    assert keeping_azure_expressions(shielded) == shielded


class Callable:
    """Like a command of azure-ai-ml: a mapping that can be called."""

    def __call__(self) -> None:
        raise AssertionError("Airflow called it")


class CallableMapping(dict[str, Any], Callable):
    pass


@pytest.mark.parametrize("value", [None, "job.yml", Path("job.yml"), {"type": "pipeline"}, PipelineFile("p.yml")])
def test_what_airflow_can_render_is_left_to_it(value: Any) -> None:
    assert held(value) is value


@pytest.mark.parametrize("value", [Callable(), CallableMapping(), test_what_airflow_can_render_is_left_to_it, object()])
def test_what_airflow_would_call_or_copy_is_kept_out_of_its_reach(value: Any) -> None:
    kept = held(value)

    assert not callable(kept)
    assert released(kept) is value
    assert copy.deepcopy(kept) is kept
    assert held(kept) is kept


def test_what_is_kept_is_described_alike_at_every_parse() -> None:
    assert str(held(bound)) == f"{bound.__module__}.bound()"
    assert str(held(Callable())) == str(held(Callable()))
    assert " at 0x" not in str(Held(object()))


def test_azure_ai_ml_can_read_the_token_for_an_emulator_before_it_submits_a_pipeline() -> None:
    token = LocalCredential().get_token("https://ml.azure.com/.default").token

    read = jwt.decode(token, options={"verify_signature": False, "verify_aud": False})
    assert read["aud"] == "https://ml.azure.com"


def test_a_file_may_be_given_as_a_path() -> None:
    file = PipelineFile(Path("a") / "b.yml")

    assert file.path == "a/b.yml"
    assert named(file) == "pipeline file a/b.yml"


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        ({"display_name": "Score"}, "pipeline job Score"),
        ({"type": "pipeline"}, "pipeline job"),
        ({"display_name": "x" * 5000}, "pipeline job " + "x" * 100),
        (held(bound), "pipeline job of bound"),
        (held(object()), "pipeline job"),
    ],
)
def test_a_pipeline_is_named_in_a_few_words(pipeline: Any, name: str) -> None:
    assert named(pipeline) == name
