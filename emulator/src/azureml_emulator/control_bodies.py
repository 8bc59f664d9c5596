"""What a request to the control interface must be."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from azureml_emulator.errors import Json


class ControlError(Exception):
    """A request to the control interface is wrong; the message is one sentence."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def body_of(request: Request) -> Any:
    """Read a JSON body; the content type is demanded, so that no web page can send one without being asked.

    Raises:
        ControlError: It is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ControlError(f"The content type is {kind or 'missing'}; send application/json.")
    try:
        body = json.loads(await request.body())
        json.dumps(body, ensure_ascii=False).encode()  # half of a surrogate pair is JSON, and no text
    except UnicodeEncodeError as error:
        raise ControlError("The body has a text that is no Unicode: half of a surrogate pair.") from error
    except (ValueError, RecursionError) as error:
        raise ControlError(f"The body is no JSON: {error}.") from error
    return body


async def members(request: Request, *, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> Json:
    """Read an object with exactly these members.

    Raises:
        ControlError: One is missing or unknown.
    """
    body = await body_of(request)
    if not isinstance(body, dict):
        raise ControlError(f"The body is no object with {', '.join(needed)}.")
    wrong = [f"{name} is missing" for name in needed if name not in body]
    wrong += [f"{name} is unknown" for name in body if name not in {*needed, *optional}]
    if wrong:
        raise ControlError(f"The body is wrong: {'; '.join(wrong)}. Its members: {', '.join((*needed, *optional))}.")
    return body


def whole(said: Any, name: str, *, least: int, most: int) -> int:
    """Read a whole number.

    Raises:
        ControlError: It is none, or not between ``least`` and ``most``.
    """
    if isinstance(said, bool) or not isinstance(said, int) or not least <= said <= most:
        raise ControlError(f"{name} is {json.dumps(said)[:80]}; give a whole number of {least} to {most}.")
    return said
