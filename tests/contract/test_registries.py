from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azureml_emulator.names import RegistryName, WorkspaceName
from azureml_emulator.tokens import issue
from tests.contract.conftest import OTHER, WORKSPACE, Emulator, of, tell

pytestmark = pytest.mark.timeout(400)
SUBSCRIPTION, GROUP, _ = WORKSPACE.split("/")
SHARED = RegistryName(SUBSCRIPTION, GROUP, "shared")
BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Workspaces that nobody else has touched."""
    made = Emulator(tmp_path_factory.mktemp("registries-emulator") / "state", *azurite)
    made.start("--log-level", "debug")
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "registries_story.py", tmp_path_factory.mktemp("registries"), patience_s=360)


@pytest.fixture(scope="module")
def wire(emulator: Emulator, story: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client of the plain http port, once the story is told."""
    del story
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=20) as made:
        yield made


@of("created")
def test_a_registry_is_created_and_says_where_it_is(chapter: dict[str, Any]) -> None:
    assert [chapter["location"], chapter["tags"]] == ["westeurope", {"team": "blue"}]
    assert chapter["made"] == ["shared", "passing"]
    assert chapter["regions"] == ["westeurope"]
    api = "westeurope.api.azureml.ms"
    assert chapter["discovery"] == f"https://{api}/registrymanagement/v1.0/registries/shared/discovery"
    assert chapter["mlflow"] == f"azureml://{api}/mlflow/v1.0{SHARED.arm_id}"


@of("created")
def test_registries_are_listed_until_they_are_deleted(chapter: dict[str, Any]) -> None:
    assert [chapter["listed"], chapter["gone"], chapter["left"]] == [["passing", "shared"], None, ["shared"]]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"
    assert "registries/passing' under resource group 'contract-group' was not found" in chapter["missing"]["text"]
    assert "Registry passing was not found." in chapter["undiscovered"]["text"]


@of("models")
def test_a_model_is_uploaded_to_a_registry_and_downloaded_again(chapter: dict[str, Any]) -> None:
    assert chapter["id"] == "azureml://registries/shared/models/local/versions/1"
    assert [chapter["tags"], chapter["description"]] == [{"a": "b"}, "from here"]
    assert chapter["files"] == {"local/deep/more.txt": "more", "local/weights.txt": "weight 1"}
    assert chapter["missing"]["type"] == "ResourceNotFoundError"
    assert (
        "Could not find asset with ID: azureml://registries/shared/models/local/versions/9"
        in chapter["missing"]["text"]
    )


@of("models")
def test_a_registrys_models_are_archived_and_restored(chapter: dict[str, Any]) -> None:
    assert [chapter["listed"], chapter["after"], chapter["latest"]] == [["2", "1"], ["1"], "2"]
    assert [chapter["names"], chapter["restored"]] == [[], ["local"]]


@of("shared_model")
def test_a_model_is_shared_once_under_a_name_and_version_of_its_own(chapter: dict[str, Any]) -> None:
    name, version, asset_id, tags = chapter["shared"]
    assert [name, version, tags] == ["champion", "7", {"rmse": "54"}]
    assert asset_id == "azureml://registries/shared/models/champion/versions/7"
    assert "already exists in registry" in chapter["twice"]["text"]
    assert [chapter["missing"]["status"], "Could not find asset with ID" in chapter["missing"]["text"]] == [404, True]


@of("shared_model")
def test_a_second_workspace_uses_the_shared_model_in_a_job_and_takes_a_copy(chapter: dict[str, Any]) -> None:
    assert chapter["workspaces"] == [["champion"], ["taken"]]
    assert chapter["taken"] == {"champion/deep/more.txt": "more", "champion/weights.txt": "weight 7"}
    assert f"/workspaces/{OTHER.split('/')[2]}/datastores/" in chapter["taken_path"]
    assert [chapter["job"], chapter["log"]] == ["Completed", "weight 7"]


@of("environments")
def test_environments_are_made_in_a_registry_and_shared_into_it(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == "azureml://registries/shared/environments/own/versions/1"
    assert [chapter["shared"][:2], chapter["shared"][3]] == [["theirs", "1"], {"x": "y"}]
    assert [chapter["names"], chapter["versions"]] == [["own", "theirs"], ["1"]]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"


@of("data")
def test_data_is_uploaded_to_a_registry_and_shared_into_it(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["azureml://registries/shared/data/numbers/versions/1", "uri_file"]
    assert [chapter["shared"], chapter["latest"]] == [["ours", "2", "uri_folder"], "2"]


@of("components")
def test_two_workspaces_run_a_component_of_one_registry(chapter: dict[str, Any]) -> None:
    assert chapter["id"] == "azureml://registries/shared/components/prepare/versions/1"
    assert [chapter["made"], chapter["names"]] == [["prepare", "1"], ["prepare", "scaled"]]
    assert [chapter["jobs"], chapter["invoked"]] == [["Completed", "Completed"], "Completed"]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"


# what azure-ai-ml does not look at, as it was recorded


def test_creating_a_registry_is_accepted_with_two_addresses_and_an_empty_body(wire: httpx.Client) -> None:
    """Recorded: registry/…test_registry_operations, 2022-10-01-preview."""
    body = {"location": "West Europe", "identity": {"type": "SystemAssigned"}, "properties": {"regionDetails": []}}

    answer = wire.put(f"{SHARED.arm_id}?api-version=2022-10-01-preview", json=body)
    status = wire.get(answer.headers["azure-asyncoperation"])

    assert [answer.status_code, answer.content] == [202, b""]
    assert answer.headers["location"].endswith("&type=location")
    assert "/locations/westeurope/registryOperationsStatus/" in answer.headers["location"]
    assert answer.headers["azure-asyncoperation"].endswith("?api-version=2022-10-01-preview&type=async")
    assert status.json() == {"status": "Succeeded", "percentComplete": 100.0}


def test_a_registry_has_the_members_that_were_recorded(wire: httpx.Client) -> None:
    """Recorded: registry/…test_registry_operations, GET."""
    found = wire.get(SHARED.arm_id).json()

    assert list(found) == ["tags", "location", "identity", "id", "name", "type", "properties", "systemData"]
    assert found["systemData"] is None
    assert set(found["properties"]) == {
        "regionDetails",
        "intellectualPropertyPublisher",
        "publicNetworkAccess",
        "discoveryUrl",
        "managedResourceGroup",
        "managedResourceGroupTags",
        "mlFlowRegistryUri",
    }
    (region,) = found["properties"]["regionDetails"]
    account = region["storageAccountDetails"][0]["systemCreatedStorageAccount"]
    assert account["storageAccountType"] == "standard_lrs"
    assert f"/resourceGroups/azureml-rg-shared_{SHARED.guid}/" in account["armResourceId"]["resourceId"]


def test_discovery_names_the_address_of_the_registrys_assets(wire: httpx.Client) -> None:
    """Recorded: code_asset/…from_registry, GET discovery."""
    found = wire.get("/registrymanagement/v1.0/registries/shared/discovery").json()

    assert [found["registryId"], found["registryName"], found["workspaceName"]] == [SHARED.guid, "shared", None]
    assert [found["subscriptionId"], found["resourceGroup"]] == [SUBSCRIPTION, GROUP]
    assert found["primaryRegionResourceProviderUri"] == f"{str(wire.base_url).rstrip(chr(47))}/"
    assert list(found["registryFqdns"]) == found["regions"] == ["westeurope"]


@pytest.fixture(scope="module")
def root() -> str:
    return f"/mferp/managementfrontend{SHARED.arm_id}"


def test_a_version_is_put_after_its_files_and_accepted_with_the_body_null(wire: httpx.Client, root: str) -> None:
    """Recorded: code_asset/…from_registry, PUT tempdatarefs and PUT codes."""
    asset = "azureml://registries/shared/codes/script/versions/2"
    wanted = {"assetId": asset, "temporaryDataReferenceType": "TemporaryBlobReference"}
    place = wire.put(f"{root}/tempdatarefs/script/versions/2", json=wanted).json()
    blob = place["blobReferenceForConsumption"]
    properties = {"codeUri": f"{blob['blobUri']}/", "isAnonymous": False, "isArchived": False}
    put = wire.put(f"{root}/codes/script/versions/2", json={"properties": properties})
    operation = wire.get(put.headers["location"])
    found = wire.get(f"{root}/codes/script/versions/2").json()

    assert blob["credential"]["credentialType"] == "SAS"
    assert "sr=c" in blob["credential"]["sasUri"]
    assert [place["imageReferenceForConsumption"], place["temporaryDataReferenceType"]] == [None, None]
    assert [put.status_code, put.content] == [202, b"null"]
    assert put.headers["x-ms-async-operation-timeout"] == "PT1H"
    assert "/assetstore/v1.0/operations/" in put.headers["location"]
    assert [operation.status_code, operation.json()] == [200, {"assetId": asset}]
    assert [found["id"], found["name"]] == [asset, "2"]
    assert found["type"] == "Microsoft.MachineLearningServices/registries/codes/versions"


def test_a_place_to_upload_to_is_refused_for_a_version_that_is_there(wire: httpx.Client, root: str) -> None:
    body = {"assetId": "azureml://registries/shared/models/local/versions/1"}

    answer = wire.put(f"{root}/tempdatarefs/local/versions/1", json=body)

    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == f"Asset {body['assetId']} exists already."


def test_an_import_ends_without_content_and_keeps_where_it_came_from(wire: httpx.Client, root: str) -> None:
    """Recorded: model/…test_promote_model, POST import and GET of the model."""
    source = (
        f"azureml://locations/westeurope/workspaces/{WorkspaceName.parse(WORKSPACE).guid}/models/champion/versions/1"
    )
    wanted = {"referenceType": "Id", "destinationName": "promoted", "destinationVersion": "2", "sourceAssetId": source}
    posted = wire.post(f"{root}/import", json={"properties": wanted})
    operation = wire.get(posted.headers["location"])
    found = wire.get(f"{root}/models/promoted/versions/2").json()
    again = wire.post(f"{root}/import", json={"properties": wanted})

    assert [posted.status_code, posted.content] == [202, b"null"]
    assert [operation.status_code, operation.content] == [204, b""]
    assert found["id"] == "azureml://registries/shared/models/promoted/versions/2"
    assert [found["name"], found["type"]] == ["promoted", "models"]
    assert [found["properties"]["originAssetId"], found["properties"]["jobName"]] == [source, None]
    assert found["properties"]["modelUri"].startswith(f"{wire.base_url.scheme}://")
    assert again.status_code == 409


def test_what_a_registry_shares_must_be_in_its_own_storage(wire: httpx.Client, root: str) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/elsewhere"

    answer = wire.put(f"{root}/models/foreign/versions/1", json={"properties": {"modelUri": uri}})

    assert answer.status_code == 400
    assert "modelUri is not in the storage of registry shared" in answer.json()["error"]["message"]
    assert wire.get(f"{root}/models/foreign/versions/1").status_code == 404


def test_the_name_of_a_registry_is_taken_everywhere(wire: httpx.Client) -> None:
    elsewhere = RegistryName(SUBSCRIPTION, "another-group", "shared").arm_id

    answer = wire.put(elsewhere, json={"location": "westeurope"})

    assert answer.status_code == 400
    assert f"The name shared is taken by registry {SHARED.arm_id}" in answer.json()["error"]["message"]


def test_an_operation_that_was_not_given_out_is_not_found(wire: httpx.Client) -> None:
    for name in ("nonsense", "%C3%A9", "YQ"):
        assert wire.get(f"/assetstore/v1.0/operations/{name}").status_code == 404


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
LIKELY = st.sampled_from(
    [
        *["local", "1", "https://[", "https://devstoreaccount1.blob.core.windows.net/", "../x", [{}], {}],
        *[[{"location": 1}], [{"location": "x", "acrDetails": [1], "storageAccountDetails": [{"a": {}}]}]],
    ]
)
PARTS = ("name", "type", "inputs", "outputs", "environment", "resources", "tags", "jobs", "code", "command")
SPEC = st.dictionaries(
    st.sampled_from(PARTS), JSON | st.sampled_from(["command", {"a": 1}, {"a": {"optional": 1}}]), max_size=5
)
MEMBERS = (
    *("modelUri", "dataUri", "dataType", "codeUri", "image", "tags", "properties", "regionDetails", "isArchived"),
    *("destinationName", "destinationVersion", "sourceAssetId", "description"),
)
PROPERTIES = st.dictionaries(st.sampled_from(MEMBERS), JSON | LIKELY, max_size=5) | st.fixed_dictionaries(
    {"componentSpec": SPEC}
)
ROUTES = (
    ("PUT", "models/odd/versions/1"),
    ("PUT", "data/odd/versions/1"),
    ("PUT", "codes/odd/versions/1"),
    ("PUT", "components/odd/versions/1"),
    ("PUT", "environments/odd/versions/1"),
    ("PUT", "models/odd"),
    ("PUT", "tempdatarefs/odd/versions/1"),
    ("POST", "datarefs/local/versions/1"),
    ("POST", "import"),
)
LENIENT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LENIENT
@given(PROPERTIES, st.sampled_from(["azureml://registries/shared/models/odd/versions/1", "", None, 7, {}]))
def test_whatever_a_registry_is_sent_it_takes_or_refuses_in_azures_words(
    wire: httpx.Client, root: str, sent: dict[str, Any], asset_id: object
) -> None:
    body = {"properties": sent, "assetId": asset_id}

    answers = [wire.request(method, f"{root}/{path}", json=body) for method, path in ROUTES]
    listed = [wire.get(f"{root}/{kind}").status_code for kind in ("models", "data", "components", "environments")]

    assert all(one.status_code < 400 or (one.status_code < 500 and one.json()["error"]["message"]) for one in answers)
    assert listed == [200, 200, 200, 200]


@LENIENT
@given(PROPERTIES, JSON)
def test_whatever_a_registry_is_made_of_it_can_be_looked_at_or_is_not_there(
    wire: httpx.Client, sent: dict[str, Any], tags: object
) -> None:
    odd = RegistryName(SUBSCRIPTION, GROUP, "odd").arm_id

    put = wire.put(odd, json={"location": "westeurope", "tags": tags, "properties": sent})
    got = wire.get(odd)
    wire.delete(odd)

    assert [put.status_code, got.status_code] in ([202, 200], [400, 404])
