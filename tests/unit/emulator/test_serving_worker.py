"""What a scoring process makes of requests, and of what scripts return."""

from __future__ import annotations

import http.client
import importlib
import json
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.serving_worker import (
    RUN_FAILED,
    Asked,
    Handler,
    Scorer,
    Server,
    answer_of,
    model_input,
    plain,
    swagger,
)
from azureml_emulator.stand_ins.azureml_inference_server_http.api.aml_response import AMLResponse

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def scorer(run: Any, workers: int = 1) -> Scorer:
    return Scorer(SimpleNamespace(run=run), workers)


def asked(body: bytes = b"{}") -> Asked:
    return Asked("POST", "/score?a=1", {}, body)


# what a script returns


@given(values)
def test_whatever_json_can_hold_comes_back_as_json(value: Any) -> None:
    answer = answer_of(value)

    assert json.loads(answer.body) == value
    assert (answer.status, answer.headers) == (200, {"Content-Type": "application/json"})


def test_an_answer_of_azures_own_class_goes_as_it_says() -> None:
    words = answer_of(AMLResponse("no such thing", 400, {"x-why": "because"}))
    as_json = answer_of(AMLResponse({"a": 1}, 201, json_str=True, run_function_failed=True))

    assert (words.status, words.body, words.headers["x-why"]) == (400, b"no such thing", "because")
    assert words.headers["Content-Type"] == "text/html; charset=utf-8"
    assert (as_json.status, as_json.body, as_json.has_failed) == (201, b'{"a": 1}', True)


def test_whatever_a_script_raises_is_an_answer_in_azures_words() -> None:
    def run(_: str) -> None:
        raise KeyError("data")

    answers = [scorer(run).answer(asked()), scorer(lambda _: object()).answer(asked())]

    assert [(one.status, one.body.decode()) for one in answers] == [(500, RUN_FAILED)] * 2
    assert {one.headers["x-ms-run-function-failed"] for one in answers} == {"True"}


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (3, 3)])
def test_as_many_calls_are_made_at_once_as_there_are_workers(workers: int, at_once: int) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def run(_: str) -> None:
        inside.append(1)
        seen.append(len(inside))
        time.sleep(0.1)  # so that the others come in, if they may
        inside.pop()

    made = scorer(run, workers)
    threads = [threading.Thread(target=made.answer, args=(asked(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(seen) == at_once


# MLflow models


@pytest.fixture(scope="module")
def table_schema() -> Any:
    schema = importlib.import_module("mlflow.types.schema")  # its import takes seconds
    kinds = schema.DataType
    return schema.Schema([schema.ColSpec(kinds.double, "a"), schema.ColSpec(kinds.long, "b")])


@pytest.mark.parametrize(
    "given_input",
    [
        {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]},
        {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]},
        {"a": [1, 3], "b": [2, 4]},
        [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
        [[1, 2], [3, 4]],
    ],
)
def test_a_table_is_read_however_it_is_written_and_has_the_types_of_the_signature(
    given_input: Any, table_schema: Any
) -> None:
    table = model_input(given_input, table_schema)

    assert table.to_dict(orient="list") == {"a": [1.0, 3.0], "b": [2, 4]}
    assert list(map(str, table.dtypes)) == ["float64", "int64"]


def test_a_model_of_tensors_or_without_signature_is_given_arrays() -> None:
    schema = importlib.import_module("mlflow.types.schema")
    tensors = schema.Schema([schema.TensorSpec(np.dtype("float64"), (-1, 2), "x")])

    assert isinstance(model_input([[1, 2]], None), np.ndarray)
    assert isinstance(model_input([[1, 2]], tensors), np.ndarray)
    assert model_input({"x": [[1, 2]]}, tensors)["x"].tolist() == [[1, 2]]
    assert model_input({"columns": ["a"], "data": [[1]]}, None).columns.tolist() == ["a"]


def test_what_a_model_predicts_becomes_plain() -> None:
    pd = importlib.import_module("pandas")

    assert plain(np.array([[1, 2]])) == [[1, 2]]
    assert plain(pd.Series([1.5])) == [1.5]
    assert plain(pd.DataFrame({"a": [1], "b": ["x"]})) == [{"a": 1, "b": "x"}]
    assert plain(["as", "it", "is"]) == ["as", "it", "is"]


# HTTP


@attrs.frozen
class Line:
    """A connection to a server of a test's own."""

    connection: http.client.HTTPConnection

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
        self.connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers


@pytest.fixture
def line() -> Iterator[Line]:
    class Own(Handler):
        scorer = scorer(lambda data: json.loads(data)["x"])
        swagger = swagger("line")

    server = Server(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    yield Line(connection)
    connection.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_connection_takes_one_request_after_another(line: Line) -> None:
    line.connection.connect()
    sock = line.connection.sock

    answers = [line.ask("POST", "/score", b'{"x": 7}', x_ms_request_id="me") for _ in range(3)]

    assert [(status, body) for status, body, _ in answers] == [(200, b"7")] * 3
    assert {headers["x-ms-request-id"] for _, _, headers in answers} == {"me"}
    assert answers[0][2]["x-ms-run-function-failed"] == "False"
    assert float(answers[0][2]["x-ms-run-fn-exec-ms"]) >= 0
    assert line.connection.sock is sock


def test_it_says_that_it_lives_and_what_it_takes_and_knows_nothing_else(line: Line) -> None:
    assert line.ask("GET", "/")[:2] == (200, b"Healthy")
    assert json.loads(line.ask("GET", "/swagger.json")[1])["info"]["title"] == "line"
    assert [line.ask("GET", "/elsewhere")[0], line.ask("POST", "/elsewhere", b"{}")[0]] == [404, 404]


def test_a_request_that_does_not_say_how_long_it_is_is_refused(line: Line) -> None:
    status, _, headers = line.ask("POST", "/score", None, Transfer_Encoding="chunked")

    assert (status, headers["x-ms-run-function-failed"]) == (413, None)
