"""Which clouds there are: one, by Azure's names. azureml-mlflow asks before anything else, when it has no token yet."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.routes.calls import Call, route

PATH = "/metadata/endpoints"
_CLOUD = {
    "name": "AzureCloud",
    "portal": "https://portal.azure.com",
    "resourceManager": "https://management.azure.com/",
    "authentication": {
        "loginEndpoint": "https://login.microsoftonline.com/",
        "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
        "tenant": "common",
        "identityProvider": "AAD",
    },
    "suffixes": {"storage": "core.windows.net", "keyVaultDns": "vault.azure.net", "acrLoginServer": "azurecr.io"},
}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [route("GET", PATH, get)]


async def get(call: Call) -> Response:
    """GET the clouds."""
    del call
    return JSONResponse([_CLOUD])
