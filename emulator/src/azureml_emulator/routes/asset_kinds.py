"""What sets one kind of versioned asset apart from another: its body, its errors, how it answers a PUT.

Source: recorded answers of Azure ML, 2022-08 to 2023-05 (API versions 2022-05-01 to 2023-04-01-preview).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from azureml_emulator.errors import Json, WireError, bad_request, no_component, not_found, refusal
from azureml_emulator.names import WorkspaceName, guid
from azureml_emulator.routes import source_jobs
from azureml_emulator.routes.uris import long_form, model_source
from azureml_emulator.store import Store, now

ANONYMOUS = frozenset({"azureml_anonymous", "CliV2AnonymousEnvironment"})
_CURATED = ("azureml-", "acft-", "azureml/")


def text(sent: Json, member: str) -> str | None:
    """Read a text; None where it is left out.

    Raises:
        WireError: 400 when it is something else.
    """
    found = sent.get(member)
    if not isinstance(found, str | None):
        raise bad_request(f"{member} is no text.")
    return found


def words(sent: Json, member: str) -> Json:
    """Read names and their values, such as tags; none where they are left out.

    Raises:
        WireError: 400 when they are something else.
    """
    found = sent.get(member) or {}
    if not isinstance(found, dict):
        raise bad_request(f"{member} is no object of names and values.")
    return found


@attrs.frozen
class Asked:
    """A PUT of a version: where, and the ``properties`` that came with it."""

    store: Store
    workspace: WorkspaceName
    name: str
    version: str
    sent: Json

    def common(self) -> Json:
        """The members that every asset begins with."""
        return {
            "description": text(self.sent, "description"),
            "tags": words(self.sent, "tags"),
            "properties": words(self.sent, "properties"),
            "isArchived": bool(self.sent.get("isArchived")),
            "isAnonymous": bool(self.sent.get("isAnonymous")),
        }


@attrs.frozen(kw_only=True)
class AssetKind:
    """One kind of asset.

    Attributes:
        segment: Its word in ARM ids.
        properties: Makes the stored ``properties`` of a version.
        missing: Makes the 404, from name and version (empty for the container).
        always_created: Whether every PUT answers 201.
        keeps_times: Whether ``systemData`` stays as it was at the first PUT.
        path_member: The member that a later PUT may not change; empty for none.
        numbered: Whether the next version is one more than the highest number; else it is a time.
        shows_latest: Whether the container tells the latest version.
    """

    segment: str
    properties: Callable[[Asked], Json]
    missing: Callable[[str, str], WireError]
    always_created: bool = False
    keeps_times: bool = False
    path_member: str = ""
    numbered: bool = True
    shows_latest: bool = True


def _environment(asked: Asked) -> Json:
    sent = asked.sent
    build = {"build": sent["build"]} if sent.get("build") else {}
    if not build and not sent.get("image"):
        raise bad_request("An environment needs an image or a build context.")
    return {
        **asked.common(),
        "autoDeleteSetting": None,
        "environmentType": "UserCreated",
        "image": sent.get("image"),
        **build,
        "condaFile": sent.get("condaFile") or "",
        "osType": sent.get("osType") or "Linux",
        "autoRebuild": "Disabled",
        "provisioningState": "Succeeded",
        "stage": sent.get("stage") or "Logged",
        "intellectualProperty": None,
    }


def _code(asked: Asked) -> Json:
    uri = _needed(asked, "codeUri")
    tail = {"codeUri": uri, "provisioningState": "Succeeded"}
    return {**asked.common(), "isAnonymous": False, **tail}  # recorded: sent true, returned false


def _model(asked: Asked) -> Json:
    sent = asked.sent
    uri, job = model_source(asked.store, asked.workspace, _needed(asked, "modelUri"))
    return {
        **asked.common(),
        "autoDeleteSetting": None,
        "flavors": words(sent, "flavors"),
        "modelType": text(sent, "modelType") or "custom_model",
        "modelUri": uri,
        "jobName": text(sent, "jobName") or job,
        "provisioningState": "Succeeded",
        "stage": text(sent, "stage"),
        "intellectualProperty": None,
    }


def _data(asked: Asked) -> Json:
    kind = _needed(asked, "dataType")
    uri = long_form(asked.workspace, _needed(asked, "dataUri"))
    if kind == "uri_folder" and not uri.endswith("/"):
        uri += "/"
    return {**asked.common(), "dataUri": uri, "dataType": kind}


def _needed(asked: Asked, member: str) -> str:
    if not (value := asked.sent.get(member)):
        raise bad_request(f"{asked.name}:{asked.version} has no {member}.")
    return str(value)


def _component(asked: Asked) -> Json:
    spec = asked.sent.get("componentSpec")
    if not isinstance(spec, dict):
        raise bad_request(f"Component {asked.name}:{asked.version} has no componentSpec.")
    if spec.get("sourceJobId"):
        spec = source_jobs.spec_of(asked.store, asked.workspace, spec)
    common = asked.common() | {"description": None}  # recorded: lost at the top, kept inside
    return {**common, "componentSpec": canonical_spec(asked, spec)}


_SPEC_ORDER = ("$schema", "name", "version", "display_name", "is_deterministic", "type", "description", "tags")
_SPEC_DROPPED = frozenset({"_source", "id", "sourceJobId", "inputs", "outputs", "code", "environment", "command"})


def canonical_spec(asked: Asked, spec: Mapping[str, Any]) -> Json:
    """Write a component's specification as the service gives it back: in its order, scalars as strings."""
    known = dict(spec) | {"name": spec.get("name") or asked.name, "version": spec.get("version") or asked.version}
    head = {key: _as_strings(known[key]) for key in _SPEC_ORDER if known.get(key) is not None}
    inputs = {name: _input(name, declared) for name, declared in words(known, "inputs").items()}
    needed_first = sorted(inputs.items(), key=lambda item: item[1]["optional"] == "True")
    tail: Json = {"inputs": dict(needed_first), "outputs": _as_strings(words(known, "outputs"))}
    for key, value in known.items():
        if key not in _SPEC_ORDER and key not in _SPEC_DROPPED and value is not None:
            tail[key] = value if key in {"jobs", "settings"} else _as_strings(value)
    if known.get("code"):
        tail["code"] = known["code"]
    if known.get("environment"):
        tail["environment"] = _resolved_environment(asked, known["environment"])
    if known.get("type") == "command":
        tail["resources"] = {"instance_count": "1"} | _as_strings(words(known, "resources"))
        tail["command"] = known.get("command", "")
    return head | tail


def _input(name: str, declared: Any) -> Json:
    if not isinstance(declared, dict):
        raise bad_request(f"Input {name} of the component is no object.")
    shown: Json = {"type": declared.get("type"), "optional": str(_true(declared.get("optional")))}
    shown |= {key: _as_strings(value) for key, value in declared.items() if key not in shown and value is not None}
    return shown


def _true(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _as_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_strings(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_strings(inner) for inner in value]
    return value if value is None or isinstance(value, str) else str(value)


def _resolved_environment(asked: Asked, environment: Any) -> Any:
    """Resolve ``azureml:NAME:VERSION`` and ``azureml:NAME@latest`` as the service does when it stores a component."""
    short = environment.removeprefix("azureml:") if isinstance(environment, str) else ""
    if not short or "/" in short:
        return environment
    name, _, label = short.partition("@")
    if not label:
        name, _, version = short.rpartition(":")
    else:
        known = asked.store.children(f"{asked.workspace.arm_id}/environments/{name}/versions")
        version = known[-1]["name"] if known else "1"
    arm_id = f"{asked.workspace.arm_id}/environments/{name}/versions/{version}"
    if asked.store.get(arm_id):
        return f"azureml:{arm_id}"
    if name.lower().startswith(_CURATED):
        return f"azureml://registries/azureml/environments/{name}/versions/{version}"
    return environment


def minted_version(client_version: str, spec: Json) -> str:
    """The GUID that the service gives an anonymous component instead of the client's version."""
    return guid("component", client_version, json.dumps(spec, sort_keys=True))


def next_version(kind: AssetKind, versions: list[Json]) -> str:
    """What the container says the next version is."""
    if not kind.numbered:
        at = now()
        return at[:19].replace("T", "-").replace(":", "-") + "-" + at[20:27]
    return str(max((int(one["name"]) for one in versions if one["name"].isdigit()), default=0) + 1)


def _no_environment(name: str, version: str) -> WireError:
    message = f"No environment exists for name: {name}, version: {version}, label: "
    return refusal(404, message, inner_codes=("NotFoundError",))


def _no_model(name: str, version: str) -> WireError:
    where = (
        f"Model container with name: {name}" if not version else f"Model version with name: {name}, version: {version}"
    )
    return not_found("ModelNotFound", f"{where} not found.")


def _no_data(name: str, version: str) -> WireError:
    where = f"version {version} of data asset {name}" if version else f"data asset {name}"
    return refusal(404, f"Could not find {where}.", inner_codes=("NotFoundError",))


def _no_code(name: str, version: str) -> WireError:
    return refusal(404, f"Could not find code asset {name}:{version}.", inner_codes=("NotFoundError",))


def _no_component(name: str, version: str) -> WireError:
    return no_component(f"{name} (version: {version})" if version else name)


KINDS = (
    AssetKind(
        segment="environments",
        properties=_environment,
        missing=_no_environment,
        always_created=True,
        keeps_times=True,
    ),
    AssetKind(segment="codes", properties=_code, missing=_no_code, always_created=True),
    AssetKind(segment="components", properties=_component, missing=_no_component, numbered=False, shows_latest=False),
    AssetKind(segment="data", properties=_data, missing=_no_data, path_member="dataUri"),
    AssetKind(segment="models", properties=_model, missing=_no_model, path_member="modelUri"),
)
