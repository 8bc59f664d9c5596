"""A scoring script that needs what is not there."""

import no_such_module  # type: ignore[import-not-found]


def init() -> None:
    """Fail."""
    no_such_module.init()


def run(raw_data: str) -> str:
    """Never be called."""
    return raw_data
