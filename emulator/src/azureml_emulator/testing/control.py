"""The control interface of a running emulator, as Python has it; see "The control interface" in the README."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from azureml_emulator.faults import Fault

_TIMEOUT_S = 60
#: A scripted job: its statuses, each with its seconds, or a mapping with whatever else a script may have.
Script = Sequence[tuple[str, float]] | Mapping[str, Any]


class ControlError(RuntimeError):
    """The emulator refused, or does not serve its control interface; the message says why."""


@attrs.frozen
class _Line:
    """Speaks with the control interface."""

    http: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  # the emulator's own address
            f"{self.http}/control/{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        # Nothing of it goes through a proxy that the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise ControlError(f"{method} /control/{path}: {error.code} {_words(error.read())}") from error
        except OSError as error:
            raise ControlError(f"{method} /control/{path}: no answer from {self.http}: {error}") from error
        return json.loads(content) if content else None


def _words(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]


@attrs.frozen
class Clock:
    """The emulator's clock, by which scripted jobs go, schedules fire and tokens expire."""

    _line: _Line

    def now(self) -> datetime:
        """Read it; UTC."""
        return datetime.fromisoformat(self._line.ask("GET", "clock")["now"])

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._line.ask("POST", "clock", {"frozen": True})

    def go_on(self) -> None:
        """Let it go on from where it stands."""
        self._line.ask("POST", "clock", {"frozen": False})

    def advance(self, seconds: float) -> None:
        """Move it on, frozen or not; it never goes back."""
        self._line.ask("POST", "clock/advance", {"seconds": seconds})


@attrs.frozen
class Control:
    """What can be done to a running emulator that was started with its control interface.

    Args:
        http: The emulator's plain http address.

    Every method raises `ControlError`.
    """

    http: str

    @property
    def _line(self) -> _Line:
        return _Line(self.http)

    @property
    def clock(self) -> Clock:
        """The clock."""
        return Clock(self._line)

    @contextlib.contextmanager
    def faults(self, *faults: Fault) -> Iterator[None]:
        """Let these faults strike while the block lasts; others that were set are gone."""
        self._line.ask("PUT", "faults", [fault.to_wire() for fault in faults])
        try:
            yield
        finally:
            self._line.ask("DELETE", "faults")

    def struck(self) -> int:
        """Count how often the faults that are set have struck."""
        return sum(int(fault["struck"]) for fault in self._line.ask("GET", "faults"))

    def script(self, name: str, script: Script) -> None:
        """Store a script; a job takes it whose property ``emulator.script`` names it."""
        self._line.ask("PUT", f"scripts/{name}", script)

    def jobs(self, count: int, script: Script | str, *, prefix: str, **options: Any) -> None:
        """Create scripted jobs ``PREFIX-00000``, …, at once.

        Args:
            count: How many.
            script: A stored script's name, or a script.
            prefix: How their names begin.
            options: ``workspace`` (SUB/RG/NAME), ``endpoint`` with ``deployment``, ``experiment``.
        """
        self._line.ask("POST", "jobs", {"count": count, "script": script, "prefix": prefix, **options})

    def requests(self) -> Any:
        """Count the requests since the last `forget_requests`, by method, route and answer."""
        return self._line.ask("GET", "requests")

    def forget_requests(self) -> None:
        """Begin to count anew."""
        self._line.ask("DELETE", "requests")

    def put(self, what: str, body: Any) -> Any:
        """PUT anything else that the interface has, such as ``quotas``, ``permissions``, ``events`` or ``tokens``."""
        return self._line.ask("PUT", what, body)

    def get(self, what: str) -> Any:
        """GET anything that the interface has."""
        return self._line.ask("GET", what)
