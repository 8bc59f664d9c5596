from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, Emulator, of, tell

pytestmark = pytest.mark.timeout(400)
BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A workspace that nobody else has touched."""
    made = Emulator(tmp_path_factory.mktemp("models-emulator") / "state", *azurite)
    made.start("--log-level", "debug")
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("models")
    return tell(emulator, "mlflow_models_story.py", scratch, emulator.addresses.http, patience_s=360)


@pytest.fixture(scope="module")
def wire(emulator: Emulator, story: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client of the plain http port, once the story is told."""
    del story
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=20) as made:
        yield made


MLFLOW = f"/mlflow/v2.0{ARM_ID}/api/2.0/mlflow"


# one registry, two clients


@of("registered")
def test_a_version_that_mlflow_registers_is_one_of_azure_ai_mls(chapter: dict[str, Any]) -> None:
    assert [chapter["first"]["version"], chapter["first"]["tags"]] == ["1", {"rmse": "54"}]
    assert [chapter["first"]["run"], chapter["first"]["status"], chapter["first"]["stage"]] == [
        chapter["run"],
        "READY",
        "None",
    ]
    assert [chapter["second"]["version"], chapter["second"]["description"]] == ["2", "again"]
    assert chapter["arm"] == ["1", "mlflow_model", {"rmse": "54"}, chapter["run"]]
    assert chapter["arm_path"].endswith(f"/workspaceartifactstore/paths/ExperimentRun/dcid.{chapter['run']}/model")
    assert chapter["arm_versions"] == ["2", "1"]


@of("registered")
def test_both_clients_download_the_same_files(chapter: dict[str, Any]) -> None:
    assert chapter["files"] == [{"model/code/weights.txt": "weight 1"}, {"code/weights.txt": "weight 1"}]


@of("registered")
def test_a_version_needs_a_model_and_a_source_in_the_workspace(chapter: dict[str, Any]) -> None:
    assert chapter["twice"][0] == "RESOURCE_ALREADY_EXISTS"
    assert [chapter["unknown"][0], chapter["nobody"][0]] == ["RESOURCE_DOES_NOT_EXIST"] * 2
    assert chapter["nowhere"][0] == "INVALID_PARAMETER_VALUE"
    assert "'s3://bucket/model' is not in this workspace; give runs:/RUN/PATH" in chapter["nowhere"][1]


@of("by_arm")
def test_a_version_that_azure_ai_ml_registers_is_one_of_mlflows(chapter: dict[str, Any]) -> None:
    version = chapter["version"]
    assert [version["version"], version["stage"], version["description"]] == ["1", "Production", "d"]
    assert [version["tags"], version["run"], version["status"]] == [{"by": "sdk"}, "", "READY"]
    assert chapter["files"] == {"code/weights.txt": "weight 9"}


@of("by_arm")
def test_what_mlflow_changes_azure_ai_ml_shows(chapter: dict[str, Any]) -> None:
    assert chapter["changed"] == [{"by": "sdk", "champion": "true"}, "changed", "Production"]
    assert chapter["without"] == {"champion": "true"}
    assert chapter["model"] == [{"team": "blue"}, "a container"]


@of("sources")
def test_a_model_is_registered_from_wherever_a_job_has_left_it(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Completed"
    assert chapter["jobs"] == {"artifact": "maker", "named": "maker", "run": "maker", "stored": None}
    artifacts = "workspaceartifactstore/paths/ExperimentRun/dcid.maker/outputs/model"
    named = "workspaceblobstore/paths/azureml/maker/trained/deep"
    assert chapter["paths"] == {"artifact": artifacts, "run": artifacts, "named": named, "stored": named}
    assert chapter["files"] == {
        "artifact": {"model/weights.txt": "artifact\n"},
        "run": {"model/weights.txt": "artifact\n"},
        "named": {"deep/weights.txt": "named\n"},
        "stored": {"deep/weights.txt": "named\n"},
    }
    assert chapter["types"] == ["custom_model", "triton_model"]


@of("sources")
def test_a_model_from_nowhere_is_refused_and_nothing_is_registered(chapter: dict[str, Any]) -> None:
    assert [chapter["nobody"]["status"], chapter["nothing"]["status"], chapter["left"]] == [400, 400, False]
    assert "names job never, not found" in chapter["nobody"]["text"]
    assert "names output never, not found" in chapter["nothing"]["text"]


@of("sources")
def test_a_versions_path_never_changes_but_its_tags_do_and_its_job_stays(chapter: dict[str, Any]) -> None:
    assert chapter["again"] == ["1", {"a": "b"}, "maker"]
    assert "(UserError) Asset paths cannot be updated." in chapter["moved"]["text"]


@of("containers")
def test_a_model_and_its_versions_are_archived_and_restored(chapter: dict[str, Any]) -> None:
    assert [chapter["gone"], chapter["archived"], chapter["restored"]] == [["stored"], ["stored"], True]
    assert chapter["versions"] == [["1"], ["2", "1"], "1"]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"


@of("containers")
def test_the_flavors_of_a_model_come_back(chapter: dict[str, Any]) -> None:
    assert chapter["flavors"] == {"sklearn": {"sklearn_version": "1.5.0"}}


@of("stages")
def test_a_stage_is_the_same_for_both_clients_and_outlives_archiving(chapter: dict[str, Any]) -> None:
    assert chapter["both"] == ["Archived", "Production"]
    assert [chapter["by_stage"], chapter["wanted"], chapter["archived"]] == [["2"], ["2"], ["1"]]
    assert chapter["latest"] == [["1", "Archived"], ["2", "Production"]]
    assert chapter["kept"] == "Production"
    assert "Invalid Model Version stage: Somewhere" in chapter["wrong"][1]


@of("aliases")
def test_an_alias_means_one_version_at_a_time(chapter: dict[str, Any]) -> None:
    assert chapter["means"] == ["2", ["champion"]]
    assert chapter["all"] == {"champion": "2", "challenger": "1"}
    assert chapter["left"] == {"champion": "2"}
    assert [chapter["gone"][0], chapter["nothing"][0]] == ["RESOURCE_DOES_NOT_EXIST"] * 2


@of("searched")
def test_models_are_searched_by_name_tag_run_and_number(chapter: dict[str, Any]) -> None:
    assert chapter["pages"] == [["many-4", "many-3"], ["many-2", "many-1"], True]
    assert chapter["tagged"] == ["many-1", "many-3"]
    assert chapter["all"] == sorted(chapter["all"])
    assert {"net", "sdk", "many-0"} < set(chapter["all"])
    assert [chapter["of_run"], chapter["in_runs"], chapter["numbered"]] == [["1", "2"], 2, ["2"]]


@of("searched")
def test_a_search_that_is_not_understood_is_refused(chapter: dict[str, Any]) -> None:
    assert "There is no attribute colour." in chapter["wrong"][1]
    assert "IN needs a list" in chapter["wrong_list"][1]


@of("deleted")
def test_a_version_is_copied_and_deleted_with_its_aliases(chapter: dict[str, Any]) -> None:
    assert chapter["copied"] == ["3", True]
    assert [chapter["gone"][0], chapter["arm"]] == ["RESOURCE_DOES_NOT_EXIST", ["2", "1"]]
    assert chapter["aliases"] == {"champion": "2"}


@of("deleted")
def test_what_azure_does_not_do_with_a_registered_model_is_refused(chapter: dict[str, Any]) -> None:
    assert "Deleting a registered model with its versions is not supported by Azure ML" in chapter["whole"][1]
    assert "Renaming registered models is not supported by Azure ML" in chapter["renamed"][1]


# metrics and artifacts


@of("metrics")
def test_every_point_of_a_metric_is_kept_with_its_step_also_what_is_no_number(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == ["Completed", "FINISHED"]
    assert chapter["history"] == [[0, "3.0"], [1, "nan"], [2, "inf"], [3, "-inf"], [4, "1e-300"]]
    assert chapter["last"] == {"loss": "1e-300", "rmse": "54.1"}
    assert chapter["page"] == [2, True]
    assert [chapter["best"], chapter["params"]] == [["measured"], {"alpha": "0.5"}]


@of("metrics")
def test_a_job_logs_artifacts_with_nothing_but_mlflow(chapter: dict[str, Any]) -> None:
    assert chapter["artifacts"] == ["made/note.txt"]


@of("artifacts")
def test_artifacts_are_logged_listed_and_downloaded(chapter: dict[str, Any]) -> None:
    assert chapter["root"] == [["model", True], ["notes", True]]
    assert chapter["deep"] == [["model/code/weights.txt", 8]]
    assert [chapter["files"], chapter["note"]] == [{"code/weights.txt": "weight 1"}, "a note with ümlauts"]
    assert chapter["missing"] is True


@of("as_azure_says_it")
def test_who_comes_by_azures_names_gets_addresses_as_azure_writes_them(chapter: dict[str, Any]) -> None:
    root = (
        f"azureml://westeurope.api.azureml.ms/mlflow/v2.0{ARM_ID}/experiments/registry/runs/{chapter['run']}/artifacts"
    )
    assert [chapter["artifacts"], chapter["of_run"]] == [root, f"{root}/model"]
    assert chapter["uploaded"] == "azureml://artifacts/Models/sdk:1/uploaded"
    assert [chapter["from_artifacts"]["run"], chapter["from_artifacts"]["tags"]] == [chapter["run"], {"x": "y"}]


# what the clients do not look at, as it was recorded


def test_a_new_version_is_201_with_its_location_and_the_same_again_200_without(wire: httpx.Client) -> None:
    """Recorded: model/…test_crud_model_with_stage, PUT versions/3, 2023-04-01-preview."""
    url = f"{ARM_ID}/models/recorded/versions/3?api-version=2023-04-01-preview"
    uri = "azureml://datastores/workspaceblobstore/paths/LocalUpload/x/lightgbm_mlflow_model"
    properties: dict[str, Any] = {
        "description": "this is my test model with stage",
        "properties": {},
        "tags": {"foo": "bar", "abc": "123"},
        "isAnonymous": False,
        "isArchived": False,
        "flavors": {"sklearn": {"data": {"sklearn_version": "0.23.2"}}},
        "modelType": "mlflow_model",
        "modelUri": uri,
        "stage": "Production",
    }
    first = wire.put(url, json={"properties": properties})
    again = wire.put(url, json={"properties": properties | {"tags": {}}})
    body = first.json()

    assert [first.status_code, again.status_code] == [201, 200]
    assert first.headers["location"].endswith(url)
    assert "location" not in again.headers
    assert [body["id"], body["name"]] == [url.partition("?")[0], "3"]
    assert body["type"] == "Microsoft.MachineLearningServices/workspaces/models/versions"
    assert list(body["properties"]) == [
        "description",
        "tags",
        "properties",
        "isArchived",
        "isAnonymous",
        "autoDeleteSetting",
        "flavors",
        "modelType",
        "modelUri",
        "jobName",
        "provisioningState",
        "stage",
        "intellectualProperty",
    ]
    assert "/resourceGroups/" in body["properties"]["modelUri"]
    assert [body["properties"]["jobName"], body["properties"]["provisioningState"]] == [None, "Succeeded"]
    assert len(body["systemData"]) == 6
    created, modified = (again.json()["systemData"][name] for name in ("createdAt", "lastModifiedAt"))
    assert [created, modified > created] == [body["systemData"]["createdAt"], True]


def test_a_model_that_is_not_there_is_told_in_the_details(wire: httpx.Client) -> None:
    """Recorded: model/…test_create_autoincrement, GET container."""
    answer = wire.get(f"{ARM_ID}/models/never?api-version=2022-05-01")

    error = answer.json()["error"]
    assert [answer.status_code, error["code"]] == [404, "UserError"]
    assert error["message"] == "The specified resource was not found."
    (detail,) = error["details"]
    assert [detail["code"], detail["message"]] == ["ModelNotFound", "Model container with name: never not found."]
    assert [detail["details"], detail["additionalInfo"]] == [[], []]


def test_the_latest_of_several_versions_comes_with_a_link_to_the_next(wire: httpx.Client) -> None:
    """Recorded: model/…test_models_get_latest_label, GET versions with $orderBy and $top."""
    url = f"{ARM_ID}/models/net/versions?api-version=2022-05-01&$orderBy=createdtime%20desc&$top=1"
    first = wire.get(url).json()
    following = wire.get(first["nextLink"]).json()

    assert len(first["value"]) == 1
    assert "&$orderBy=createdtime+desc&$top=1&$skipToken=" in first["nextLink"]
    assert int(following["value"][0]["name"]) == int(first["value"][0]["name"]) - 1


def test_a_container_tells_its_latest_and_its_next_version(wire: httpx.Client) -> None:
    """Recorded: model/…test_list_no_name, GET models."""
    found = wire.get(f"{ARM_ID}/models?api-version=2022-05-01&listViewType=ActiveOnly").json()["value"]
    (net,) = [one for one in found if one["name"] == "net"]

    assert set(net["properties"]) == {"description", "tags", "properties", "isArchived", "latestVersion", "nextVersion"}
    assert int(net["properties"]["nextVersion"]) == int(net["properties"]["latestVersion"]) + 1
    assert net["type"] == "Microsoft.MachineLearningServices/workspaces/models"
    assert len(net["systemData"]) == 6


def test_versions_that_are_registered_at_the_same_moment_get_numbers_of_their_own(wire: httpx.Client) -> None:
    wire.post(f"{MLFLOW}/registered-models/create", json={"name": "crowded"}).raise_for_status()
    said = {"name": "crowded", "source": "runs:/maker/outputs/model", "run_id": "maker"}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wire.post(f"{MLFLOW}/model-versions/create", json=said), range(24)))

    numbers = sorted(int(one.json()["model_version"]["version"]) for one in answers)
    assert numbers == list(range(1, 25))


def test_a_version_is_deleted_once(wire: httpx.Client) -> None:
    """Azure's REST reference, Model Versions - Delete: 200, and 204 where there is none."""
    url = f"{ARM_ID}/models/passing/versions/1"
    wire.put(url, json={"properties": {"modelUri": "azureml://datastores/workspaceblobstore/paths/x"}})

    assert [wire.delete(url).status_code, wire.delete(url).status_code] == [200, 204]
    assert wire.get(url).status_code == 404


def test_a_runs_artifacts_are_written_and_found_as_azureml_mlflow_does_it(wire: httpx.Client) -> None:
    """azureml-mlflow 1.62: batch/metadata, the upload itself, the list, and contentinfo."""
    root = f"/history/v1.0{ARM_ID}/experiments/any/runs/maker/artifacts"
    asked = wire.post(f"{root}/batch/metadata", json={"paths": [{"path": "deep/ä b.txt"}]}).json()
    place = asked["artifactContentInformation"]["deep/ä b.txt"]
    put = httpx.put(place["contentUri"], content=b"hello", headers={"x-ms-blob-type": "BlockBlob"}, trust_env=False)
    listed = wire.get(root).json()
    content = wire.get(f"{root}/contentinfo", params={"path": "deep/ä b.txt"}).json()

    assert [asked["errors"], put.status_code] == [{}, 201]
    assert [place["origin"], place["container"]] == ["ExperimentRun", "dcid.maker"]
    assert "deep/ä b.txt" in [one["path"] for one in listed["value"]]
    assert httpx.get(content["contentUri"], trust_env=False).content == b"hello"
    assert wire.get(f"{root}/contentinfo", params={"path": "never"}).status_code == 404


def test_the_files_of_a_model_are_a_container_of_the_artifact_service(wire: httpx.Client) -> None:
    root = f"/artifact/v2.0{ARM_ID}/artifacts/Models/sdk:1"
    listed = [one["path"] for one in wire.get(root).json()["value"]]
    content = wire.get(f"{root}/contentinfo", params={"path": "uploaded/code/weights.txt"}).json()
    put = wire.post(f"{root}/batch/metadata", json={"paths": [{"path": "uploaded/more"}]})

    assert sorted(listed) == ["uploaded/MLmodel", "uploaded/code/weights.txt"]
    assert httpx.get(content["contentUri"], trust_env=False).text == "weight 9"
    assert [put.status_code, "the files of a model never change" in put.text] == [501, True]


def test_run_historys_own_metrics_have_every_point_too(wire: httpx.Client) -> None:
    """The SDK's run history client: POST list, and full."""
    root = f"/metric/v2.0{ARM_ID}/runs/measured"
    names = [one["name"] for one in wire.post(f"{root}/list", json={}).json()["value"]]
    points = wire.post(f"{root}/full", json={"metricName": "loss"}).json()["value"]

    assert sorted(names) == ["loss", "rmse"]
    values = [3.0, "NaN", "Infinity", "-Infinity", 1e-300]
    assert [[one["step"], one["data"]["loss"]] for one in points] == list(map(list, enumerate(values)))


def test_who_has_no_token_yet_is_told_which_cloud_this_is(emulator: Emulator) -> None:
    """azureml-mlflow 1.62 and the SDK's ARM_CLOUD_METADATA_URL: names, the login's address, and suffixes."""
    (cloud,) = httpx.get(f"{emulator.addresses.http}/metadata/endpoints?api-version=2019-05-01", trust_env=False).json()

    assert [cloud["name"], cloud["resourceManager"]] == ["AzureCloud", "https://management.azure.com/"]
    assert cloud["authentication"]["loginEndpoint"] == "https://login.microsoftonline.com/"
    assert cloud["suffixes"]["storage"] == "core.windows.net"


def test_mlflows_own_list_of_artifacts_names_their_sizes(wire: httpx.Client) -> None:
    found = wire.get(f"{MLFLOW}/artifacts/list", params={"run_id": "maker", "path": "outputs/model"}).json()

    assert found["files"] == [{"path": "outputs/model/weights.txt", "is_dir": False, "file_size": 9}]
    assert found["root_uri"] == "mlflow-artifacts:/runs/maker/artifacts"


def test_no_path_of_an_artifact_leads_out_of_its_run(wire: httpx.Client) -> None:
    root = f"/history/v1.0{ARM_ID}/experiments/any/runs/maker/artifacts"

    for path in ("../other", "a/../../b", "/etc/passwd", "a//b", "./a", "a\\b"):
        answer = wire.post(f"{root}/batch/metadata", json={"paths": [{"path": path}]})
        assert [answer.status_code, answer.json()["error_code"]] == [400, "INVALID_PARAMETER_VALUE"], path
