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

MARK = os.environ.get("CONTRACT_MARK", "")
ml = MLClient(DefaultAzureCredential(), *os.environ["CONTRACT_WORKSPACE"].split("/"))


def own(connections: Any) -> list[str]:
    """Name those of this story, without the mark; others may be there, too."""
    names = (one.name for one in connections)
    return sorted(name.removesuffix(MARK) for name in names if name in (f"sources{MARK}", f"feed{MARK}"))


@chapter
def connections() -> Any:
    git = WorkspaceConnection(
        name=f"sources{MARK}",
        type="git",
        target="https://example.com/r",
        credentials=PatTokenConfiguration(pat="not-shown"),
    )
    feed = WorkspaceConnection(
        name=f"feed{MARK}",
        type="api_key",
        target="https://example.com/feed",
        credentials=ApiKeyConfiguration(key="not-shown-either"),
        metadata={"team": "blue"},
    )
    made = [ml.connections.create_or_update(one) for one in (git, feed)]
    got = ml.connections.get(f"feed{MARK}")
    secret = ml.connections.get(f"feed{MARK}", populate_secrets=True).credentials
    every = own(ml.connections.list())
    of_kind = own(ml.connections.list(connection_type="git"))
    ml.connections.delete(f"sources{MARK}")
    gone = "still there"
    try:
        ml.connections.get(f"sources{MARK}")
    except ResourceNotFoundError as error:
        gone = str(error)
    return {
        "made": [[own([one])[0], one.type, one.target] for one in made],
        "metadata": got.metadata,
        "hidden": got.credentials.key,
        "secret": secret.key,
        "listed": [every, of_kind],
        "left": own(ml.connections.list()),
        "gone": gone,
    }


print("\n" + json.dumps(found, default=str))
