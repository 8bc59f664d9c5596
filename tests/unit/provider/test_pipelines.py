import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.files import FAULT_OF_FORMAT, HEAD_BYTES, csv_fault
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import Declared, Interface, Invocation
from airflow_azureml.core.reports import Report, Step, fit, metrics_of
from airflow_azureml.core.results import MOST_BYTES, PipelineResult, check_outputs_fit
from airflow_azureml.errors import ConfigError

SPEC = {
    "properties": {
        "componentSpec": {
            "inputs": {
                "data": {"type": "uri_file", "optional": "False"},
                "model": {"type": "custom_model"},
                "limit": {"type": "integer", "default": "10"},
                "note": {"type": "string", "optional": "True"},
            },
            "outputs": {"predictions": {"type": "uri_folder"}},
        }
    }
}
INTERFACE = Interface.from_wire(SPEC)
ARRIVAL = Arrival(
    account="acct",
    container="incoming",
    path="a b.csv",
    etag="0x1",
    size_bytes=5,
    sequencer="01",
    time="2026-01-01T00:00:00+00:00",
    api="PutBlob",
    url="https://acct.blob.core.windows.net/incoming/a%20b.csv",
)


def bind(inputs: dict[str, Any], outputs: dict[str, Any] | None = None) -> Invocation:
    return Invocation.bind(INTERFACE, inputs=inputs, outputs=outputs or {}, assets="/ws", pipeline="e/d")


def test_scalars_that_azure_writes_as_strings_are_read_as_what_they_are() -> None:
    assert {name: one.required for name, one in INTERFACE.inputs.items()} == {
        "data": True,
        "model": True,
        "limit": False,
        "note": False,
    }


def test_what_fits_is_written_as_azure_wants_it() -> None:
    bound = bind(
        {"data": "azureml://datastores/d/paths/x.csv", "model": "azureml:ridge:3", "limit": 4},
        {"predictions": "azureml://datastores/d/paths/out/"},
    )

    assert bound.inputs == {
        "data": {"jobInputType": "UriFile", "uri": "azureml://datastores/d/paths/x.csv"},
        "limit": {"jobInputType": "Literal", "value": "4"},
        "model": {"jobInputType": "CustomModel", "uri": "/ws/models/ridge/versions/3"},
    }
    assert bound.outputs == {"predictions": {"jobOutputType": "UriFolder", "uri": "azureml://datastores/d/paths/out/"}}


def test_one_error_lists_everything_that_does_not_fit() -> None:
    with pytest.raises(ConfigError) as caught:
        bind({"data": "not a uri", "limt": 3, "limit": "many"}, {"prediction": "azureml://x"})

    told = str(caught.value)
    for part in (
        "does not fit the pipeline of e/d",
        "input 'limt' is not declared (declared: data, limit, model, note)",
        "output 'prediction' is not declared (declared: predictions)",
        "required input 'model' (custom_model) is missing",
        "input 'data' is a uri_file, and 'not a uri' is no URI",
        "input 'limit' is a integer, and 'many' is none",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("integer", [3, "3", -1], [True, "3.5", "x", 2.5]),
        ("number", [3, 2.5, "1e3"], ["nan", "x", False]),
        ("boolean", [True, "false", "True"], ["yes", 1]),
        ("string", ["", "x", 3], [["x"], {"a": 1}]),
    ],
)
def test_literals_are_held_to_their_declared_type(kind: str, good: list[Any], bad: list[Any]) -> None:
    interface = Interface(inputs={"x": Declared(type=kind)})

    for value in good:
        Invocation.bind(interface, inputs={"x": value}, outputs={}, assets="", pipeline="p")
    for value in bad:
        with pytest.raises(ConfigError, match=f"is a {kind}"):
            Invocation.bind(interface, inputs={"x": value}, outputs={}, assets="", pipeline="p")


def test_an_arrival_is_passed_by_its_address_and_stays_pinned() -> None:
    passed = Passed.parse({"data": ARRIVAL.to_wire(), "limit": 3}, {"data": "csv"})

    assert passed.values == {"data": "https://acct.blob.core.windows.net/incoming/a%20b.csv", "limit": 3}
    assert passed.arrivals == {"data": ARRIVAL}


@pytest.mark.parametrize(
    ("inputs", "formats", "told"),
    [
        (["data"], {}, "must be a mapping"),
        ({"data": {"etag": "1"}}, {}, "looks like an arrival and is none"),
        ({"data": ARRIVAL.to_wire()}, {"data": "xml"}, "xml is none of csv"),
        ({"data": "azureml://x"}, {"data": "csv"}, "input data is no arrived blob"),
    ],
)
def test_what_is_passed_wrongly_is_told_before_anything_is_asked(
    inputs: Any, formats: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Passed.parse(inputs, formats)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"a,b\n", "it has a header and no rows"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "it is binary"),
        (b"a,b\n\xff\xfe,1\n", "it is not UTF-8 text"),
        (b"Dear all,\nhello\n", ""),
        (b"just a sentence\nand another\n", "is no CSV header"),
        (b'{"a": 1}\n{"a": 2}\n', "is no CSV header"),
        (b'a,b\n"1,2\n', "it is no CSV"),
        (b"a,b\n1,2\n", ""),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", ""),
        (b"a,b\n1,2", ""),
    ],
)
def test_a_file_is_judged_by_its_head(content: bytes, fault: str) -> None:
    told = csv_fault(content, whole=True)

    assert (fault in told) if fault else not told


@given(st.binary(max_size=200), st.booleans())
def test_no_content_breaks_the_judge(content: bytes, whole: bool) -> None:
    assert isinstance(FAULT_OF_FORMAT["csv"](content, whole=whole), str)


def test_a_head_that_ends_within_a_letter_or_a_cell_is_judged_by_its_whole_lines() -> None:
    text = ("name,value\n" + "ärger,1\n" * HEAD_BYTES).encode()

    for cut in range(HEAD_BYTES - 12, HEAD_BYTES):
        assert not csv_fault(text[:cut], whole=False)


def test_a_result_stays_small_because_outputs_that_would_not_fit_are_refused_first() -> None:
    outputs = {"predictions": "azureml://" + "x" * 1900}
    job = JobSnapshot(name="j" * 260, status="Completed", studio_url="https://ml.azure.com/" + "u" * 500)

    check_outputs_fit(outputs)
    report = Report(
        steps=[Step(name="s" * 50, run="r", status="Completed") for _ in range(40)],
        metrics={f"metric {number}": number / 7 for number in range(200)},
        outputs={f"output {number}": "azureml://" + "o" * 300 for number in range(20)},
    )
    result = PipelineResult(job=job, pipeline="p" * 128, key="k" * 32, asked=outputs, report=report)
    written = result.to_wire()

    assert len(json.dumps(written)) <= MOST_BYTES
    assert written["outputs"]["predictions"] == outputs["predictions"]
    assert written["left_out"] > 0
    with pytest.raises(ConfigError, match="has room for 2048"):
        check_outputs_fit({"predictions": "azureml://" + "x" * 2100})


@given(
    st.lists(st.text(max_size=30), max_size=20),
    st.dictionaries(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), max_size=30),
    st.dictionaries(st.text(max_size=10), st.text(max_size=80), max_size=10),
    st.integers(min_value=0, max_value=4000),
)
def test_what_is_left_out_is_counted_and_nothing_else_is_lost(
    names: list[str], metrics: dict[str, float], outputs: dict[str, str], most: int
) -> None:
    kept = sorted(outputs)[:2]
    result = {"job": "j", "steps": names, "metrics": metrics, "outputs": outputs}

    fitted = fit(result, most, kept_outputs=kept)

    left = sum(len(result[part]) - len(fitted[part]) for part in ("steps", "metrics", "outputs"))
    assert fitted["left_out"] == left
    assert {name: outputs[name] for name in kept}.items() <= fitted["outputs"].items()
    whole = not fitted["steps"] and not fitted["metrics"] and set(fitted["outputs"]) <= set(kept)
    assert len(json.dumps(fitted).encode()) <= most or whole


def test_a_metric_that_json_cannot_write_is_left_out() -> None:
    listed = [
        {"key": "rmse", "value": 53.9},
        {"key": "bad", "value": "NaN"},
        {"key": "worse"},
        {"key": "i", "value": 3},
    ]

    assert metrics_of({"run": {"data": {"metrics": listed}}}) == {"rmse": 53.9, "i": 3.0}


def test_a_step_that_was_reused_says_so() -> None:
    raw = {
        "displayName": "prepare",
        "runId": "r",
        "status": "Completed",
        "startTimeUtc": "2026-01-01T00:00:00.1000000+00:00",
        "endTimeUtc": "2026-01-01T00:00:02.3500000+00:00",
        "properties": {"azureml.isreused": "true"},
    }

    step = Step.from_wire(raw)

    assert (step.name, step.seconds, step.reused) == ("prepare", 2.25, True)
