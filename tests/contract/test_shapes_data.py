"""Data and models: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.shapes import (
    GROUP,
    GUID_OF_WORKSPACE,
    NAME,
    OF_ASSET,
    SUBSCRIPTION,
    TYPE,
    Answers,
    Azure,
    Each,
    Exchange,
    W,
    detailed,
    each,
    judged,
    like,
)

_V = "2022-05-01"
_LATEST = "$orderBy=createdtime%20desc&$top=1"
_PLACE = "datastores/workspaceblobstore/paths/LocalUpload/0123456789abcdef0123456789abcdef"
_LONG = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{NAME}/{_PLACE}"


def _version(segment: str, name: str, version: str, properties: Any, *, of: Any = OF_ASSET) -> Any:
    return {
        "id": f"{W}/{segment}/{name}/versions/{version}",
        "name": version,
        "type": f"{TYPE}/{segment}/versions",
        "properties": properties,
        "systemData": of,
    }


def _container(segment: str, name: Any, properties: Any, *, of: Any = OF_ASSET) -> Any:
    return {
        "id": f"{W}/{segment}/{name}" if isinstance(name, str) else like(f"{W}/{segment}/<word>"),
        "name": name,
        "type": f"{TYPE}/{segment}",
        "properties": {"isArchived": False, **properties},
        "systemData": of,
    }


def _said(**more: Any) -> Any:
    return {"description": None, "tags": {}, "properties": {}, "isArchived": False, "isAnonymous": False, **more}


_NEW_DATA = {name: OF_ASSET[name] for name in ("createdAt", "createdBy", "createdByType", "lastModifiedAt")}


def _data(uri: str, *, of: Any, version: str = "foo", kind: str = "uri_file", **more: Any) -> Any:
    return _version("data", "asset", version, _said(dataUri=uri, dataType=kind, **more), of=of)


def _sent_data(uri: str, kind: str, **more: Any) -> Any:
    said = {"properties": {}, "tags": {}, "isAnonymous": False, "isArchived": False}
    return {"properties": {**said, "dataType": kind, "dataUri": uri, **more}}


_FILE = f"azureml://{_PLACE}/train.py"
DATA = [
    Exchange(
        "PUT data",
        "data/asset/versions/foo",
        201,
        _data(f"{_LONG}/train.py", of=_NEW_DATA),
        sent=_sent_data(_FILE, "uri_file"),
        headers={"Location": like(f"<any>{W}/data/asset/versions/foo?api-version=<any>")},
    ),
    Exchange("GET data", "data/asset/versions/foo", 200, _data(f"{_LONG}/train.py", of=_NEW_DATA)),
    Exchange(
        "GET data container",
        "data/asset",
        200,
        _container(
            "data",
            "asset",
            {
                **dict.fromkeys(("description", "tags", "properties")),
                "latestVersion": "foo",
                "nextVersion": "1",
                "dataType": "uri_file",
            },
            of=_NEW_DATA,
        ),
    ),
    Exchange(
        "PUT data that is archived",
        "data/asset/versions/foo",
        200,
        _data(f"{_LONG}/train.py", of=OF_ASSET, isArchived=True),
        sent=_sent_data(_FILE, "uri_file", isArchived=True),
        headers={"Location": None},
    ),
    Exchange(
        "PUT data of a folder",
        "data/asset/versions/2",
        201,
        _data(f"{_LONG}/folder/", of=_NEW_DATA, version="2", kind="uri_folder"),
        sent=_sent_data(f"azureml://{_PLACE}/folder", "uri_folder"),
    ),
    Exchange(
        "GET data versions that are not archived",
        "data/asset/versions?listViewType=ActiveOnly",
        200,
        {
            "value": [
                _data(
                    f"azureml://workspaces/{GUID_OF_WORKSPACE}/{_PLACE}/folder/",
                    of=_NEW_DATA,
                    version="2",
                    kind="uri_folder",
                )
            ]
        },
    ),
]

_FLAVORS = {"sklearn": {"data": {"sklearn_version": "0.23.2"}}}


def _model(version: str, **more: Any) -> Any:
    uri = f"{_LONG}/model".replace("resourcegroups", "resourceGroups")
    said = _said(
        autoDeleteSetting=None,
        flavors=_FLAVORS,
        modelType="mlflow_model",
        modelUri=uri,
        jobName=None,
        provisioningState="Succeeded",
        stage="Production",
        intellectualProperty=None,
    )
    return _version("models", "model", version, said | more)


_SENT_MODEL = {
    "properties": {},
    "tags": {},
    "isAnonymous": False,
    "isArchived": False,
    "flavors": _FLAVORS,
    "modelType": "mlflow_model",
    "modelUri": f"{_LONG}/model",
    "stage": "Production",
}
_OF_MODEL = _container(
    "models",
    like("<word>"),
    {
        "description": None,
        "tags": {},
        "properties": {},
        "latestVersion": re.compile(r"\d+"),
        "nextVersion": re.compile(r"\d+"),
    },
)
MODELS = [
    Exchange(
        "GET model container that is missing",
        "models/model",
        404,
        detailed("UserError", "ModelNotFound", "Model container with name: model not found."),
    ),
    *(
        Exchange(
            f"PUT model, version {version}",
            f"models/model/versions/{version}",
            201,
            _model(version),
            sent={"properties": _SENT_MODEL},
            headers={"Location": like(f"<any>{W}/models/model/versions/{version}?api-version=<any>")},
        )
        for version in "12"
    ),
    Exchange("GET model", "models/model/versions/2", 200, _model("2")),
    Exchange(
        "GET models of a stage",
        "models/model/versions?stage=Production&listViewType=ActiveOnly",
        200,
        {"value": [_model("2"), _model("1")]},
    ),
    Exchange(
        "GET latest version of a model",
        f"models/model/versions?api-version={_V}&{_LATEST}",
        200,
        {
            "value": [_model("2")],
            "nextLink": like(
                f"https://management.azure.com{W}/models/model/versions?api-version={_V}&$orderBy=createdtime+desc"
                "&$top=1&$skipToken=<any>"
            ),
        },
    ),
    Exchange(
        "GET next page of a model's versions",
        lambda told: str(told["GET latest version of a model"].json()["nextLink"]),
        200,
        {"value": [_model("1")]},
    ),
    Exchange(
        "PUT model that is archived",
        "models/model/versions/1",
        200,
        _model("1", isArchived=True),
        sent={"properties": _SENT_MODEL | {"isArchived": True}},
        headers={"Location": None},
    ),
    Exchange(
        "GET models that are not archived",
        "models/model/versions?listViewType=ActiveOnly",
        200,
        {"value": [_model("2")]},
    ),
    Exchange("GET model that is archived", "models/model/versions/1", 200, _model("1", isArchived=True)),
    Exchange("GET models", "models?listViewType=ActiveOnly", 200, {"value": Each(_OF_MODEL, at_least=1)}),
]

EXCHANGES = [*DATA, *MODELS]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []
