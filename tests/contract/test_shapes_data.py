"""Data and models: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.asset_shapes import LATEST, LONG, PLACE, container_of, said_of, version_of
from tests.contract.shapes import (
    GUID_OF_WORKSPACE,
    OF_ASSET,
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
_NEW_DATA = {name: OF_ASSET[name] for name in ("createdAt", "createdBy", "createdByType", "lastModifiedAt")}


def _data(uri: str, *, of: Any, version: str = "foo", kind: str = "uri_file", **more: Any) -> Any:
    return version_of("data", "asset", version, said_of(dataUri=uri, dataType=kind, **more), of=of)


def _sent_data(uri: str, kind: str, **more: Any) -> Any:
    said = {"properties": {}, "tags": {}, "isAnonymous": False, "isArchived": False}
    return {"properties": {**said, "dataType": kind, "dataUri": uri, **more}}


_FILE = f"azureml://{PLACE}/train.py"
DATA = [
    Exchange(
        "PUT data",
        "data/asset/versions/foo",
        201,
        _data(f"{LONG}/train.py", of=_NEW_DATA),
        sent=_sent_data(_FILE, "uri_file"),
        headers={"Location": like(f"<any>{W}/data/asset/versions/foo?api-version=<any>")},
    ),
    Exchange("GET data", "data/asset/versions/foo", 200, _data(f"{LONG}/train.py", of=_NEW_DATA)),
    Exchange(
        "GET data container",
        "data/asset",
        200,
        container_of(
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
        _data(f"{LONG}/train.py", of=OF_ASSET, isArchived=True),
        sent=_sent_data(_FILE, "uri_file", isArchived=True),
        headers={"Location": None},
    ),
    Exchange(
        "PUT data of a folder",
        "data/asset/versions/2",
        201,
        _data(f"{LONG}/folder/", of=_NEW_DATA, version="2", kind="uri_folder"),
        sent=_sent_data(f"azureml://{PLACE}/folder", "uri_folder"),
    ),
    Exchange(
        "GET data versions that are not archived",
        "data/asset/versions?listViewType=ActiveOnly",
        200,
        {
            "value": [
                _data(
                    f"azureml://workspaces/{GUID_OF_WORKSPACE}/{PLACE}/folder/",
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
    uri = f"{LONG}/model".replace("resourcegroups", "resourceGroups")
    said = said_of(
        autoDeleteSetting=None,
        flavors=_FLAVORS,
        modelType="mlflow_model",
        modelUri=uri,
        jobName=None,
        provisioningState="Succeeded",
        stage="Production",
        intellectualProperty=None,
    )
    return version_of("models", "model", version, said | more)


_SENT_MODEL = {
    "properties": {},
    "tags": {},
    "isAnonymous": False,
    "isArchived": False,
    "flavors": _FLAVORS,
    "modelType": "mlflow_model",
    "modelUri": f"{LONG}/model",
    "stage": "Production",
}
_OF_MODEL = container_of(
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
        f"models/model/versions?api-version={_V}&{LATEST}",
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
