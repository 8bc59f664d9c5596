"""Rights that were taken away: who is not spoken of may do all, and nobody gets more than was left to him."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator import allowances, rights
from azureml_emulator.allowances import AllowanceError
from azureml_emulator.errors import WireError
from azureml_emulator.names import WorkspaceName
from azureml_emulator.store import Store

WORKSPACE = WorkspaceName("sub", "Group", "prod")
OTHER = WorkspaceName("sub", "group", "staging")

subjects = st.sampled_from(["pipeline", "person", "*"])
workspaces = st.sampled_from(["sub/group/prod", "SUB/Group/staging", "*"])
levels = st.sampled_from(["none", "read", "write"])
takings = st.dictionaries(subjects, st.dictionaries(workspaces, levels))


def verdict(store: Store, subject: str, method: str, path: str) -> str:
    try:
        rights.check(store, {"appid": subject, "oid": "o-1"}, method=method, path=path)
    except WireError as refused:
        error = (refused.body or {})["error"]
        return str(error["message"]) if (refused.status, error["code"]) == (403, "AuthorizationFailed") else repr(error)
    return "allowed"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("right", "allowed"),
    [("none", []), ("read", ["look", "search"]), ("write", ["look", "search", "change", "start", "delete"])],
)
def test_what_was_left_is_what_can_be_done(store: Store, right: str, allowed: list[str]) -> None:
    allowances.keep(store, "rights", {"person": {"sub/group/prod": right}})
    arm = WORKSPACE.arm_id
    asked = {
        "look": ("GET", f"{arm}/jobs/x"),
        "search": ("POST", f"/mlflow/v2.0{arm}/api/2.0/mlflow/runs/search"),
        "change": ("PUT", f"{arm.lower()}/jobs/x"),
        "start": ("POST", f"{arm}/jobs/x/cancel"),
        "delete": ("DELETE", f"{arm}/onlineEndpoints/x"),
    }

    assert [name for name, request in asked.items() if verdict(store, "person", *request) == "allowed"] == allowed


def test_the_refusal_names_who_what_and_where_as_azure_does(store: Store) -> None:
    allowances.keep(store, "rights", {"person": {"*": "read"}})

    refused = verdict(store, "person", "PUT", f"{WORKSPACE.arm_id}/onlineEndpoints/ep/deployments/blue")

    assert refused.startswith(
        "The client 'person' with object id 'o-1' does not have authorization to perform action "
        "'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments/write' over scope "
        f"'{WORKSPACE.arm_id}/onlineEndpoints/ep/deployments/blue'"
    )
    keys = verdict(store, "person", "POST", f"{WORKSPACE.arm_id}/onlineEndpoints/ep/listkeys")
    assert "/workspaces/onlineEndpoints/listkeys/action'" in keys


def test_others_and_other_workspaces_keep_their_rights(store: Store) -> None:
    allowances.keep(store, "rights", {"person": {"sub/group/prod": "none"}})

    assert verdict(store, "pipeline", "PUT", f"{WORKSPACE.arm_id}/jobs/x") == "allowed"
    assert verdict(store, "person", "PUT", f"{OTHER.arm_id}/jobs/x") == "allowed"
    assert verdict(store, "person", "GET", "/subscriptions/sub/resourceGroups/group") == "allowed"


@given(takings, st.sampled_from(["pipeline", "person", "stranger"]), st.sampled_from(["sub/group/prod", "a/b/c"]))
def test_what_is_said_of_one_goes_before_what_is_said_of_all(
    taken: dict[str, dict[str, str]], subject: str, workspace: str
) -> None:
    right = rights.right_of(taken, subject, workspace)

    own = {where.lower(): each for where, each in taken.get(subject, {}).items()}
    of_all = {where.lower(): each for where, each in taken.get("*", {}).items()}
    said = [found[where] for found in (own, of_all) for where in (workspace, "*") if where in found]
    assert right == (said[0] if said else "write")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([], r"rights: \[\] is no object"),
        ({"person": "read"}, 'person: "read" is no object'),
        ({"person": {"prod": "read"}}, "'prod' is no SUBSCRIPTION/RESOURCE_GROUP/NAME, nor"),
        ({"person": {"*": "admin"}}, '"admin" is no right; they are none, read, write'),
    ],
)
def test_a_wrong_right_is_refused_in_a_sentence(store: Store, said: Any, sentence: str) -> None:
    with pytest.raises(AllowanceError, match=sentence):
        allowances.keep(store, "rights", said)
