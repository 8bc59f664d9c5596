"""The model folder that train writes, and that evaluate and score read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from diabetes_csv import InputError


@dataclass(frozen=True, slots=True)
class Card:
    """What model.json says; ``text`` is all of it."""

    folder: Path
    features: tuple[str, ...]
    text: dict[str, Any]


def read_card(folder: Path) -> Card:
    """Read the model.json of a model folder.

    Raises:
        InputError: It is missing or is not what train writes.
    """
    try:
        text = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return Card(folder, tuple(text["features"]), text)
    except FileNotFoundError as error:
        raise InputError(
            f"the model folder {folder.name} has no model.json; pass the folder that train wrote."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the model.json in {folder.name} is not one that train writes: {error!r}.") from error


def load(card: Card) -> Any:
    """Load the regression of a model folder; unpickling runs code, so it must be one that train wrote.

    Raises:
        InputError: It is missing, damaged, or of another number of features than its card.
    """
    name = f"the model.joblib in {card.folder.name}"
    try:
        regression = joblib.load(card.folder / "model.joblib")
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(f"{name} cannot be loaded: {error!r}.") from error
    if getattr(regression, "n_features_in_", None) != len(card.features):
        raise InputError(f"{name} does not fit its model.json ({len(card.features)} features).")
    return regression
