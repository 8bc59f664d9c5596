"""What ``azureml-emulator env`` prints, over http, for a client on this machine that starts official clients itself."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import not_emulated
from azureml_emulator.routes.calls import Call, route


def routes() -> list[Route]:
    """List the routes of this module."""
    return [route("GET", "/emulator/environment", get)]


async def get(call: Call) -> Response:
    """GET the variables; without the managed identity's secret, since whoever asks has a token of its own."""
    from azureml_emulator.cli import environment  # noqa: PLC0415  # the command line starts the server, which is here

    if call.origin.real:
        raise not_emulated("GET", call.request.url.path)
    variables = environment(call.services.settings.state_dir)
    return JSONResponse({name: value for name, value in variables.items() if not name.startswith("IDENTITY")})
