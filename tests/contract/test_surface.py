"""What azure-ai-ml can do with the emulator: each public method of a model's life, called once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract import surface
from tests.contract.conftest import Emulator

#: azure-ai-ml warns of itself when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def told(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    scratch: Path = tmp_path_factory.mktemp("surface")
    return surface.told(emulator, scratch)


def test_every_public_method_is_called(told: dict[str, str]) -> None:
    assert sorted(set(surface.methods()) - set(told)) == []


def test_nearly_all_work_and_the_others_are_known(told: dict[str, str]) -> None:
    found = {method: surface.outcome(method, told.get(method)) for method in surface.methods()}
    works = [method for method, word in found.items() if word == surface.COVERED]

    assert {method: word for method, word in found.items() if word.startswith("not covered")} == {}
    assert len(works) >= 0.95 * len(found)


def test_the_documentation_says_so(told: dict[str, str]) -> None:
    assert surface.PAGE.read_text(encoding="utf-8") == surface.page(told)
