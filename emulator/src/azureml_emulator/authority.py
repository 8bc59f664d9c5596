"""Who signs tokens here, and whether the tokens of others are taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from azureml_emulator.files import write_whole
from azureml_emulator.names import TENANT
from azureml_emulator.settings import SettingsError

_FILE = "tenant.json"
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@attrs.define(eq=False)
class Authority:
    """Signs tokens.

    Attributes:
        tenant: The tenant that they are of.
        is_strict: Whether only tokens that it has signed are taken; otherwise any that fit are, whoever signed them.
        clients: The secrets of the service principals it knows, by their ids; in a strict one, nobody else signs in.
    """

    tenant: str = TENANT
    is_strict: bool = False
    clients: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    _key: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)

    def govern(self, tenant: str, clients: Sequence[str], *, state_dir: Path) -> None:
        """Be strict from now on, as ``--tenant`` and ``--client`` say; the key outlives a restart.

        Args:
            tenant: The tenant's id.
            clients: ``ID=SECRET`` of each service principal.
            state_dir: Where the key is kept, for its owner alone.

        Raises:
            SettingsError: The tenant is no GUID, a client is not written so, or the key that was kept is damaged.
        """
        known = known_clients(tenant, clients)
        path = state_dir / _FILE
        if not path.exists() or _kept(path)[0] != tenant:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept = {"tenant": tenant, "key": secrets.token_hex(32)}
            write_whole(path, json.dumps(kept).encode(), mode=0o600)
        self.clients, self.is_strict = known, True
        self.adopt(state_dir)

    def adopt(self, state_dir: Path) -> None:
        """Sign as the emulator of a state directory does, if that is strict: for who may read its folder."""
        path = state_dir / _FILE
        if path.exists():
            self.tenant, self._key = _kept(path)

    def release(self) -> None:
        """Take any token again, as before `govern`."""
        self.tenant, self.is_strict, self.clients = TENANT, False, {}

    def sign(self, text: str) -> str:
        """Sign the first two parts of a token; gives the third."""
        made = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()

    def takes(self, token: str) -> bool:
        """Whether a token may be looked at at all."""
        if not self.is_strict:
            return True
        text, _, signature = token.rpartition(".")
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())


def _kept(path: Path) -> tuple[str, bytes]:
    """Read a tenant and its key.

    Raises:
        SettingsError: The file is damaged.
    """
    try:
        kept = json.loads(path.read_bytes())
        return str(kept["tenant"]), bytes.fromhex(kept["key"])
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} is damaged. Remove it: another key is made, and tokens that were issued are not taken any more."
        ) from error


def known_clients(tenant: str, clients: Sequence[str]) -> dict[str, str]:
    """Read the service principals.

    Raises:
        SettingsError: The tenant is no GUID, or a client is not written ``ID=SECRET``.
    """
    if not _GUID.fullmatch(tenant):
        raise SettingsError(f"--tenant {tenant!r} is no tenant's id: a GUID, in lower case.")
    found = dict(client.partition("=")[::2] for client in clients)
    if not all(name and secret for name, secret in found.items()):
        raise SettingsError("--client names a service principal as ID=SECRET.")
    return found


#: The one of this process.
AUTHORITY = Authority()
