"""Whatever a client sends, the answer is the emulator's own: never a broken one, and no file outside its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.routes.application import MODULES
from azureml_emulator.testing import emulator
from azureml_emulator.tokens import issue
from demo.azure import Azurite
from tests.unit.emulator.bodies import BODIES
from tests.unit.emulator.mutations import changed, places, wrong

REGISTRY = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/tests"
    "/providers/Microsoft.MachineLearningServices/registries/reg"
)
WRITING = {"PUT", "POST", "PATCH"}
#: Bodies that are right, and still refused: what they need is made by files, or is of another state by now.
REFUSED = (
    *("registries/reg/codes/code/versions", "reg/data/data/versions", "reg/models/model/versions", "datarefs"),
    *("registries/reg/import", "registered-models/rename", "mlflow-artifacts", "PipelineRuns/command/Cancel"),
    "onlineEndpoints/online/deployments/one",
    *("experiments/update", "logged-models/m-none"),
)
BAD_NAMES = (
    "../../../../tmp/escaped",
    "..",
    "a/../../b",
    "%2e%2e",
    "x" * 3000,
    "ünïcödé 🎈",
    "\x00",
    "a\nb",
    " ",
    "'--",
)


@attrs.frozen
class Service:
    """An emulator with everything that the bodies speak of, and a client of it."""

    http: httpx.Client
    words: Mapping[str, str]
    folder: Path

    def fill(self, value: Any) -> Any:
        """Put the ids into a path or a body."""
        if isinstance(value, str):
            for word, meaning in self.words.items():
                value = value.replace(word, meaning)
            return value
        if isinstance(value, Mapping):
            return {name: self.fill(each) for name, each in value.items()}
        return [self.fill(each) for each in value] if isinstance(value, list) else value

    def send(self, method: str, path: str, content: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return self.http.request(method, path, content=content, headers=headers, params={"api-version": "2024-04-01"})


@pytest.fixture(scope="module")
def service(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("mutated")
    with emulator(folder=folder / "own", azurite_blob=azurite.blob_url, azurite_queue=azurite.queue_url) as running:
        workspace = running.workspace("mutated")
        headers = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        # An answer that broke ends its connection: the next request is not to pay for that.
        limits = httpx.Limits(max_keepalive_connections=0)
        url = running.addresses.http
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False, limits=limits) as http:
            words = {"{workspace}": workspace.arm_id, "{registry}": REGISTRY, "{short}": workspace.path}
            made = Service(http, words, folder)
            for name in ("Pipelines", "PipelineEndpoints"):
                found = next(one for one in BODIES if one[1].endswith(f"/{name}"))
                _prepare(made, name)
                answer = made.send(found[0], made.fill(found[1]), json.dumps(made.fill(found[2])).encode())
                assert answer.is_success, answer.text
                word = "{pipeline}" if name == "Pipelines" else "{points}"
                made = attrs.evolve(made, words={**made.words, word: answer.json()["Id"]})
            yield made


def _prepare(service: Service, name: str) -> None:
    """Make what is registered; twice, since some of it names what comes after it."""
    if name != "Pipelines":
        return
    batch = service.fill("{workspace}/batchEndpoints/batch")
    service.send("PUT", batch, b'{"location": "westeurope", "properties": {}}')
    for _ in range(2):
        for method, path, body in BODIES:
            if "/api/2.0/" not in path and "Pipeline" not in path:
                service.send(method, service.fill(path), json.dumps(service.fill(body)).encode())
    body = {"location": "westeurope", "properties": {"defaults": {"deploymentName": "one"}}}
    assert service.send("PUT", batch, json.dumps(body).encode()).is_success


def _judge(answer: httpx.Response) -> None:
    assert answer.status_code != 500, answer.text
    assert "Traceback" not in answer.text
    if answer.is_error and answer.content:  # that a compute is not there, Azure says without a word
        told = answer.json()
        assert told.get("error") or told.get("error_code"), answer.text


def test_every_route_that_takes_a_body_has_one_here(service: Service) -> None:
    told = [(method, service.fill(path)) for method, path, _ in BODIES]
    routes = [route for module in MODULES for route in module.routes() if set(route.methods or ()) & WRITING]

    missing = [
        f"{method} {route.path}"
        for route in routes
        for method in set(route.methods or ()) & WRITING
        if "/v1.0{" not in route.path.replace("/mlflow/v1.0", "/mlflow/v1.0{", 1).replace("/v1.0/sub", "", 1)
        and not any(each == method and route.path_regex.match(path) for each, path in told)
    ]

    assert missing == []


@pytest.mark.parametrize(("method", "path", "body"), [one for one in BODIES if "{points}" not in one[1]])
def test_a_body_that_is_right_is_taken(service: Service, method: str, path: str, body: Mapping[str, Any]) -> None:
    answer = service.send(method, service.fill(path), json.dumps(service.fill(body)).encode())

    if any(part in path.replace("{registry}", "registries/reg") for part in REFUSED) or "already" in answer.text:
        _judge(answer)
    else:
        assert answer.is_success, answer.text


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_a_body_that_is_wrong_anywhere_is_answered_in_the_services_own_words(
    service: Service, data: st.DataObject
) -> None:
    method, path, body = data.draw(st.sampled_from(BODIES))
    filled = service.fill(body)
    at = data.draw(st.sampled_from(list(places(filled))))
    made = changed(filled, at, data.draw(wrong), drop=bool(at) and data.draw(st.booleans()))

    _judge(service.send(method, service.fill(path), json.dumps(made).encode()))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'"x"', b"[" * 100_000, b'{"properties": NaN}'])
def test_what_is_no_json_object_is_answered_so(service: Service, content: bytes) -> None:
    for method, path, _ in BODIES:
        _judge(service.send(method, service.fill(path), content))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_in_a_path_breaks_an_answer_or_leaves_the_folder(service: Service, name: str) -> None:
    before = sorted(each.name for each in service.folder.iterdir())
    for method, path, body in BODIES:
        segments = service.fill(path).split("/")
        for number in range(2, len(segments)):
            if segments[number] not in {"providers", "Microsoft.MachineLearningServices", "api", "2.0", "mlflow"}:
                changed = [*segments[:number], quote(name, safe=""), *segments[number + 1 :]]
                _judge(service.send(method, "/".join(changed), json.dumps(service.fill(body)).encode()))

    assert sorted(each.name for each in service.folder.iterdir()) == before
    assert not Path("/tmp/escaped").exists()  # noqa: S108  # the name that one of them is
