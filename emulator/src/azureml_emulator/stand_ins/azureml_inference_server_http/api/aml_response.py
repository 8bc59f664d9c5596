"""An answer that is more than a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class AMLResponse:
    """An answer with a status of its own; the message goes as it is, unless ``json_str`` asks for JSON."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: Mapping[str, str] | None = None,
        json_str: bool = False,  # Azure's signature
        run_function_failed: bool = False,
    ) -> None:
        self.status_code = int(status_code)
        self.headers = dict(response_headers or {})
        self.headers.setdefault("Content-Type", "application/json" if json_str else "text/html; charset=utf-8")
        self.run_function_failed = run_function_failed
        self._message = json.dumps(message) if json_str else message

    def get_data(self) -> bytes:
        """Return the body."""
        return self._message if isinstance(self._message, bytes) else str(self._message).encode()
