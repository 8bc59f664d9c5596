"""What a folder holds to be published, and what is wrong with one that cannot be."""

from __future__ import annotations

import pytest

from airflow_azureml.core.bundle_parts import Kind
from airflow_azureml.errors import ConfigError
from tests.unit.provider.publishing import SCHEMAS, STEP, endpoint, folder, pipeline, read


def complaint(texts: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        read(texts)
    return str(refused.value)


def test_every_part_comes_after_those_that_it_uses() -> None:
    found = read(folder(["alpha", "beta"]))

    seen: set[str] = set()
    for part in found.parts:
        assert set(part.uses.values()) <= seen
        seen.add(part.key)
    assert {part.kind for part in found.parts} == set(Kind)


def test_an_environment_written_out_in_a_step_is_that_of_the_folder_where_it_is_the_same() -> None:
    same = read(folder())
    other = read({**folder(), "base.yml": folder()["base.yml"].replace("bookworm", "trixie")})

    assert same.part("component say").uses == {"environment": "environment base"}
    assert other.part("component say").uses == {}


def test_what_a_file_uses_is_replaced_by_the_version_that_is_published() -> None:
    found = read(folder())

    assert found.part("component alpha_pipeline").override("abc") == [
        {"version": "abc"},
        {"jobs.say.component": "azureml:say:abc"},
    ]


@pytest.mark.parametrize("written", ["azureml:say", "azureml:say@latest"])
def test_a_component_of_the_folder_may_be_named_without_its_path(written: str) -> None:
    texts = {**folder(), "alpha.yml": folder()["alpha.yml"].replace("component: say.yml", f"component: {written}")}

    assert read(texts).part("component alpha_pipeline").uses == {"jobs.say.component": "component say"}


def test_a_component_with_a_version_has_to_be_in_the_workspace() -> None:
    texts = {**folder(), "alpha.yml": folder()["alpha.yml"].replace("component: say.yml", "component: azureml:say:7")}

    (need,) = read(texts).part("component alpha_pipeline").needs

    assert (need.kind, need.name, need.version, need.told) == (
        Kind.COMPONENT,
        "say",
        "7",
        "alpha.yml: jobs.say.component",
    )


@pytest.mark.parametrize(
    ("file", "before", "after", "told"),
    [
        (
            "alpha.yml",
            "component: say.yml",
            "component: gone.yml",
            "jobs.say.component is gone.yml, and it is not there",
        ),
        ("alpha.yml", "component: say.yml", "component: compute.yml", "that file is no component"),
        ("alpha.yml", "component: say.yml", "component: azureml:gone", "there is no component gone here"),
        ("alpha.yml", "component: say.yml", "component: ../say.yml", "lies outside of the folder"),
        ("endpoints/alpha-one.yml", "../alpha.yml", "azureml:other:3", "must be a pipeline component of this folder"),
        ("endpoints/alpha-one.yml", "endpoint_name: alpha", "endpoint_name: beta", "there is no such endpoint here"),
        ("endpoints/alpha.yml", "name: alpha", "name: gamma", "endpoint gamma has no deployment here"),
        ("say.yml", "name: say", "display_name: say", "say.yml: component without a name"),
        ("say.yml", "type: command", "type: [", "say.yml, line"),
        ("publish.yaml", "word: hello", "wrod: hello", "'wrod' is no input of alpha_pipeline"),
        ("publish.yaml", "word: hello", "", "Input word of alpha_pipeline must be passed"),
        ("publish.yaml", "word: hello", "word: ./x.txt", "word is a string, and './x.txt' is a path"),
        ("publish.yaml", "word: hello", "word: '${{secrets.x}}'", "the expressions are"),
        ("publish.yaml", "alpha: {", "beta: {", "Say how endpoint alpha is smoke-run"),
        ("publish.yaml", "schema: 1", "schema: 2", "schema must be 1"),
        ("publish.yaml", "keep: 5", "keep: 16", "keep must be 15 at most"),
    ],
)
def test_a_folder_that_cannot_be_published_says_what_is_wrong_and_where(
    file: str, before: str, after: str, told: str
) -> None:
    texts = folder()
    assert before in texts[file]

    said = complaint({**texts, file: texts[file].replace(before, after, 1)})

    assert told in said
    assert file.partition("/")[2] in said or file in said or "endpoint" in said


def test_all_that_is_wrong_is_told_at_once() -> None:
    texts = folder()
    texts["say.yml"] += "code: ./src\n"
    texts["more.yml"] = endpoint("alpha")

    said = complaint(texts)

    assert "say.yml: code is ./src, and it is not there" in said
    assert "endpoints/alpha.yml and more.yml are both endpoint alpha" in said


def test_code_that_is_there_is_no_fault() -> None:
    texts = folder()
    texts["say.yml"] += "code: ./src\n"

    assert read(texts, "src/say.py").part("component say").spec["code"] == "./src"


def test_components_that_use_one_another_are_refused() -> None:
    texts = folder()
    texts["alpha.yml"] = texts["alpha.yml"].replace("say.yml", "beta.yml")
    texts["beta.yml"] = pipeline("beta_pipeline").replace("say.yml", "alpha.yml")

    assert "These use one another: alpha.yml, beta.yml" in complaint(texts)


def test_a_folder_without_a_file_of_azure_mls_is_refused() -> None:
    assert "no file in it has the $schema" in complaint({"gate.yaml": "schema: 1"})


def test_what_is_not_published_is_told() -> None:
    texts = {**folder(), "job.yml": f"$schema: {SCHEMAS}/pipelineJob.schema.json\ntype: pipeline\n"}

    assert read(texts).left == {"job.yml": "pipelineJob"}


def test_one_pipeline_alone_takes_what_it_needs_along_and_no_more() -> None:
    texts = {**folder(["alpha", "beta"]), "unused.yml": STEP.replace("name: say", "name: unused")}

    for name in ("alpha", "alpha_pipeline"):
        found = read(texts).only([name])
        keys = {part.key for part in found.parts if part.kind is Kind.COMPONENT}
        assert keys == {"component alpha_pipeline", "component say"}
        assert set(found.smoke) == {"alpha"}
    with pytest.raises(ConfigError, match="There is no pipeline gamma; there are alpha, alpha_pipeline, beta"):
        read(texts).only(["gamma"])


TAKES = "{{inputs: {{word: '${{{{smoke.{}.outputs.result}}}}'}}}}"


def test_a_smoke_run_takes_what_another_made_and_says_which() -> None:
    found = read(folder(["alpha", "beta"], smoke={"beta": TAKES.format("alpha")}))

    assert found.smoke["beta"].after == {"alpha"}
    filled = found.smoke["beta"].filled(data="", uploaded={}, made={"alpha": {"result": "azureml://x"}})
    assert filled == {"word": "azureml://x"}
    with pytest.raises(ConfigError, match="The smoke run of beta needs what that of alpha made: publish both"):
        found.only(["beta"])


@pytest.mark.parametrize(
    ("smoke", "told"),
    [
        ({"alpha": TAKES.format("beta"), "beta": TAKES.format("alpha")}, "wait for one another"),
        ({"alpha": TAKES.format("alpha")}, "wait for one another"),
        ({"alpha": TAKES.format("gamma")}, "gamma has no smoke run in this folder"),
        ({"alpha": TAKES.format("beta"), "beta": "{skip: too dear}"}, "beta has no smoke run in this folder"),
        ({"alpha": TAKES.format("beta").replace("result", "gone")}, "gone is no output of beta"),
        ({"alpha": "{skip: why, inputs: {word: x}}"}, "With skip there is nothing else"),
    ],
)
def test_smoke_runs_that_cannot_be_are_refused(smoke: dict[str, str], told: str) -> None:
    assert told in complaint(folder(["alpha", "beta"], smoke=smoke))


def test_the_environments_data_is_passed_where_it_has_some() -> None:
    run = read(folder(smoke={"alpha": "{inputs: {word: '${{environment.data}}'}, timeout: 5m}"})).smoke["alpha"]

    assert run.timeout_s == 300
    assert run.filled(data="azureml://d", uploaded={}, made={}) == {"word": "azureml://d"}
    with pytest.raises(ConfigError, match="passes the environment's data as word, and the environment has none"):
        run.filled(data="", uploaded={}, made={})
