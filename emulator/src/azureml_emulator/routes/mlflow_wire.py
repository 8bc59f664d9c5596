"""What MLflow's routes have in common: where they are, how they refuse, and how they write moments and tags.

Source: https://mlflow.org/docs/latest/rest-api.html (2.0); Azure ML serves it below ``/mlflow/v1.0`` and
``/mlflow/v2.0`` of the data plane.
"""

from __future__ import annotations

from typing import Any

from azureml_emulator.errors import Json, WireError
from azureml_emulator.routes.calls import WORKSPACE
from azureml_emulator.store import instant

#: Where MLflow's own paths begin.
BASES = tuple(f"/mlflow/{version}{WORKSPACE}" for version in ("v1.0", "v2.0"))
ROOTS = tuple(f"{base}/api/2.0/mlflow" for base in BASES)
#: MLflow's own bound for one page of whatever.
_MOST = 200_000


def refusal(status: int, code: str, message: str) -> WireError:
    """Make an error as MLflow's clients read it."""
    return WireError(status, {"error_code": code, "message": message})


def invalid(message: str) -> WireError:
    """Refuse a request that is wrong in itself."""
    return refusal(400, "INVALID_PARAMETER_VALUE", message)


def absent(message: str) -> WireError:
    """Refuse a request for something that is not there."""
    return refusal(404, "RESOURCE_DOES_NOT_EXIST", message)


def millis(moment: str | None) -> int | None:
    """Write a moment as MLflow does: Unix time in milliseconds."""
    return int(instant(moment).timestamp() * 1000) if moment else None


def needed(said: Any, member: str) -> str:
    """Read a member that must be there, as text.

    Raises:
        WireError: 400 when it is not, or is no text, number or boolean.
    """
    value = said.get(member)
    if value is None or value == "" or isinstance(value, dict | list):
        raise invalid(f"Missing value for required parameter '{member}'.")
    return str(value)


def items(said: Any, member: str) -> list[Json]:
    """Read a list of objects, empty where it is left out.

    Raises:
        WireError: 400 when it is something else.
    """
    found = said.get(member) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid(f"'{member}' is no list of objects.")
    return found


def pairs(said: Any, member: str) -> dict[str, str]:
    """Read a list of keys and values; a value left out is empty.

    Raises:
        WireError: 400 when it is something else.
    """
    return {needed(one, "key"): str(one.get("value", "")) for one in items(said, member)}


def tag_list(tags: dict[str, str]) -> list[Json]:
    """Write tags as MLflow does."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def paged(found: list[Json], said: Any, *, size: int) -> tuple[list[Json], Json]:
    """Cut out the page that ``max_results`` and ``page_token`` ask for.

    Args:
        found: All there is.
        said: The body or the query.
        size: How many items a page has unless the request says so.

    Returns:
        The page, and the member that leads to the next one where there is one.

    Raises:
        WireError: 400 when either is no number.
    """
    most = _whole(said, "max_results") or size
    start = _whole(said, "page_token")
    more = {"next_page_token": str(start + most)} if start + most < len(found) else {}
    return found[start : start + most], more


def _whole(said: Any, member: str) -> int:
    given = str(said.get(member) or "0")
    if not (given.isascii() and given.isdecimal() and len(given) <= len(str(_MOST))):
        raise invalid(f"'{member}' is {given[:40]!r}, which is no whole number up to {_MOST}.")
    return int(given)
