"""Errors in the words and shapes of the services that are emulated.

The shapes come from recorded answers of Azure ML (2022-08 to 2023-05); a message that was not recorded is our own.
"""

from __future__ import annotations

import secrets
from typing import Any

from azureml_emulator.store import now

Json = dict[str, Any]


class WireError(Exception):
    """An answer that is not a success; the application turns it into the response.

    Attributes:
        status: HTTP status.
        body: JSON body; None for an empty one.
        headers: Headers beside the usual.
    """

    def __init__(self, status: int, body: Json | None, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def inner(*codes: str) -> Json | None:
    """Nest inner error codes, the outermost first."""
    nested: Json | None = None
    for code in reversed(codes):
        nested = {"code": code, "innerError": nested}
    return nested


def refusal(  # noqa: PLR0913  # the members of the wire's envelope
    status: int,
    message: str,
    *,
    code: str = "UserError",
    inner_codes: tuple[str, ...] = (),
    details: list[Json] | None = None,
    more: list[tuple[str, Any]] | None = None,
    location: str = "westeurope",
) -> WireError:
    """Build the error envelope of the job, asset and endpoint service (managementfrontend).

    Args:
        status: HTTP status.
        message: What a person reads.
        code: ``UserError`` even for most 404s.
        inner_codes: The inner error's codes, outermost first; none leaves InnerError out.
        details: The envelope's ``details``.
        more: Further entries of ``additionalInfo``, in order, after InnerError.
        location: The workspace's region.
    """
    info: list[tuple[str, Any]] = [
        ("ComponentName", "managementfrontend"),
        ("Correlation", {"operation": secrets.token_hex(16), "request": secrets.token_hex(8)}),
        ("Environment", location),
        ("Location", location),
        ("Time", now()),
    ]
    if inner_codes:
        info.append(("InnerError", inner(*inner_codes)))
    info += more or []
    entries = [{"type": kind, "info": {"value": value}} for kind, value in info]
    error = {"code": code, "message": message, "details": details or [], "additionalInfo": entries}
    return WireError(status, {"error": error})


def service_error(message: str, *, code: str = "UserError", inner_error: Json | None = None, **outer: str) -> Json:
    """Build the envelope of the data plane's services, which is also a failed run's ``error``."""
    location = outer.get("location", "westeurope")
    return {
        "error": {
            "code": code,
            "severity": None,
            "message": message,
            "messageFormat": None,
            "messageParameters": None,
            "referenceCode": None,
            "detailsUri": None,
            "target": None,
            "details": [],
            "innerError": inner_error,
            "debugInfo": None,
            "additionalInfo": None,
        },
        "correlation": {"operation": secrets.token_hex(16), "request": secrets.token_hex(8)},
        "environment": location,
        "location": location,
        "time": outer.get("time") or now(),
        "componentName": outer.get("component", "Execution"),
    }


def no_run(name: str) -> WireError:
    """Run history's answer for a run that is not there."""
    body = service_error(
        f"Run {name} was not found.", inner_error=inner("NotFoundError", "RunNotFound"), component="run-history"
    )
    return WireError(404, body)


def no_workspace(name: str, group: str) -> WireError:
    """ARM's own answer for a workspace that is not there."""
    return _no_resource(f"workspaces/{name}", group)


def no_registry(name: str, group: str) -> WireError:
    """ARM's own answer for a registry that is not there."""
    return _no_resource(f"registries/{name}", group)


def _no_resource(path: str, group: str) -> WireError:
    return _gateway(
        "ResourceNotFound",
        f"The Resource 'Microsoft.MachineLearningServices/{path}' under resource group '{group}'"
        " was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def no_group(group: str) -> WireError:
    """ARM's own answer for a resource group that is not there."""
    return _gateway("ResourceGroupNotFound", f"Resource group '{group}' could not be found.")


def no_subscription(subscription: str) -> WireError:
    """ARM's own answer for a subscription that is not there."""
    return _gateway("SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")


def _gateway(code: str, message: str) -> WireError:
    return WireError(404, {"error": {"code": code, "message": message}}, {"x-ms-failure-cause": "gateway"})


def no_job(name: str) -> WireError:
    """The answer for a job that is not there."""
    return refusal(
        404,
        f"Job {name} not found.",
        inner_codes=("NotFound", "JobNotFound"),
        more=[("MessageFormat", "Job {jobId} not found."), ("MessageParameters", {"jobId": name})],
    )


def no_component(name: str) -> WireError:
    """The answer for a component, or a version of it, that is not there."""
    return refusal(404, f"Not found component {name}.", inner_codes=("NotFound", "ComponentNotFound"))


def no_component_of_node(arm_id: str) -> WireError:
    """The answer to a job whose node names a component that is not there."""
    parts = arm_id.strip("/").split("/")
    name, version = (parts[-3], parts[-1]) if len(parts) > 3 else (arm_id, "")  # noqa: PLR2004  # …/NAME/versions/V
    message = f"key: {arm_id}, Message: Not found component {name} (version: {version})."
    return refusal(404, message, code="NotFound")


def not_found(detail_code: str, detail: str, *, code: str = "UserError") -> WireError:
    """The answer of models and endpoints: a general message, and the particular one in ``details``."""
    details = [{"code": detail_code, "message": detail, "details": [], "additionalInfo": []}]
    return refusal(404, "The specified resource was not found.", code=code, details=details)


def bad_request(message: str, *inner_codes: str) -> WireError:
    """A request that is wrong in itself; asking again gives the same answer."""
    return refusal(400, message, inner_codes=inner_codes or ("BadArgument", "ArgumentInvalid"))


def immutable_job(name: str) -> WireError:
    """The answer to a PUT that would change an existing job."""
    message = (
        f"A job with this name already exists ({name}). If you are trying to create a new job, use a different name. "
        "If you are trying to update an existing job, the existing job's Settings, Inputs, Outputs, Jobs, Command, "
        "CodeId, EnvironmentId and ComputeId cannot be changed. Only description, tags, displayName, properties, and "
        "isArchived can be updated."
    )
    return refusal(400, message, inner_codes=("Immutable", "JobPropertyImmutable"))


def unauthorized(code: str, message: str) -> WireError:
    """ARM's answer to a token that is missing, expired or for another audience."""
    header = (
        'Bearer authorization_uri="https://login.microsoftonline.com/common", error="invalid_token", '
        f'error_description="{message}"'
    )
    return WireError(401, {"error": {"code": code, "message": message}}, {"WWW-Authenticate": header})


def not_emulated(method: str, path: str, what: str = "") -> WireError:
    """The answer to everything that the emulator does not do; it names itself."""
    message = f"{method} {path} is not emulated{': ' + what if what else ''}."
    return refusal(501, message, code="NotEmulated")
