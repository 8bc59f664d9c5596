"""A service principal signs in, looks, and goes on looking after its token was renewed."""

# ruff: noqa: T201, TID253  # a judge is a program, and the SDK is whom it hears

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any

from azure.ai.ml import MLClient
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.policies import RetryPolicy
from azure.identity import ClientSecretCredential

subscription, group, workspace, tenant, client, secret = sys.argv[1:]
SCOPE = "https://management.azure.com/.default"


def said(error: AzureError) -> str:
    return str(getattr(error, "message", error))


def refused(*given: str) -> str:
    try:
        ClientSecretCredential(*given, retry_policy=RetryPolicy.no_retries()).get_token(SCOPE)
    except ClientAuthenticationError as error:
        return said(error)
    return "signed in"


def claims(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return found


credential = ClientSecretCredential(tenant, client, secret)
ml = MLClient(credential, subscription, group, workspace, enable_telemetry=False)
first = credential.get_token(SCOPE).token
names = [ml.workspaces.get(workspace).name]
# azure-identity renews a token five minutes before its end; this one has a few seconds more than that.
deadline = time.monotonic() + 30
while credential.get_token(SCOPE).token == first and time.monotonic() < deadline:
    time.sleep(0.2)
second = credential.get_token(SCOPE).token
names.append(ml.workspaces.get(workspace).name)
print(
    json.dumps(
        {
            "names": names,
            "renewed": first != second,
            "issuer": claims(second)["iss"],
            "wrong_secret": refused(tenant, client, "guess"),
            "unknown_client": refused(tenant, "11111111-1111-1111-1111-111111111111", secret),
            "other_tenant": refused("22222222-2222-2222-2222-222222222222", client, secret),
        }
    )
)
