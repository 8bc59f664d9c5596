"""What a subscription has and allows, as Azure Resource Manager tells it, and as the control interface sets it."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import aiohttp
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator import allowances
from azureml_emulator.allowances import AllowanceError
from azureml_emulator.control import Control
from azureml_emulator.control import application as control_application
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes import workspaces
from azureml_emulator.routes.application import application
from azureml_emulator.routes.calls import Services
from azureml_emulator.tokens import Lifetime
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import ADDRESSES, World

pytestmark = pytest.mark.anyio

DSV2 = "Standard DSv2 Family Cluster Dedicated vCPUs"
VERSION = "?api-version=2024-10-01"


@attrs.frozen(kw_only=True)
class Arm:
    """Azure Resource Manager of a workspace of the test's own, and the control interface beside it."""

    world: World
    services: Services
    workspace: WorkspaceName

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.workspace.subscription}"

    def region(self, what: str) -> str:
        location = self.world.settings.location
        return f"{self.subscription}/providers/Microsoft.MachineLearningServices/locations/{location}/{what}"

    async def get(self, path: str) -> tuple[int, Any]:
        app = application(self.services, identity_header="x", lifetime=Lifetime())
        async with serving(app) as url, aiohttp.ClientSession() as client, client.get(url + path + VERSION) as answer:
            return answer.status, await answer.json(content_type=None)

    async def tell(self, kind: str, said: Any) -> int:
        assert self.services.control is not None
        app = control_application(self.services.control)
        async with (
            serving(app) as url,
            aiohttp.ClientSession() as client,
            client.put(f"{url}/control/{kind}", json=said) as answer,
        ):
            return answer.status


@pytest.fixture
async def arm(world: World) -> Arm:
    services = Services(
        store=world.store,
        settings=world.settings,
        addresses=ADDRESSES,
        runner=world.runner,
        storage=world.storage,
        control=Control(world.store, world.settings),
    )
    name = WorkspaceName.parse(world.settings.workspaces[0])
    await workspaces.create(services, name)
    return Arm(world=world, services=services, workspace=name)


def _of(rows: list[dict[str, Any]], usage: str, *, owner: str = "") -> dict[str, Any]:
    (found,) = [row for row in rows if row["name"]["value"] == usage and row["id"].startswith(f"{owner}/usages")]
    return found


async def test_usages_are_told_for_the_subscription_and_for_each_workspace(arm: Arm) -> None:
    status, body = await arm.get(arm.region("usages"))

    assert status == 200
    whole = _of(body["value"], "Total Cluster Dedicated Regional vCPUs", owner=arm.subscription)
    family = _of(body["value"], DSV2, owner=arm.subscription)
    its = _of(body["value"], DSV2, owner=arm.workspace.arm_id)
    assert whole["type"] == "Microsoft.MachineLearningServices/dedicatedCores/usages"
    assert family["type"] == "Microsoft.MachineLearningServices/vmFamily/usages"
    assert family["id"].endswith("/usages/Standard_DSv2_Family_Cluster_Dedicated_vCPUs")
    assert its["type"] == "Microsoft.MachineLearningServices/workspaces/usages"
    assert (family["currentValue"], family["unit"]) == (0, "Count")
    assert family["limit"] == its["limit"] > 0


async def test_what_was_set_is_told_by_usages_and_by_quotas(arm: Arm) -> None:
    mine = f"{arm.workspace.name}/{DSV2}"
    assert await arm.tell("quotas", {DSV2: {"limit": 24, "used": 20}, mine: {"limit": 8, "used": 4}}) == 200

    _, usages = await arm.get(arm.region("usages"))
    _, quotas = await arm.get(arm.region("quotas"))

    rows = [_of(usages["value"], DSV2, owner=owner) for owner in (arm.subscription, arm.workspace.arm_id)]
    assert [(row["limit"], row["currentValue"]) for row in rows] == [(24, 20), (8, 4)]
    assert {row["id"]: row["limit"] for row in quotas["value"] if row["name"]["value"] == DSV2} == {
        f"{arm.subscription}/quotas/Standard_DSv2_Family_Cluster_Dedicated_vCPUs": 24,
        f"{arm.workspace.arm_id}/quotas/Standard_DSv2_Family_Cluster_Dedicated_vCPUs": 8,
    }


async def test_what_was_set_holds_only_while_the_control_interface_is_on(arm: Arm) -> None:
    await arm.tell("quotas", {DSV2: {"limit": 0}})
    await arm.tell("permissions", [])
    off = attrs.evolve(arm, services=attrs.evolve(arm.services, control=None))

    told = [
        _of((await each.get(each.region("usages")))[1]["value"], DSV2, owner=arm.subscription) for each in (arm, off)
    ]
    rights = [
        (await each.get(f"{arm.subscription}/providers/Microsoft.Authorization/permissions"))[1] for each in (arm, off)
    ]

    assert [row["limit"] for row in told] == [0, allowances.FAMILY_LIMIT]
    assert [len(each["value"]) for each in rights] == [0, 1]


async def test_permissions_are_told_at_any_scope(arm: Arm) -> None:
    container = (
        f"{arm.subscription}/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default"
    )
    scopes = [arm.subscription, arm.workspace.arm_id, f"{container}/containers/c"]
    reader = {"actions": ["*/read"], "dataActions": ["Microsoft.Storage/*/read"]}
    await arm.tell("permissions", [reader])

    told = [await arm.get(f"{scope}/providers/Microsoft.Authorization/permissions") for scope in scopes]

    assert told == [(200, {"value": [{"notActions": [], "notDataActions": [], **reader}]})] * 3


async def test_every_family_of_a_machine_size_has_its_usages(arm: Arm) -> None:
    _, sizes = await arm.get(arm.region("vmSizes"))
    _, usages = await arm.get(arm.region("usages"))

    names = {row["name"]["value"] for row in usages["value"]}
    for size in sizes["value"]:
        family = re.sub("^standard|Family$", "", size["family"])
        assert f"Standard {family} Family Cluster Dedicated vCPUs" in names
        assert f"Standard {family} Family Cluster LowPriority vCPUs" in names
    assert next(size["vCPUs"] for size in sizes["value"] if size["name"] == "Standard_DS3_v2") == 4


async def test_a_compute_shows_what_it_was_told_to(arm: Arm) -> None:
    arm_id = f"{arm.workspace.arm_id}/computes/cpu"
    inner = {"vmSize": "STANDARD_DS3_V2", "currentNodeCount": 0}
    properties = {"computeType": "AmlCompute", "provisioningState": "Succeeded", "properties": inner}
    arm.world.store.put(arm_id, {"id": arm_id, "name": "cpu", "properties": properties})
    await arm.tell("computes", {"cpu": {"provisioningState": "Failed", "currentNodeCount": 3}})

    _, one = await arm.get(arm_id)
    _, listed = await arm.get(arm_id.rpartition("/")[0])

    assert one["properties"]["provisioningState"] == "Failed"
    assert one["properties"]["properties"]["currentNodeCount"] == 3
    assert one["properties"]["properties"]["vmSize"] == "STANDARD_DS3_V2"
    assert listed["value"] == [one]


@pytest.mark.parametrize("what", ["usages", "quotas", "vmSizes"])
async def test_a_subscription_without_a_workspace_is_not_there(arm: Arm, what: str) -> None:
    path = arm.region(what).replace(arm.workspace.subscription, "another")

    assert (await arm.get(path))[0] == 404


async def test_another_region_is_not_emulated_and_says_so(arm: Arm) -> None:
    status, body = await arm.get(arm.region("usages").replace(arm.world.settings.location, "moon"))

    assert status == 501
    assert f"a region other than {arm.world.settings.location}" in body["error"]["message"]


WRONG: list[tuple[str, Any, str]] = [
    ("quotas", [], "is no object"),
    ("quotas", {"Standard Zz Family": {"limit": 1}}, "is no usage"),
    ("quotas", {DSV2: {"limits": 1}}, "limits is unknown"),
    ("quotas", {DSV2: {"limit": True}}, "give cores"),
    ("quotas", {DSV2: {"used": -2}}, "give cores"),
    ("permissions", {}, "is no list"),
    ("permissions", [{"can": []}], "can is unknown"),
    ("permissions", [{"actions": "*"}], "give a list of texts"),
    ("computes", {"cpu": {"size": 1}}, "size is unknown"),
]


@pytest.mark.parametrize(("kind", "said", "told"), WRONG)
async def test_what_is_set_wrongly_is_refused_and_changes_nothing(arm: Arm, kind: str, said: Any, told: str) -> None:
    before = allowances.kept(arm.world.store, kind)

    assert await arm.tell(kind, said) == 400
    assert allowances.kept(arm.world.store, kind) == before
    with pytest.raises(AllowanceError, match=told):
        allowances.READERS[kind](said)


@given(
    st.sampled_from(sorted(allowances.READERS)),
    st.recursive(
        st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.just(DSV2), one), max_leaves=4
    ),
)
def test_whatever_is_said_is_refused_in_a_sentence_or_is_kept_as_it_would_be_said_again(kind: str, said: Any) -> None:
    read = allowances.READERS[kind]
    with contextlib.suppress(AllowanceError):
        assert read(read(said)) == read(said)
