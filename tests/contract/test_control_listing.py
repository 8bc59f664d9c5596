from collections.abc import Iterator

import httpx
import pytest

from tests.contract.conftest import ARM_ID, OTHER, OTHER_ID, Emulator
from tests.contract.controlled import LIVES, controlled_emulator, frozen_client, new_name, scripted_endpoint, start


@pytest.fixture(scope="module")
def controlled(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("controlled"), azurite) as made:
        yield made


@pytest.fixture
def client(controlled: Emulator) -> Iterator[httpx.Client]:
    with frozen_client(controlled) as made:
        yield made


@pytest.fixture
def name() -> str:
    return new_name()


@pytest.fixture
def endpoint(client: httpx.Client) -> str:
    return scripted_endpoint(client)


@pytest.mark.parametrize(
    ("deployment", "own", "word"),
    [
        ("plain", {}, "Failed"),
        ("tagged", {}, "Running"),
        ("held", {}, "Running"),
        ("tagged", {"emulator.script": '[["Completed", 0]]'}, "Completed"),
    ],
)
def test_an_invocation_takes_its_own_script_before_the_deployments_and_that_before_the_endpoints(
    client: httpx.Client, endpoint: str, deployment: str, own: dict[str, str], word: str
) -> None:
    uri = client.get(f"{ARM_ID}/batchEndpoints/{endpoint}").json()["properties"]["scoringUri"]
    head = {"azureml-model-deployment": deployment}
    made = client.post(uri, json={"properties": {"properties": own}}, headers=head).json()
    listed = client.get(f"/mferp/managementfrontend{ARM_ID}/batchEndpoints/{endpoint}/jobs").json()["value"]

    assert made["properties"]["status"] == word
    assert listed[0]["name"] == made["name"]
    assert listed[0]["properties"]["status"] == word


def names(page: httpx.Response) -> list[str]:
    return [one["name"] for one in page.json()["value"]]


def all_pages(client: httpx.Client, url: str) -> list[list[str]]:
    pages = []
    while url:
        page = client.get(url)
        pages.append(names(page))
        url = page.json().get("nextLink", "")
    return pages


def test_many_jobs_are_created_at_once_and_listed_in_pages_newest_first(client: httpx.Client, name: str) -> None:
    body = {"count": 250, "prefix": f"many{name}", "script": LIVES, "workspace": OTHER}
    answer = client.post("/control/jobs", json=body)
    pages = all_pages(client, f"{OTHER_ID}/jobs")

    made = [f"many{name}-{number:05d}" for number in range(250)]
    assert answer.json() == {"count": 250, "workspace": OTHER_ID, "first": made[0], "last": made[-1]}
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [one for page in pages for one in page] == made[::-1]


def test_a_name_that_is_taken_means_that_none_of_many_jobs_is_created(client: httpx.Client, name: str) -> None:
    start(client, f"{name}-00002", LIVES)
    answer = client.post("/control/jobs", json={"count": 3, "prefix": name, "script": LIVES})

    assert answer.status_code == 409
    assert answer.json()["error"]["message"].endswith("choose another prefix.")
    assert client.get(f"{ARM_ID}/jobs/{name}-00000").status_code == 404


def test_many_jobs_of_an_endpoint_are_listed_in_pages_by_deployment(
    client: httpx.Client, endpoint: str, name: str
) -> None:
    for deployment, count in (("plain", 120), ("held", 5)):
        body = {"count": count, "prefix": f"{deployment}{name}", "script": LIVES}
        client.post("/control/jobs", json={**body, "endpoint": endpoint, "deployment": deployment})
    root = f"/mferp/managementfrontend{ARM_ID}/batchEndpoints/{endpoint}"
    everything = all_pages(client, f"{root}/jobs")
    held = [one for page in all_pages(client, f"{root}/deployments/held/jobs") for one in page]

    assert len(everything[0]) == 100
    assert everything[0][:5] == held[:5] == [f"held{name}-0000{number}" for number in (4, 3, 2, 1, 0)]
    assert len([one for page in everything for one in page if one.startswith("plain")]) == 120


def test_a_listing_is_of_what_was_asked_for(client: httpx.Client, name: str) -> None:
    mine = {"emulator.script": '[["Running", 1]]', "mine": name}
    start(client, f"a{name}", "", properties=mine, tags={"team": "x"})
    start(client, f"b{name}", "", properties=mine | {"other": "1"})
    start(client, f"c{name}", LIVES)
    start(client, f"b{name}", "", properties=mine | {"other": "1"}, isArchived=True)
    asked = {
        f"properties=mine={name}": [f"a{name}"],
        f"properties=mine={name}&listViewType=All": [f"b{name}", f"a{name}"],
        f"properties=mine={name},other&listViewType=All": [f"b{name}"],
        f"properties=mine={name}&listViewType=ArchivedOnly": [f"b{name}"],
        f"properties=mine={name}&tag=team": [f"a{name}"],
        f"properties=mine={name}&tag=xx": [],
        f"properties=mine={name}&jobType=Pipeline": [],
        "properties=mine=nobody": [],
    }

    assert {query: names(client.get(f"{ARM_ID}/jobs?{query}")) for query in asked} == asked


@pytest.mark.parametrize("token", ["!", "bm9ib2R5", "4oK"])
def test_a_page_token_that_was_not_given_out_is_refused(client: httpx.Client, token: str) -> None:
    answer = client.get(f"{ARM_ID}/jobs", params={"$skip": token})

    assert answer.status_code == 400
    assert "The $skip of the query is not one that was given out." in answer.text
