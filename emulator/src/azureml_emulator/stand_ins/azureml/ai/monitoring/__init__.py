"""Stands in for azureml-ai-monitoring 1.0: data frames that a scoring script collects are sent to the data collector.

It reads the same settings and sends the same requests as that package does, and collects nothing but data frames.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import random
import threading
import time
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["Collector"]

_AGENT = "azureml-emulator-stand-in/1.0"
_CAPACITY = 1500
_PATIENCE_S = 10.0
#: How long the end of the process waits for what is not sent yet, in seconds.
_GRACE_S = 2.0


class _Context:
    """What tells which inputs and outputs belong together."""

    def __init__(self) -> None:
        self._id = str(uuid.uuid4())
        self._timestamp = int(time.time())

    def get_id(self) -> str:
        """Give the id that is the same for both."""
        return self._id

    def get_timestamp(self) -> int:
        """Give when the first was collected, in Unix seconds."""
        return self._timestamp


def _raise(error: Exception) -> None:
    raise error


class Collector:
    """Collects the data frames of one collection.

    Args:
        name: The collection.
        on_error: Is called with what went wrong; it is raised otherwise.
    """

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        self._name = name
        self._on_error = on_error or _raise
        if problem := self._problem():
            self._on_error(ValueError(problem))

    def collect(self, data: Any, correlation_context: _Context | None = None) -> _Context:
        """Collect a data frame; what it returns goes with the outputs of the same request."""
        context = correlation_context or _Context()
        if problem := self._problem():
            self._on_error(ValueError(problem))
        elif type(data).__name__ != "DataFrame" or not hasattr(data, "to_json"):
            what = f"data type ({type(data).__name__}) not supported, supported types: pandas.DataFrame"
            self._on_error(TypeError(what))
        elif self._share() > random.random() * 100:  # noqa: S311  # no secret
            _SENDER.send(self._name, data.to_json(orient="records"), context)
        return context

    def _problem(self) -> str:
        if not _COLLECTIONS:
            return "custom logging is not enabled, drop the data"
        if not _COLLECTIONS.get(self._name, {}).get("enabled"):
            return f"collection {self._name} is not enabled, drop the data"
        return ""

    def _share(self) -> float:
        return float(_COLLECTIONS[self._name].get("sampleRatePercentage", 100))


class _Sender:
    """Sends what was collected in a thread of its own; a full queue or a collector that is not there loses data."""

    def __init__(self) -> None:
        self._queue: queue.Queue[urllib.request.Request] = queue.Queue(_CAPACITY)
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, name: str, text: str, context: _Context) -> None:
        """Send it soon."""
        with self._started:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, daemon=True)
                self._thread.start()
                atexit.register(self._finish)
        try:
            self._queue.put_nowait(_request(name, text, context))
        except queue.Full:
            print("data collection: the queue is full, drop the data", flush=True)  # noqa: T201  # the deployment's log

    def _send_all(self) -> None:
        while True:
            request = self._queue.get()
            try:
                with urllib.request.urlopen(request, timeout=_PATIENCE_S):  # noqa: S310  # http, see _request
                    pass
            except OSError as error:
                print(f"data collection: {error}", flush=True)  # noqa: T201  # the deployment's log
            self._queue.task_done()

    def _finish(self) -> None:
        deadline = time.monotonic() + _GRACE_S
        while self._queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)


def _request(name: str, text: str, context: _Context) -> urllib.request.Request:
    user, at, host = os.environ.get("AZUREML_MDC_HOST", "127.0.0.1").rpartition("@")
    url = f"http://{host}:{os.environ.get('AZUREML_MDC_PORT', '50011')}/modeldata/log"
    headers = {
        "Content-Type": "application/json",
        "trace-id": str(uuid.uuid4()),
        "ce-time": str(context.get_timestamp()),
        "ce-type": f"azureml.inference.{name}",
        "ce-collect-data-type": "pandas.DataFrame",
        "ce-agent": _AGENT,
        "ce-x-request-id": context.get_id(),
    }
    if at:
        headers["Authorization"] = f"Basic {b64encode(unquote(user).encode()).decode()}"
    return urllib.request.Request(url, data=text.encode(), headers=headers, method="POST")  # http


def _collections() -> dict[str, dict[str, Any]]:
    path = os.environ.get("AZUREML_MDC_CONFIG_PATH")
    found: dict[str, dict[str, Any]] = json.loads(Path(path).read_text())["collections"] if path else {}
    return {name: settings for name, settings in found.items() if name not in {"request", "response"}}


_COLLECTIONS = _collections()
_SENDER = _Sender()
