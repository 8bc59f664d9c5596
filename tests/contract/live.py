"""A workspace that is there already, and is asked instead of the emulator: a real one, with ``--live``."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Self

import attrs
import pytest

#: What names the workspace; DefaultAzureCredential reads its own.
VARIABLES = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_ML_WORKSPACE")


@attrs.frozen
class Live:
    """One workspace.

    Attributes:
        workspace: ``SUBSCRIPTION/RESOURCE_GROUP/NAME``.
        mark: The end of the names that are made there, so that it can be asked again.
    """

    workspace: str
    mark: str = attrs.field(factory=lambda: f"-{uuid.uuid4().hex[:8]}")

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read which one it is.

        Raises:
            pytest.UsageError: The environment does not say.
        """
        if missing := [name for name in VARIABLES if not environment.get(name)]:
            raise pytest.UsageError(f"--live asks the workspace that {', '.join(VARIABLES)} name; set {missing[0]}.")
        return cls("/".join(environment[name] for name in VARIABLES))

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client: that of the tests, which signs in as whoever runs them."""
        return {**os.environ, "CONTRACT_MARK": self.mark}
