"""Reading what may not be there."""

from collections.abc import Mapping
from typing import Any

from airflow_azureml.errors import RefusedError
from airflow_azureml.wire.http import NOT_FOUND, Flow, Request

#: What Azure Resource Manager says when the workspace itself, or what is around it, is not there; what is missing in
#: a workspace has codes of its own, or an empty body. Source: "Common deployment errors" of Azure Resource Manager.
NO_WORKSPACE = frozenset({"ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "InvalidSubscriptionId"})


def is_absent(error: RefusedError) -> bool:
    """Tell whether an error says that a thing is not in the workspace, rather than that there is no workspace."""
    return error.status == NOT_FOUND and not NO_WORKSPACE.intersection(error.code.split("/"))


def read(look: Request) -> Flow[Mapping[str, Any] | None]:
    """Read a resource; None when it is not there.

    Raises:
        RefusedError: There is no such workspace, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    try:
        return (yield look).expect(look, 200)
    except RefusedError as error:
        if is_absent(error):
            return None
        raise
