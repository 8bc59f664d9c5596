"""Who may ask an online endpoint for a score: holders of its keys, of its own tokens, or of Microsoft Entra's."""

from __future__ import annotations

import secrets

import attrs

from azureml_emulator import tokens
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.clock import CLOCK
from azureml_emulator.errors import WireError


class DeniedError(Exception):
    """A request for a score may not come in.

    Attributes:
        status: 401 for one that does not say well enough who asks, 403 for one who may not.
        word: What Azure sends as the whole body, e.g. ``key_auth_access_denied``.
    """

    def __init__(self, status: int, word: str) -> None:
        super().__init__(f"{status}: {word}")
        self.status = status
        self.word = word


@attrs.frozen(kw_only=True)
class Lock:
    """What opens an endpoint.

    Attributes:
        mode: ``Key``, ``AMLToken`` or ``AADToken``, in any case.
        keys: The endpoint's keys.
        audience: For whom the endpoint's own tokens are.
    """

    mode: str
    keys: tuple[str, ...] = attrs.field(repr=False)
    audience: str


def admit(lock: Lock, authorization: str | None) -> dict[str, str]:
    """Look at the ``Authorization`` header of a request for a score.

    The words are those that clients of Azure report (``key_auth_bad_header_forbidden``, ``key_auth_access_denied``);
    those for tokens, and 403 for the token of another endpoint, were not recorded.

    Returns:
        The claims of the token; none for a key.

    Raises:
        DeniedError: It does not open the endpoint.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    mode, secret = lock.mode.lower(), secret.strip()
    kind = {"key": "key_auth", "amltoken": "token_auth"}.get(mode, "aad_auth")
    if scheme.lower() != "bearer" or not secret:
        raise DeniedError(401, f"{kind}_bad_header_forbidden")
    if mode == "key":
        if not any(secrets.compare_digest(secret.encode(), key.encode()) for key in lock.keys):
            raise DeniedError(401, "key_auth_access_denied")
        return {}
    claims = tokens.claims_of(secret)
    if claims is None:
        raise DeniedError(401, f"{kind}_bad_header_forbidden")
    if mode == "amltoken":
        if not AUTHORITY.takes(secret):
            raise DeniedError(401, "token_auth_access_denied")
        if float(claims.get("exp", 0)) < CLOCK.now_s():
            raise DeniedError(401, "token_auth_expired")
        if str(claims.get("aud", "")).lower() != lock.audience.lower():
            raise DeniedError(403, "token_auth_access_denied")
        return claims
    try:
        tokens.check(f"Bearer {secret}", audiences=tokens.ML_AUDIENCES, demanded=True)
    except WireError as error:
        raise DeniedError(401, "aad_auth_access_denied") from error
    return claims
