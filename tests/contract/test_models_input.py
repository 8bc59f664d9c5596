"""What is no sensible request, sent to both of a workspace's faces of its models."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, Emulator

BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
MLFLOW = f"/mlflow/v2.0{ARM_ID}/api/2.0/mlflow"


@pytest.fixture(scope="module")
def wire(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the plain http port; there are a model, a version of it, and a run."""
    emulator = Emulator(tmp_path_factory.mktemp("input-emulator") / "state", *azurite)
    emulator.start()
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=20) as made:
        uri = "azureml://datastores/workspaceblobstore/paths/net"
        made.put(f"{ARM_ID}/models/net/versions/1", json={"properties": {"modelUri": uri}}).raise_for_status()
        job = {"jobType": "Command", "command": "true"}
        made.put(f"{ARM_ID}/jobs/maker", json={"properties": job}).raise_for_status()
        yield made
    emulator.end()


def test_numbers_that_are_none_are_refused(wire: httpx.Client) -> None:
    for query in ("$top=many", "$top=-1", "$top=0", "$top=99999999999999999999"):
        assert wire.get(f"{ARM_ID}/models/net/versions?{query}").status_code == 400, query
    for said in ({"max_results": "many"}, {"page_token": "-1"}):
        assert wire.get(f"{MLFLOW}/registered-models/search", params=said).status_code == 400, said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = (
    "name",
    "version",
    "source",
    "run_id",
    "tags",
    "key",
    "value",
    "alias",
    "stage",
    "stages",
    "description",
    "path",
)
SAID = st.dictionaries(
    st.sampled_from(MEMBERS), JSON | st.sampled_from(["net", "1", "sdk", "maker", "../x", "models:/net/1"]), max_size=5
)
POSTED = (
    "registered-models/create",
    "registered-models/rename",
    "registered-models/set-tag",
    "registered-models/alias",
    "registered-models/get-latest-versions",
    "model-versions/create",
    "model-versions/set-tag",
    "model-versions/transition-stage",
    "runs/create",
    "runs/update",
    "runs/search",
    "runs/log-metric",
    "runs/log-batch",
    "runs/log-parameter",
    "runs/set-tag",
)
OF_A_MODEL = ("modelUri", "modelType", "description", "tags", "properties", "flavors", "stage", "isArchived", "jobName")
ASSET = st.fixed_dictionaries({}, optional=dict.fromkeys(OF_A_MODEL, JSON))
LENIENT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _is_ours(answer: httpx.Response) -> bool:
    """Whether an answer is no crash, and an error says what is wrong."""
    if answer.status_code < 400:
        return True
    body = answer.json()
    return answer.status_code < 500 and bool(body.get("message") or body["error"]["message"])


@LENIENT
@given(st.sampled_from(POSTED), SAID)
def test_whatever_mlflow_is_sent_it_answers_in_its_own_words(
    wire: httpx.Client, path: str, said: dict[str, Any]
) -> None:
    assert _is_ours(wire.post(f"{MLFLOW}/{path}", json=said))


@LENIENT
@given(ASSET)
def test_whatever_is_put_as_a_model_both_registries_answer(wire: httpx.Client, sent: dict[str, Any]) -> None:
    url = f"{ARM_ID}/models/odd/versions/1"
    with contextlib.ExitStack() as stack:
        stack.callback(wire.delete, f"{ARM_ID}/models/odd")
        put = wire.put(url, json={"properties": sent})
        got = wire.get(f"{MLFLOW}/model-versions/get", params={"name": "odd", "version": "1"})
        searched = wire.get(f"{MLFLOW}/model-versions/search", params={"filter": "name = 'odd'"})
        model = wire.get(f"{MLFLOW}/registered-models/search")

    assert _is_ours(put)
    assert got.status_code == (200 if put.status_code < 400 else 404)
    assert [searched.status_code, model.status_code] == [200, 200]


@LENIENT
@given(st.text(max_size=30))
def test_whatever_the_filter_is_it_is_understood_or_refused(wire: httpx.Client, text: str) -> None:
    assert _is_ours(wire.get(f"{MLFLOW}/registered-models/search", params={"filter": text}))
