"""Which identity may do what in which workspace, where the control interface has taken a right away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from azureml_emulator import allowances, tokens
from azureml_emulator.errors import WireError
from azureml_emulator.names import PROVIDER, WorkspaceName, guid
from azureml_emulator.store import Store

_WORKSPACE = re.compile(
    rf"/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/{re.escape(PROVIDER)}/workspaces/([^/?]+)(/[^?]*)?",
    re.IGNORECASE,
)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: The ends of paths that are asked with POST and change nothing.
_LOOKS = re.compile(
    r"(:query|/(search|rundata|list|full|get-history-bulk|batchGetResolvedUris|metadata|query|get|discovery))$",
    re.IGNORECASE,
)
_NOBODY = "anonymous"


def claims_of(authorization: str | None) -> dict[str, Any]:
    """Read the claims of a bearer token; none where there is no token that has some."""
    scheme, _, token = (authorization or "").partition(" ")
    return (tokens.claims_of(token.strip()) or {}) if scheme.lower() == "bearer" else {}


def check(store: Store, claims: Mapping[str, Any], *, method: str, path: str) -> None:
    """See whether an identity may do what a request asks.

    Args:
        store: Where the rights are kept.
        claims: Those of its token; its name is ``appid``.
        method: The request's.
        path: The request's, with the workspace's ARM id in it; one without is everybody's.

    Raises:
        WireError: 403 in the words of Azure Resource Manager.
    """
    taken: Mapping[str, Mapping[str, str]] = allowances.kept(store, "rights")
    found = _WORKSPACE.search(path) if taken else None
    if found is None:
        return
    workspace = f"{found[1]}/{found[2]}/{found[3]}"
    subject, below = _subject(claims), found[4] or ""
    right = right_of(taken, subject, workspace)
    looks = method in _READING or (method == "POST" and _LOOKS.search(below) is not None)
    if right == "write" or (right == "read" and looks):
        return
    scope = WorkspaceName(found[1], found[2], found[3]).arm_id + below
    raise _forbidden(subject, claims, action=_action(method, below, looks=looks), scope=scope)


def may_use(store: Store, claims: Mapping[str, Any], method: str, container: str) -> bool:
    """See whether an identity may do what a request asks of a container; those of no workspace are everybody's."""
    taken: Mapping[str, Mapping[str, str]] = allowances.kept(store, "rights")
    if not taken:
        return True
    for body in store.of_type(f"{PROVIDER}/workspaces"):
        name = WorkspaceName.of_arm_id(body["id"])
        if name.guid in container:
            right = right_of(taken, _subject(claims), f"{name.subscription}/{name.group}/{name.name}")
            return right == "write" or (right == "read" and method in _READING)
    return True


def _subject(claims: Mapping[str, Any]) -> str:
    return str(claims.get("appid") or _NOBODY)


def right_of(taken: Mapping[str, Mapping[str, str]], subject: str, workspace: str) -> str:
    """Give ``write``, ``read`` or ``none``; everybody may write what is not spoken of.

    Args:
        taken: By subject or ``*``, and by ``SUB/RG/NAME`` or ``*``; case is ignored.
        subject: Who asks.
        workspace: ``SUB/RG/NAME``.
    """
    rules = {who.lower(): {where.lower(): right for where, right in said.items()} for who, said in taken.items()}
    for who in (subject.lower(), "*"):
        for where in (workspace.lower(), "*"):
            if where in rules.get(who, {}):
                return rules[who][where]
    return "write"


def _action(method: str, below: str, *, looks: bool) -> str:
    """Name what was to be done as Azure does: the kinds of the resources, and the verb."""
    parts = [part for part in below.split("/") if part]
    if method == "POST" and parts and not looks:
        kinds, verb = parts[:-1][0::2], f"{parts[-1]}/action"
    else:
        kinds, verb = parts[0::2], "read" if looks else "delete" if method == "DELETE" else "write"
    return "/".join([PROVIDER, "workspaces", *kinds, verb])


def _forbidden(subject: str, claims: Mapping[str, Any], *, action: str, scope: str) -> WireError:
    message = (
        f"The client '{subject}' with object id '{claims.get('oid') or guid('principal', subject)}' does not have "
        f"authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was "
        "recently granted, please refresh your credentials."
    )
    return WireError(
        403, {"error": {"code": "AuthorizationFailed", "message": message}}, {"x-ms-failure-cause": "gateway"}
    )
