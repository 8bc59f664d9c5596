"""Code, environments and components: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.asset_shapes import LATEST, container_of, said_of, version_of
from tests.contract.shapes import (
    ACCOUNT,
    GUID,
    GUID_OF_WORKSPACE,
    OF_ASSET,
    TIME,
    TYPE,
    Answers,
    Azure,
    Each,
    Exchange,
    W,
    each,
    judged,
    like,
    maybe,
    refused,
)

_V = "2022-05-01"
# code

_HASHED = {"hash_sha256": "bbd95444", "hash_version": "202208"}
_CODE_URI = f"https://{ACCOUNT}.blob.core.windows.net/azureml-blobstore-{GUID_OF_WORKSPACE}/LocalUpload/0123/src"
_CODE = version_of("codes", "src", "1", said_of(properties=_HASHED, codeUri=_CODE_URI, provisioningState="Succeeded"))
CODE = [
    Exchange(
        "PUT code",
        "codes/src/versions/1",
        201,
        _CODE,
        sent={"properties": {"properties": _HASHED, "isAnonymous": True, "isArchived": False, "codeUri": _CODE_URI}},
        version=_V,
        headers={"Location": like(f"<any>{W}/codes/src/versions/1?api-version={_V}")},
    ),
    Exchange("GET code", "codes/src/versions/1", 200, _CODE, version="2023-04-01"),
    Exchange(
        "GET code by its hash",
        "codes/of-any-name/versions?hash=bbd95444&hashVersion=202208",
        200,
        {"value": [_CODE]},
        version="2023-04-01",
    ),
]

# environments

_CONDA = "dependencies:\n- python=3.8\nname: example\n"
_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"


def _environment(version: str, *, name: str = "env", **more: Any) -> Any:
    return version_of(
        "environments",
        name,
        version,
        {
            **said_of(),
            "autoDeleteSetting": None,
            "environmentType": "UserCreated",
            "image": _IMAGE,
            "condaFile": str,  # here it comes back as it was sent
            "osType": "Linux",
            "autoRebuild": "Disabled",
            "provisioningState": "Succeeded",
            "stage": "Logged",
            "intellectualProperty": None,
            **more,
        },
    )


_ENVIRONMENT = {"description": "two", "isAnonymous": False, "isArchived": False, "condaFile": _CONDA, "image": _IMAGE}
ENVIRONMENTS = [
    Exchange(
        "GET environment container that is missing",
        "environments/env",
        404,
        refused("UserError", "No environment exists for name: env, version: , label: ", "NotFoundError"),
    ),
    *(
        Exchange(
            f"PUT environment{when}",
            "environments/env/versions/1",
            201,
            _environment("1", description="two", isArchived=archived),
            sent={"properties": _ENVIRONMENT | {"isArchived": archived}},
            headers={"Location": like(f"<any>{W}/environments/env/versions/1?api-version=<any>")},
        )
        for when, archived in (("", False), (" once more", False), (" that is archived", True))
    ),
    Exchange(
        "PUT environment, the next",
        "environments/env/versions/2",
        201,
        _environment("2", description="two"),
        sent={"properties": _ENVIRONMENT},
    ),
    Exchange("GET environment", "environments/env/versions/2", 200, _environment("2", description="two")),
    Exchange(
        "GET environments that are not archived",
        "environments/env/versions?listViewType=ActiveOnly",
        200,
        {"value": [_environment("2", description="two")]},
    ),
    Exchange(
        "PUT anonymous environment",
        "environments/CliV2AnonymousEnvironment/versions/bd15d099bd15d099bd15d099bd15d099",
        201,
        _environment(
            "bd15d099bd15d099bd15d099bd15d099", name="CliV2AnonymousEnvironment", isAnonymous=True, condaFile=""
        ),
        sent={"properties": {"isAnonymous": True, "isArchived": False, "image": _IMAGE}},
    ),
]

# components

_SENT_SPEC = {
    "$schema": "https://azuremlschemas.azureedge.net/development/commandComponent.schema.json",
    "name": "basic",
    "version": "1",
    "type": "command",
    "display_name": "Basic",
    "description": "inside",
    "is_deterministic": True,
    "tags": {"owner": "sdkteam"},
    "inputs": {
        "number": {"type": "number", "optional": True, "default": "10.99", "description": "A number"},
        "path": {"type": "uri_folder", "description": "A path"},
    },
    "outputs": {"out": {"type": "uri_folder"}},
    "command": "echo ${{inputs.path}}",
    "code": f"azureml:{W}/codes/src/versions/1",
    "environment": "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu:33",
    "_source": "YAML.COMPONENT",
}
_KEPT = ("$schema", "name", "version", "type", "display_name", "description", "tags", "outputs", "command", "code")
_SHOWN_SPEC = {
    **{name: _SENT_SPEC[name] for name in _KEPT},
    "is_deterministic": "True",
    "inputs": {
        "path": {"type": "uri_folder", "optional": "False", "description": "A path"},
        "number": {"type": "number", "optional": "True", "default": "10.99", "description": "A number"},
    },
    "environment": "azureml://registries/azureml/environments/AzureML-sklearn-1.0-ubuntu20.04-py38-cpu/versions/33",
    "resources": {"instance_count": "1"},
}
_HASH = {"client_component_hash": "b95ddaa1-ef7c-c7e5-b9aa-91d5ff9b6914"}
_COMPONENT = version_of(
    "components", "basic", "1", said_of(tags={"owner": "sdkteam"}, properties=_HASH, componentSpec=_SHOWN_SPEC)
)
_NO_COMPONENT = refused("UserError", "Not found component basic.", "NotFound", "ComponentNotFound")
_SENT_COMPONENT = {
    "properties": {
        "description": "lost",
        "properties": _HASH,
        "tags": {"owner": "sdkteam"},
        "isAnonymous": False,
        "isArchived": False,
        "componentSpec": _SENT_SPEC,
    }
}
_OF_COMPONENT: Any = {
    "description": "",
    "tags": {},
    "properties": {},
    "latestVersion": None,
    "nextVersion": re.compile(r"\d{4}(-\d\d){5}-\d{7}"),
}
_TIMES = {"createdAt": TIME, "lastModifiedAt": TIME}
_ANONYMOUS = {"name": "azureml_anonymous", "version": "1", "is_deterministic": True, "type": "command", "command": "a"}
_ANONYMOUS_SPEC = {
    **_ANONYMOUS,
    "is_deterministic": "True",
    "resources": {"instance_count": "1"},
    **maybe({}, "inputs", "outputs"),
}
_V2 = "2022-10-01"
COMPONENTS = [
    Exchange("GET component container that is missing", "components/basic", 404, _NO_COMPONENT, version=_V2),
    Exchange(
        "GET default version of a component that is missing",
        "components/basic/versions/azureml_default",
        404,
        _NO_COMPONENT,
        version=_V2,
    ),
    Exchange(
        "PUT component",
        "components/basic/versions/1",
        201,
        _COMPONENT,
        sent=_SENT_COMPONENT,
        version=_V2,
        headers={"Location": like(f"<any>{W}/components/basic/versions/1?api-version={_V2}")},
    ),
    Exchange(
        "PUT component once more",
        "components/basic/versions/1",
        200,
        _COMPONENT,
        sent=_SENT_COMPONENT,
        version=_V2,
        headers={"Location": None},
    ),
    Exchange("GET component", "components/basic/versions/1", 200, _COMPONENT, version=_V2),
    Exchange(
        "GET default version of a component",
        "components/basic/versions/azureml_default",
        200,
        _COMPONENT | {"id": f"{W}/components/basic/labels/default"},
        version=_V2,
    ),
    Exchange(
        "GET latest version of a component",
        f"components/basic/versions?{LATEST}",
        200,
        {"value": [_COMPONENT]},
        version=_V2,
    ),
    Exchange(
        "GET component container",
        "components/basic",
        200,
        container_of("components", "basic", _OF_COMPONENT, of=_TIMES),
        version=_V2,
    ),
    Exchange(
        "GET components",
        "components?listViewType=ActiveOnly",
        200,
        {"value": Each(container_of("components", like("<word>"), _OF_COMPONENT), at_least=1)},
        version=_V2,
    ),
    Exchange(
        "PUT component container that is archived",
        "components/basic",
        200,
        container_of("components", "basic", {**_OF_COMPONENT, "isArchived": True}, of=_TIMES),
        sent={"properties": {"description": "", "properties": {}, "tags": {}, "isArchived": True}},
        version=_V2,
    ),
    Exchange(
        "PUT anonymous component",
        "components/azureml_anonymous/versions/2d48ca0c-1111-2222-3333-444455556666",
        201,
        {
            "id": like(f"{W}/components/azureml_anonymous/versions/<guid>"),
            "name": GUID,
            "type": f"{TYPE}/components/versions",
            "properties": said_of(isAnonymous=True, componentSpec=_ANONYMOUS_SPEC),
            "systemData": OF_ASSET,
        },
        sent={"properties": {"isAnonymous": True, "isArchived": False, "componentSpec": _ANONYMOUS}},
        version=_V2,
        headers={"Location": like("<any>/versions/2d48ca0c-1111-2222-3333-444455556666?api-version=2022-10-01")},
    ),
]

EXCHANGES = [*CODE, *ENVIRONMENTS, *COMPONENTS]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []


def test_an_environment_keeps_its_times_and_a_component_does_not(told: Answers) -> None:
    environments = [told[f"PUT environment{when}"].json()["systemData"] for when in ("", " that is archived")]
    components = [told[f"PUT component{when}"].json()["systemData"] for when in ("", " once more")]

    assert environments[0] == environments[1]
    assert components[0]["createdAt"] == components[1]["createdAt"]
    assert components[0]["lastModifiedAt"] < components[1]["lastModifiedAt"]


def test_the_id_of_an_anonymous_component_is_not_the_clients(told: Answers) -> None:
    body = told["PUT anonymous component"].json()

    assert body["name"] != "2d48ca0c-1111-2222-3333-444455556666"
    assert body["id"].endswith(f"/{body['name']}")


def test_the_required_inputs_of_a_component_come_first(told: Answers) -> None:
    assert list(told["PUT component"].json()["properties"]["componentSpec"]["inputs"]) == ["path", "number"]
