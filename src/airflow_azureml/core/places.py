"""Where data is, as Azure ML writes it."""

import re

from attrs import frozen

#: The short and the long form; Azure writes ``resourcegroups`` in both cases.
#: Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax
_URI = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)/"
    r"(?:providers/Microsoft\.MachineLearningServices/)?workspaces/(?P<workspace>[^/]+)/)?"
    r"datastores/(?P<name>[^/]+)(?:/paths(?:/(?P<path>.*))?)?",
    re.IGNORECASE | re.DOTALL,
)


@frozen(kw_only=True)
class InDatastore:
    """A place in a datastore.

    Attributes:
        path: Without a slash at its beginning.
        workspace: Whose datastore it is; empty for the workspace at hand.
    """

    name: str
    path: str
    workspace: str = ""


def in_datastore(uri: str) -> InDatastore | None:
    """Read a datastore's URI, short or long; None for any other."""
    found = _URI.fullmatch(uri)
    if found is None:
        return None
    return InDatastore(
        name=found["name"], path=(found["path"] or "").lstrip("/"), workspace=(found["workspace"] or "").lower()
    )
