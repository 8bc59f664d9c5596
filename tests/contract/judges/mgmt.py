"""What the stories of azure-mgmt-machinelearningservices have in common: the client, and what came of a call."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient
from azure.mgmt.machinelearningservices import models as of_client

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
#: What every operation of a workspace begins with.
WHERE = (GROUP, NAME)
#: The end of every name that a story makes, so that it can be told twice of one workspace.
MARK = os.environ.get("CONTRACT_MARK", "")
#: Untyped: every member of every model may be None, and which are is what the tests look at.
models: Any = of_client
#: What Azure sends in place of the seconds between two looks, where an answer does not say: 30.
client: Any = MachineLearningServicesMgmtClient(DefaultAzureCredential(), SUBSCRIPTION, polling_interval=1)


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    """Tell the error that a call ends with."""
    try:
        came = call()
    except HttpResponseError as error:
        code = error.error.code if error.error else None
        return {"type": type(error).__name__, "status": error.status_code, "code": code, "text": str(error)}
    return {"type": "none", "came": str(came)}


def deleted(call: Callable[[], Any], look: Callable[[], Any]) -> dict[str, Any]:
    """Delete something, waiting for the end of what that begins, and tell what looking for it says then."""
    came = call()
    if hasattr(came, "result"):
        came.result(timeout=120)
    return refusal(look)
