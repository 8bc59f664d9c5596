"""Parallel and sweep nodes as what runs them: what is wrong is said, and nothing of the shell is in a command."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.batch_driver import Settings
from azureml_emulator.parallel import as_command
from azureml_emulator.sampling import Sweep
from azureml_emulator.steps import SpecificationError, substitute
from azureml_emulator.sweep_steps import as_component

TASK = {"type": "run_function", "entry_script": "score.py", "code": "azureml:c", "environment": "azureml:e"}
PARALLEL: dict[str, Any] = {
    "name": "score",
    "type": "parallel",
    "inputs": {"data": {"type": "uri_folder"}, "word": {"type": "string"}},
    "outputs": {"rows": {"type": "uri_file"}},
    "input_data": "${{inputs.data}}",
    "mini_batch_size": "2",
    "task": TASK,
}
TRIAL = {
    "name": "train",
    "type": "command",
    "command": "train ${{inputs.rate}} ${{inputs.data}} ${{ inputs.rate }}",
    "inputs": {"rate": {"type": "number"}, "data": {"type": "uri_folder"}},
    "outputs": {"model": {"type": "uri_folder"}},
}
SWEEP: dict[str, Any] = {
    "search_space": {"rate": {"type": "choice", "values": [1, 2]}},
    "sampling_algorithm": "grid",
    "objective": {"goal": "minimize", "primary_metric": "loss"},
    "limits": {"max_total_trials": 4, "timeout": 60},
}


def lines(component: dict[str, Any], **values: str) -> list[str]:
    filled = substitute(component["command"], {"inputs.data": "/in", "outputs.rows": "/out", **values})
    return filled.split("\n")


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)
)
def test_whatever_a_value_is_the_script_gets_it_as_it_would_from_a_shell(word: str) -> None:
    task = TASK | {"program_arguments": "--word ${{inputs.word}}", "append_row_to": "${{outputs.rows}}"}
    made = lines(as_command(PARALLEL | {"task": task}, {}, whose="Node s"), **{"inputs.word": shlex.quote(word)})

    first, settings, data, model, rows, arguments, end, _ = made
    assert [data, model, rows] == ["/in", "", "/out"]
    assert shlex.split(arguments) == ["--word", word]
    assert first.endswith(f"<<'{end}'")
    assert Settings(**json.loads(settings)).mini_batch_size == 2


def test_a_nodes_own_settings_go_over_its_components() -> None:
    node = {"mini_batch_size": 5, "retry_settings": {"max_retries": 0, "timeout": 7}, "mini_batch_error_threshold": 3}

    told = Settings(**json.loads(lines(as_command(PARALLEL, node, whose="Node s"))[1]))

    assert [told.mini_batch_size, told.max_tries, told.timeout_s, told.thresholds] == [5, 1, 7.0, (-1, 3)]


def test_a_node_says_the_same_command_each_time_so_that_it_can_be_reused() -> None:
    one, other = (as_command(PARALLEL, {}, whose="Node s")["command"] for _ in range(2))

    assert one == other


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": {}}, "Node s is parallel and has no task with an entry_script."),
        ({"task": {"entry_script": "../score.py"}}, "Node s: its entry_script is no path within its code."),
        (
            {"input_data": "${{inputs.rows}}"},
            "Node s: input_data is '${{inputs.rows}}', which names none of: data, word.",
        ),
        (
            {"inputs": {"data": {"type": "mltable"}}},
            "Node s hands out a mltable: the emulator runs parallel steps over",
        ),
        ({"partition_keys": ["a"]}, "Node s hands out partitions: the emulator runs parallel steps over"),
        ({"mini_batch_size": "some"}, "Node s is parallel, and one of its numbers is none: "),
        ({"logging_level": "LOUD"}, "Node s: logging_level LOUD is none of Python's."),
    ],
)
def test_what_is_wrong_in_a_parallel_node_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecificationError) as raised:
        as_command(PARALLEL | changes, {}, whose="Node s")

    assert str(raised.value).startswith(sentence)


def test_a_sweep_node_is_a_sweep_whose_trials_take_what_is_searched_from_the_search_space() -> None:
    made = as_component(TRIAL, SWEEP, whose="Node s")

    told = Sweep.from_wire(made["sweep"])
    assert made["sweep"]["trial"]["command"] == ("train ${{search_space.rate}} ${{inputs.data}} ${{search_space.rate}}")
    assert [*made["inputs"]] == ["data"]
    assert told.trials(name="x") == [{"rate": 1}, {"rate": 2}]
    assert [told.goal, told.metric, told.timeout_s, told.most_trials] == ["minimize", "loss", 60.0, 4]


@pytest.mark.parametrize(
    ("said", "wire"),
    [
        ({"type": "uniform", "min_value": 0.1, "max_value": 1}, ["uniform", [0.1, 1]]),
        ({"type": "qlognormal", "mu": 0, "sigma": 1, "q": 2}, ["qlognormal", [0, 1, 2]]),
        ({"type": "randint", "upper": 5}, ["randint", [5]]),
    ],
)
def test_a_distribution_is_written_as_a_sweep_job_has_it(said: dict[str, Any], wire: list[Any]) -> None:
    made = as_component(TRIAL, SWEEP | {"search_space": {"rate": said}}, whose="Node s")

    assert made["sweep"]["searchSpace"] == {"rate": wire}


@pytest.mark.parametrize("said", ["choice", {"type": "choice"}, {"type": "uniform", "min_value": 1}, {"type": "other"}])
def test_what_is_no_distribution_is_said(said: Any) -> None:
    with pytest.raises(SpecificationError, match=r"Node s: rate of the search space is .* which is none of choice, "):
        as_component(TRIAL, SWEEP | {"search_space": {"rate": said}}, whose="Node s")
