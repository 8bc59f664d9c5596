"""What a subscription may have in a region and has, its machine sizes, and what the caller may do."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import allowances
from azureml_emulator.errors import Json, no_subscription, not_emulated
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes.calls import LOCATION, Call, listing, route


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", f"{LOCATION}/usages", get_usages),
        route("GET", f"{LOCATION}/quotas", get_quotas),
        route("GET", f"{LOCATION}/vmSizes", get_sizes),
        route("GET", "/subscriptions/{scope:path}/providers/Microsoft.Authorization/permissions", get_permissions),
    ]


def _workspaces(call: Call) -> list[WorkspaceName]:
    """List the subscription's workspaces.

    Raises:
        WireError: 404 for a subscription without any, 501 for another region than the one that is emulated.
    """
    subscription, location = call.names["sub"], call.names["loc"]
    known = (WorkspaceName.of_arm_id(body["id"]) for body in call.store.of_type(f"{PROVIDER}/workspaces"))
    found = [name for name in known if name.subscription.lower() == subscription.lower()]
    if not found:
        raise no_subscription(subscription)
    if location.lower() != call.location:
        raise not_emulated("GET", call.request.url.path, f"a region other than {call.location}")
    return found


def _name(usage: str) -> Json:
    shown = usage
    for value, localized in allowances.PRIORITIES.items():
        shown = shown.replace(value, localized)
    return {"value": usage, "localizedValue": shown}


def _rows(call: Call) -> Iterator[tuple[str, str, str, int, int]]:
    """Give each usage in cores: whose (empty for the subscription's), its id's end, name, limit and current value."""
    told = allowances.in_force(call.store, "quotas", controlled=call.services.control is not None)
    for usage in allowances.usage_names():
        total = usage.startswith("Total")
        own = {"limit": allowances.TOTAL_LIMIT if total else allowances.FAMILY_LIMIT, "used": 0} | told.get(usage, {})
        end = "" if total else f"/{usage.replace(' ', '_')}"
        yield "", end, usage, own["limit"], own["used"]
        for workspace in _workspaces(call) if not total else ():
            its = own | {"used": 0} | told.get(f"{workspace.name}/{usage}", {})
            yield workspace.arm_id, end, usage, its["limit"], its["used"]


def _type(owner: str, usage: str, what: str) -> str:
    if owner:
        return f"{PROVIDER}/workspaces/{what}"
    cores = "lowPriorityCores" if "LowPriority" in usage else "dedicatedCores"
    return f"{PROVIDER}/{cores if usage.startswith('Total') else 'vmFamily'}/{what}"


async def get_usages(call: Call) -> Response:
    """GET the usages: clusters, and cores by priority, family and workspace."""
    root = f"/subscriptions/{call.names['sub']}"
    clusters = sum(len(call.store.children(f"{name.arm_id}/computes")) for name in _workspaces(call))
    shown: list[Json] = [
        {
            "id": f"{root}/usages",
            "type": f"{PROVIDER}/totalCores/usages",
            "currentValue": clusters,
            "limit": 100,
            "name": {"value": "Clusters", "localizedValue": "Clusters"},
            "unit": "Count",
        }
    ]
    shown += [
        {
            "id": f"{owner or root}/usages{end}",
            "type": _type(owner, usage, "usages"),
            "amlWorkspaceLocation": call.location if owner else None,
            "currentValue": used,
            "limit": limit,
            "name": _name(usage),
            "unit": "Count",
        }
        for owner, end, usage, limit, used in _rows(call)
    ]
    return listing(shown)


async def get_quotas(call: Call) -> Response:
    """GET the quotas by family, of the subscription and of its workspaces."""
    root = f"/subscriptions/{call.names['sub']}"
    _workspaces(call)
    shown = [
        {
            "id": f"{owner or root}/quotas{end}",
            "type": _type(owner, usage, "quotas"),
            "amlWorkspaceLocation": call.location if owner else None,
            "limit": limit,
            "name": _name(usage),
            "unit": "Count",
        }
        for owner, end, usage, limit, _ in _rows(call)
        if end
    ]
    return listing(shown)


async def get_sizes(call: Call) -> Response:
    """GET the machine sizes."""
    _workspaces(call)
    shown = [
        {
            "name": size.name,
            "family": size.family,
            "vCPUs": size.cores,
            "gpus": size.gpus,
            "osVhdSizeMB": 1047552,
            "maxResourceVolumeMB": 7168 * size.cores,
            "memoryGB": size.memory_gb,
            "lowPriorityCapable": True,
            "premiumIO": True,
            "estimatedVMPrices": None,
            "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        }
        for size in allowances.VM_SIZES
    ]
    return listing(shown)


async def get_permissions(call: Call) -> Response:
    """GET what the caller may do at a scope: everything, unless the control interface says otherwise."""
    controlled = call.services.control is not None
    return JSONResponse({"value": allowances.in_force(call.store, "permissions", controlled=controlled)})
