"""A scoring script whose ``init`` cannot do its work."""


def init() -> None:
    """Fail."""
    raise RuntimeError("the weights are of another shape")


def run(raw_data: str) -> str:
    """Never be called."""
    return raw_data
