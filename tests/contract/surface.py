"""Which of azure-ai-ml's public methods work against the emulator, as a table of the documentation.

``python -m tests.contract.surface`` asks the SDK and writes it.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tests.contract.conftest import REPOSITORY, Emulator, tell

PAGE = REPOSITORY / "docs" / "reference" / "sdk-coverage.md"
COVERED = "covered"
#: The operations of a model's life; the others of `MLClient` are for what the emulator is not about.
AREAS = (
    *("workspaces", "datastores", "connections", "compute", "environments", "data", "models", "components", "jobs"),
    *("batch_endpoints", "batch_deployments", "online_endpoints", "online_deployments", "schedules", "registries"),
)
#: What cannot work, and is not the emulator's to mend.
ELSEWHERE = {
    "data.mount": "needs a file system driver, azureml-dataprep-rslex, on the machine; no route",
    "datastores.mount": "needs a file system driver, azureml-dataprep-rslex, on the machine; no route",
    "data.list_materialization_status": "a TypeError of azure-ai-ml itself, before any request",
}


def methods() -> list[str]:
    """List the public methods of the areas, ``AREA.METHOD``, in the order of the areas."""
    from azure.ai.ml import MLClient  # four seconds

    found = []
    for area in AREAS:
        of = getattr(MLClient, area).fget.__annotations__["return"]
        found += [f"{area}.{name}" for name, _ in inspect.getmembers(of, callable) if not name.startswith("_")]
    return found


def told(emulator: Emulator, scratch: Path) -> dict[str, str]:
    """Have the SDK call each method once; say what came of it."""
    return tell(emulator, "surface_story.py", scratch)


def outcome(method: str, said: str | None) -> str:
    """Say in a few words what came of a method."""
    if said == COVERED:
        return COVERED
    if said is not None and said.startswith("501"):
        return "501"
    return ELSEWHERE.get(method, f"not covered: {said}")


def page(said: Mapping[str, str]) -> str:
    """Write the table."""
    rows = {method: outcome(method, said.get(method)) for method in methods()}
    count = sum(word == COVERED for word in rows.values())
    lines = [
        "# What of azure-ai-ml works against the emulator",
        "",
        f"azure-ai-ml {version('azure-ai-ml')} called each public method of the operations of a model's life once,",
        f"with good arguments: {count} of {len(rows)} work, {100 * count / len(rows):.0f} %.",
        "`python -m tests.contract.surface` writes this page, and a test holds it.",
        "",
        "| Operation | Against the emulator |",
        "|---|---|",
        *(f"| `{method}` | {word} |" for method, word in rows.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Ask, and write the page."""
    from demo.azure import Azurite  # noqa: PLC0415  # only here

    with tempfile.TemporaryDirectory() as name, Azurite(Path(name) / "azurite") as azurite:
        emulator = Emulator(Path(name) / "state", azurite.blob_port, azurite.queue_port)
        emulator.start()
        try:
            PAGE.write_text(page(told(emulator, Path(name) / "scratch")), encoding="utf-8")
        finally:
            emulator.end()


if __name__ == "__main__":
    main()
