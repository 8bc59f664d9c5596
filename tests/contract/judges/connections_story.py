"""What a user of azure-ai-ml does with a workspace's connections; prints what happened as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, and the SDK is whom it hears
import json
import os
from typing import Any

from azure.ai.ml import MLClient
from azure.ai.ml.entities import ApiKeyConfiguration, PatTokenConfiguration, WorkspaceConnection
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import DefaultAzureCredential

from telling import chapter, found

ml = MLClient(DefaultAzureCredential(), *os.environ["CONTRACT_WORKSPACE"].split("/"))


@chapter
def connections() -> Any:
    git = WorkspaceConnection(
        name="sources", type="git", target="https://example.com/r", credentials=PatTokenConfiguration(pat="not-shown")
    )
    feed = WorkspaceConnection(
        name="feed",
        type="api_key",
        target="https://example.com/feed",
        credentials=ApiKeyConfiguration(key="not-shown-either"),
        metadata={"team": "blue"},
    )
    made = [ml.connections.create_or_update(one) for one in (git, feed)]
    got = ml.connections.get("feed")
    secret = ml.connections.get("feed", populate_secrets=True).credentials
    every = sorted(one.name for one in ml.connections.list())
    of_kind = [one.name for one in ml.connections.list(connection_type="git")]
    ml.connections.delete("sources")
    gone = "still there"
    try:
        ml.connections.get("sources")
    except ResourceNotFoundError as error:
        gone = str(error)
    return {
        "made": [[one.name, one.type, one.target] for one in made],
        "metadata": got.metadata,
        "hidden": got.credentials.key,
        "secret": secret.key,
        "listed": [every, of_kind],
        "left": [one.name for one in ml.connections.list()],
        "gone": gone,
    }


print("\n" + json.dumps(found, default=str))
