"""The request itself, for a script that wants more of it than its text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: What a function is marked with that takes the request itself.
RAW = "azureml_emulator_raw_http"


class AMLRequest:
    """A request: the part of Flask's that needs no Flask."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.path = urlsplit(path).path
        self.headers = headers
        self.data = body
        self.args = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}

    def get_data(self, as_text: bool = False) -> bytes | str:  # Flask's signature
        """Return the body."""
        return self.data.decode("utf-8", "replace") if as_text else self.data

    def get_json(self, **_: Any) -> Any:
        """Read the body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.data)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return self.get_json()


def rawhttp(function: Callable[[AMLRequest], Any]) -> Callable[[AMLRequest], Any]:
    """Mark a ``run`` that takes the request itself."""
    setattr(function, RAW, True)
    return function
