"""All routes as one application; what none of them knows is answered with 501."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from azureml_emulator import pages, tokens
from azureml_emulator.errors import WireError, not_emulated, refusal
from azureml_emulator.routes import (
    artifacts,
    assets,
    batch,
    clouds,
    compute_kinds,
    computes,
    connections,
    datastores,
    environment,
    history,
    invoke,
    jobs,
    logged_models,
    metrics,
    mlflow,
    mlflow_experiments,
    mlflow_lineage,
    mlflow_models,
    online,
    online_deployments,
    online_metrics,
    operations,
    published,
    published_runs,
    registries,
    registry_assets,
    run_queries,
    schedules,
    usages,
    workspace_actions,
    workspaces,
)
from azureml_emulator.routes.calls import Services
from azureml_emulator.routes.front import error_response

_log = logging.getLogger(__name__)
#: What has routes.
MODULES = (
    jobs,  # the first, for nothing is looked at more often
    workspaces,
    workspace_actions,
    datastores,
    computes,
    compute_kinds,
    connections,
    assets,
    batch,
    invoke,
    history,
    metrics,
    online,
    online_deployments,
    online_metrics,
    mlflow,
    mlflow_experiments,
    mlflow_lineage,
    mlflow_models,
    logged_models,
    artifacts,
    published,
    published_runs,
    registries,
    registry_assets,
    run_queries,
    schedules,
    operations,
    usages,
    environment,
    clouds,
)


def application(services: Services, *, identity_header: str, lifetime: tokens.Lifetime) -> Starlette:
    """Make the application of the control plane's ports.

    Args:
        services: What the handlers work with.
        identity_header: The secret that the managed identity's endpoint asks for.
        lifetime: How long its tokens live.
    """
    found: list[BaseRoute] = [Route("/", _to_pages), tokens.identity_route(identity_header, lifetime)]
    found += pages.routes(services.store, services.runner, services.deployments, services.record)
    for module in MODULES:
        found += module.routes()
    app = _plain(found)
    app.state.services = services
    return app


def login_application(lifetime: tokens.Lifetime) -> Starlette:
    """Make the application of Microsoft Entra's host, whose tokens live so long."""
    return _plain(list(tokens.login_routes(lifetime)))


def _plain(found: list[BaseRoute]) -> Starlette:
    handlers = {WireError: _refused, HTTPException: _no_route, Exception: _broken}
    app = Starlette(routes=found, exception_handlers=handlers)  # type: ignore[arg-type]  # each gets its own error
    app.router.redirect_slashes = False
    return app


async def _to_pages(request: Request) -> Response:
    del request
    return RedirectResponse("/ui")


async def _refused(request: Request, error: WireError) -> Response:
    del request
    return error_response(error)


async def _no_route(request: Request, error: HTTPException) -> Response:
    """Answer what no route took; an error that a page raised by itself stays what it is."""
    if error.status_code in {404, 405} and not request.url.path.startswith("/ui"):
        return error_response(not_emulated(request.method, request.url.path))
    return Response(error.detail, error.status_code, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("%s %s broke the emulator: %r", request.method, request.url.path, error)  # uvicorn logs the traceback
    return error_response(refusal(500, "InternalServerError", code="ServiceError"))
