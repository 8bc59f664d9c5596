"""What shall go wrong with online endpoints, as the control interface says: what fails, or never becomes ready."""

from __future__ import annotations

import re
from typing import Any, Self

import attrs

from azureml_emulator.fault_members import FaultError, count, duration, pattern, read_members, short, text, true

Json = dict[str, Any]

#: Exactly one of these says what a fault does.
KINDS = ("fails", "never_ready", "takes_s")
#: What Azure says with each code. Source:
#: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints; "User container…" recorded.
MESSAGES = {
    "ImageBuildFailure": "The environment of the deployment could not be built.",
    "OutOfQuota": "Not enough quota available for the instance type in the subscription.",
    "OutOfCapacity": "The specified VM size failed to provision due to a lack of Azure Machine Learning capacity.",
    "BadArgument": "The request is invalid.",
    "Unauthorized": "Authorization failed for the identity of the endpoint.",
    "ResourceNotReady": "User container has crashed or terminated: Liveness probe failed: HTTP probe failed with"
    " statuscode: 502.",
    "ResourceNotFound": "A resource that the deployment needs was not found.",
    "OperationCanceled": "The operation was canceled by another operation that has a higher priority.",
    "InternalServerError": "Internal error.",
}


@attrs.frozen(kw_only=True)
class OnlineFault:
    """What becomes of which operations.

    Attributes:
        endpoint: A regular expression over the whole name of the endpoint; empty for any.
        deployment: The same over the deployment's; empty for the endpoint's own operations.
        count: After so many strikes it is over; None for never.
        fails: The code of the error with which the operation ends.
        message: The error's message; empty for what belongs to the code.
        never_ready: The processes run, and are never found ready.
        takes_s: It takes so many seconds of the emulator's clock longer.
    """

    endpoint: str = ""
    deployment: str = ""
    count: int | None = None
    fails: str = ""
    message: str = ""
    never_ready: bool = False
    takes_s: float = 0.0

    @classmethod
    def from_wire(cls, said: Any) -> Self:
        """Read a fault.

        Raises:
            FaultError: A member is unknown or wrong.
        """
        made = cls(**read_members(said, _READERS, KINDS))
        if made.message and not made.fails:
            raise FaultError("message goes with fails.")
        if not made.fails and not made.deployment:
            raise FaultError('never_ready and takes_s are of a deployment; name one in deployment, or ".*" for any.')
        return made

    def to_wire(self) -> Json:
        """Write it as it was read; what was left out is left out."""
        unsaid = {name: field.default for name, field in attrs.fields_dict(type(self)).items()}
        return {name: value for name, value in attrs.asdict(self).items() if value != unsaid[name]}

    @property
    def error(self) -> Json:
        """What an operation that fails says."""
        return failure(self.fails, self.message)


def failure(code: str, message: str = "") -> Json:
    """Make an operation's error in Azure's words."""
    said = message or MESSAGES.get(code, f"The operation failed: {code}.")
    guide = f"Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-{code.lower()}"
    return {"code": code, "message": f"{said} {guide}"}


_READERS = {
    "endpoint": pattern,
    "deployment": pattern,
    "count": count,
    "fails": text,
    "message": text,
    "never_ready": true,
    "takes_s": duration,
}


@attrs.define(eq=False)
class _Active:
    """A fault with its count."""

    fault: OnlineFault
    struck: int = 0

    def strikes(self, endpoint: str, deployment: str) -> bool:
        """Tell whether it is due for an operation."""
        fault = self.fault
        if bool(fault.deployment) != bool(deployment):
            return False
        is_of = re.fullmatch(fault.endpoint or ".*", endpoint) and re.fullmatch(fault.deployment, deployment)
        return bool(is_of) and (fault.count is None or self.struck < fault.count)


class OnlineFaults:
    """The faults in force; an operation is struck by the first that is due. They do not outlive a restart."""

    def __init__(self) -> None:
        self._active: list[_Active] = []

    def replace(self, said: Any) -> None:
        """Take a whole new list, with counts of its own.

        Raises:
            FaultError: One is wrong; the old list stays.
        """
        if not isinstance(said, list):
            raise FaultError(f"The faults are {short(said)}; give a list.")
        self._active = [_Active(OnlineFault.from_wire(one)) for one in said]

    def shown(self) -> list[Json]:
        """Show each fault, and how often it struck."""
        return [one.fault.to_wire() | {"struck": one.struck} for one in self._active]

    def strike(self, endpoint: str, deployment: str = "") -> OnlineFault | None:
        """Find what strikes an operation, and count it.

        Args:
            endpoint: The endpoint's name.
            deployment: The deployment's; empty for an operation of the endpoint itself.
        """
        for one in self._active:
            if one.strikes(endpoint, deployment):
                one.struck += 1
                return one.fault
        return None
