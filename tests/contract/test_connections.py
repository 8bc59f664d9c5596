import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, Emulator, of, tell
from tests.contract.live import Live

pytestmark = pytest.mark.timeout(200)
BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
PAT = {"authType": "PAT", "category": "Git", "target": "https://example.com/r", "credentials": {"pat": "not-shown"}}


@pytest.fixture(scope="module")
def story(service: Emulator | Live, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(service, "connections_story.py", tmp_path_factory.mktemp("connections"))


@pytest.fixture(scope="module")
def wire(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client of the plain http port."""
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=20) as made:
        yield made


def put(client: httpx.Client, name: str, properties: Any) -> httpx.Response:
    return client.put(f"{ARM_ID}/connections/{name}?api-version=2022-01-01-preview", json={"properties": properties})


@pytest.mark.live
@of("connections")
def test_connections_are_made_listed_by_category_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == [
        ["sources", "git", "https://example.com/r"],
        ["feed", "api_key", "https://example.com/feed"],
    ]
    assert chapter["listed"] == [["feed", "sources"], ["sources"]]
    assert chapter["left"] == ["feed"]
    assert re.search(r"Connection sources\S* can't be found in this workspace", chapter["gone"])


@pytest.mark.live
@of("connections")
def test_a_connections_key_is_shown_to_who_asks_for_secrets_alone(chapter: dict[str, Any]) -> None:
    assert [chapter["hidden"], chapter["secret"]] == [None, "not-shown-either"]
    assert chapter["metadata"]["team"] == "blue"


def test_a_connection_is_put_with_the_members_that_were_recorded(wire: httpx.Client) -> None:
    """Recorded: workspace/connections…git_pat, PUT twice."""
    answers = [put(wire, "recorded", PAT) for _ in range(2)]
    body = answers[0].json()

    assert [one.status_code for one in answers] == [200, 200]
    assert list(body) == ["tags", "location", "id", "name", "type", "properties", "systemData"]
    assert [body["tags"], body["location"], body["systemData"]] == [None, None, None]
    assert body["properties"] == PAT | {"credentials": None, "metadata": None}
    assert body["type"] == "Microsoft.MachineLearningServices/workspaces/connections"


def test_a_connection_that_is_not_there_is_told_in_account_rps_words(wire: httpx.Client) -> None:
    """Recorded: workspace/connections…git_pat, GET after DELETE."""
    put(wire, "passing", PAT)
    deleted = wire.delete(f"{ARM_ID}/connections/passing")
    answer = wire.get(f"{ARM_ID}/connections/passing")

    assert [deleted.status_code, deleted.content, answer.status_code] == [200, b"", 404]
    assert answer.json()["componentName"] == "account-rp"
    assert answer.json()["error"]["innerError"] == {"code": "NotFoundError", "innerError": None}
    assert wire.post(f"{ARM_ID}/connections/passing/listsecrets").status_code == 404


def test_no_secret_of_a_connection_is_in_the_log(emulator: Emulator, story: dict[str, Any], tmp_path: Path) -> None:
    del story, tmp_path
    assert "not-shown" not in emulator.log


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=2), max_leaves=4
)
SENT = st.dictionaries(
    st.sampled_from(["authType", "category", "target", "credentials", "metadata", "isSharedToAll"]),
    JSON | st.sampled_from(["PAT", {}, {"pat": 1}]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SENT | JSON, st.text(max_size=5))
def test_whatever_a_connection_is_made_of_it_is_taken_or_refused(wire: httpx.Client, sent: Any, category: str) -> None:
    answer = put(wire, "odd", sent)
    listed = wire.get(f"{ARM_ID}/connections", params={"category": category})

    assert answer.status_code == 200 or (answer.status_code == 400 and answer.json()["error"]["message"])
    assert listed.status_code == 200
