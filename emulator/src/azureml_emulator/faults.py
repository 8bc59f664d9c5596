"""Faults that somebody asked for: which requests they strike, and how often."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs

from azureml_emulator.fault_members import (
    FaultError,
    count,
    duration,
    every,
    pattern,
    read_members,
    short,
    text,
    true,
    whole,
)

Json = dict[str, Any]

#: Exactly one of these says what a fault does.
KINDS = (
    "status",
    "slow_s",
    "truncate_bytes",
    "reset",
    "apply_then_drop",
    "expired_token",
    "status_word",
    "cancel_never_ends",
)
_SWITCHES = frozenset({"reset", "apply_then_drop", "expired_token", "cancel_never_ends"})
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"})
#: The words for an error that the fault does not name, as Azure Resource Manager says them.
_CODES = {
    400: "BadRequest",
    401: "InvalidAuthenticationToken",
    403: "AuthorizationFailed",
    404: "NotFound",
    408: "RequestTimeout",
    409: "Conflict",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
#: What says where the answer ends, which it would not any more.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@attrs.frozen(kw_only=True)
class Fault:
    """What strikes which requests.

    Attributes:
        path: A regular expression over the whole path as the client sent it, without host and query; case does
            not matter.
        method: The method; empty for any.
        count: After so many strikes it is over; None for never.
        every: 1 strikes each request that matches, n each nth one.
        status: Answer with this HTTP status instead of doing it; with ``headers``, and the error ``code``.
        slow_s: Wait so many real seconds, then do it.
        truncate_bytes: Do it, and break the connection off after so many bytes of the answer's body.
        reset: Reset the connection without doing it.
        apply_then_drop: Do it, then close the connection without an answer.
        expired_token: Answer 401 as to a token that has expired.
        status_word: Do it, and answer with this word for the status of each job.
        cancel_never_ends: Do it; a job that this cancels stays CancelRequested.
    """

    path: str
    method: str = ""
    count: int | None = None
    every: int = 1
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    code: str = ""
    slow_s: float | None = None
    truncate_bytes: int | None = None
    reset: bool = False
    apply_then_drop: bool = False
    expired_token: bool = False
    status_word: str = ""
    cancel_never_ends: bool = False

    @classmethod
    def from_wire(cls, said: Any) -> Self:
        """Read a fault.

        Raises:
            FaultError: A member is unknown or wrong.
        """
        read = read_members(said, _READERS, KINDS)
        if "status" not in said and (extra := sorted({"headers", "code"} & said.keys())):
            raise FaultError(f"{' and '.join(extra)} only go with status.")
        if "path" not in read:
            raise FaultError("path is missing; give a regular expression over the whole path, e.g. .*/jobs/[^/]+.")
        return cls(**read)

    @property
    def error_code(self) -> str:
        """The code of the error that it answers with."""
        return self.code or _CODES.get(self.status or 0, "EmulatedFault")

    def to_wire(self) -> Json:
        """Write it as it was read."""
        told = attrs.asdict(self)
        return {name: value for name, value in told.items() if value is not False and value not in (None, "", {})}


@attrs.define(eq=False)
class _Active:
    """A fault with its counts."""

    fault: Fault
    pattern: re.Pattern[str]
    matched: int = 0
    struck: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count a request, and say whether it is struck."""
        fault = self.fault
        if (fault.method and method != fault.method) or not self.pattern.fullmatch(path):
            return False
        self.matched += 1
        if self.matched % fault.every or (fault.count is not None and self.struck >= fault.count):
            return False
        self.struck += 1
        return True


class FaultList:
    """The faults in force, in order: a request is struck by the first that is due, and the others do not see it."""

    def __init__(self) -> None:
        self._active: list[_Active] = []

    def replace(self, said: Any) -> None:
        """Put a list of faults in force, instead of those before; their counts begin at 0.

        Raises:
            FaultError: One is wrong; then those before stay.
        """
        if not isinstance(said, list):
            raise FaultError(f"The faults are a list, not {short(said)}.")
        found = []
        for number, one in enumerate(said):
            try:
                fault = Fault.from_wire(one)
            except FaultError as error:
                raise FaultError(f"Fault {number}: {error}") from error
            found.append(_Active(fault, re.compile(fault.path, re.IGNORECASE)))
        self._active = found

    def strike(self, method: str, path: str) -> Fault | None:
        """Say which fault strikes a request; None for none."""
        return next((active.fault for active in self._active if active.strikes(method, path)), None)

    def shown(self) -> list[Json]:
        """Show them, with how many requests each matched and struck."""
        return [
            {**active.fault.to_wire(), "matched": active.matched, "struck": active.struck} for active in self._active
        ]


# reading


def _method(name: str, said: Any) -> str:
    if not isinstance(said, str) or said not in _METHODS:
        raise FaultError(f"{name} is {short(said)}; give one of {', '.join(sorted(_METHODS))}, or none for any.")
    return said


def _headers(name: str, said: Any) -> Mapping[str, str]:
    good = isinstance(said, dict) and all(
        _HEADER.fullmatch(key)
        and isinstance(value, str | int)
        and not isinstance(value, bool)
        and str(value).isascii()
        and str(value).isprintable()
        for key, value in said.items()
    )
    if not good:
        raise FaultError(f'{name} are {short(said)}; give an object such as {{"Retry-After": "5"}}.')
    if own := sorted(key for key in said if key.lower() in _OWN_HEADERS):
        raise FaultError(f"{name} {', '.join(own)}: the answer has its own; a fault cannot give them.")
    return {key: str(value) for key, value in said.items()}


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "method": _method,
    "path": pattern,
    "count": count,
    "every": every,
    "status": whole(400, 599),
    "headers": _headers,
    "code": text,
    "slow_s": duration,
    "truncate_bytes": whole(0, 1 << 30),
    "status_word": text,
    **dict.fromkeys(_SWITCHES, true),
}
