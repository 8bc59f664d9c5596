"""The keys and the tokens with which an online endpoint is asked."""

from __future__ import annotations

import secrets
import string

import attrs

from azureml_emulator import tokens
from azureml_emulator.clock import CLOCK
from azureml_emulator.errors import Json
from azureml_emulator.store import Store

_LETTERS = string.ascii_letters + string.digits
_LENGTH = 32


@attrs.frozen
class Keys:
    """An endpoint's two keys; either opens it."""

    primary: str = attrs.field(repr=False)
    secondary: str = attrs.field(repr=False)

    def to_wire(self) -> Json:
        """Write them as ``listKeys`` does."""
        return {"primaryKey": self.primary, "secondaryKey": self.secondary}


def _id(endpoint_id: str) -> str:
    """Where they are kept: beneath the endpoint, so that they go when it does."""
    return f"{endpoint_id}/keys"


def _new() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def keys_of(store: Store, endpoint_id: str) -> Keys:
    """Find the keys of an endpoint; who asks first makes them."""
    found = store.get(_id(endpoint_id))
    if found is None:
        found = {"primaryKey": _new(), "secondaryKey": _new()}
        store.put(_id(endpoint_id), found)
    return Keys(found["primaryKey"], found["secondaryKey"])


def regenerate(store: Store, endpoint_id: str, kind: str) -> None:
    """Put a new key in the place of the ``Primary`` or the ``Secondary`` one, which opens nothing from then on."""
    keys = keys_of(store, endpoint_id)
    changed = attrs.evolve(keys, primary=_new()) if kind == "Primary" else attrs.evolve(keys, secondary=_new())
    store.put(_id(endpoint_id), changed.to_wire())


def audience(endpoint_id: str) -> str:
    """For whom a token of an endpoint is: for it alone."""
    return f"https://ml.azure.com{endpoint_id.lower()}"


def token_body(endpoint_id: str, lifetime_s: int) -> Json:
    """Make a token as the ``token`` action answers it; recorded, with times in Unix seconds."""
    at = int(CLOCK.now_s())
    return {
        "accessToken": tokens.issue(audience(endpoint_id), lifetime_s=lifetime_s),
        "tokenType": "Bearer",
        "expiryTimeUtc": at + lifetime_s,
        "refreshAfterTimeUtc": at + lifetime_s // 2,
    }
