"""Signing evidence, and telling whose signature it is: Ed25519, with keys from an Airflow connection.

Source: RFC 8032; keys are written as RFC 8410 has them, in base64 on one line, which is what stands between the first
and the last line of a PEM file.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from airflow_azureml.core.evidence import Evidence, Signed, to_sign
from airflow_azureml.errors import ConfigError, EvidenceAlteredError, EvidenceKeyError

#: What the extra of a connection with keys may have.
TRUSTED = "trusted"
#: What it is called in messages when it is the connection's own.
_OWN = "this connection's own key"
_ARMOUR = re.compile(r"-----[A-Z ]+-----|\s")


@frozen(kw_only=True)
class Keys:
    """The key that signs, and the keys whose signatures are believed.

    Attributes:
        own: Signs; None where evidence is only verified.
        trusted: Whose signatures are believed, by their ids.
        names: What they are called, by their ids.
        source: Where they come from, for messages.
    """

    own: Ed25519PrivateKey | None = field(default=None, repr=False)
    trusted: Mapping[str, Ed25519PublicKey]
    names: Mapping[str, str]
    source: str

    @classmethod
    def parse(cls, *, password: str | None, extra: str | None, source: str) -> Self:
        """Read the keys of a connection.

        Args:
            password: The private key; None or empty where evidence is only verified.
            extra: JSON: ``{"trusted": {"NAME": "PUBLIC KEY", ...}}``; the public half of the private key is trusted in
                any case.
            source: What to call the connection in messages.

        Raises:
            ConfigError: A key is none, the extra has something else, or there is no key at all.
        """
        own = _private(password, source) if password else None
        told = _trusted(extra, source)
        public = {name: _public(text, f"{source}: the trusted key {name!r}") for name, text in told.items()}
        if own is not None:
            public.setdefault(_OWN, own.public_key())
        if not public:
            raise ConfigError(
                f"{source} has no key: put the private key of `airflow azureml evidence key` into its password, or"
                f' public keys into its extra: {{"{TRUSTED}": {{"NAME": "KEY"}}}}.'
            )
        by_id = {id_of(key): key for key in public.values()}
        return cls(own=own, trusted=by_id, names={id_of(key): name for name, key in public.items()}, source=source)

    def sign(self, evidence: Evidence) -> Signed:
        """Sign it; the same evidence and key make the same signature.

        Raises:
            ConfigError: There is no private key.
        """
        if self.own is None:
            raise ConfigError(f"{self.source} has no private key, and evidence is to be signed: put one into password.")
        key = id_of(self.own.public_key())
        return Signed(evidence=evidence, key=key, signature=self.own.sign(to_sign(evidence)))

    def verify(self, signed: Signed) -> str:
        """See that what is said is what was signed, and return what its key is called.

        Raises:
            EvidenceKeyError: Nobody here trusts the key.
            EvidenceAlteredError: The signature is not over what is said.
        """
        digest = signed.evidence.digest
        if signed.key not in self.trusted:
            known = ", ".join(f"{key} ({name})" for key, name in self.names.items())
            raise EvidenceKeyError(
                f"Evidence {digest} is signed with key {signed.key!r:.80}, and {self.source} trusts {known}. Add its"
                " public key to trusted, if you know whose it is."
            )
        try:
            self.trusted[signed.key].verify(signed.signature, to_sign(signed.evidence))
        except InvalidSignature as error:
            raise EvidenceAlteredError(
                f"Evidence {digest} was written to since it was signed with key {signed.key}"
                f" ({self.names[signed.key]}): run the environment anew, and see who may write there."
            ) from error
        return self.names[signed.key]


def make_key() -> tuple[str, str]:
    """Make a new key: the private half, for a connection's password, and the public half, for others to trust."""
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return base64.b64encode(private).decode(), public_text(made.public_key())


def public_text(key: Ed25519PublicKey) -> str:
    """Write a public key as others are given it."""
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def id_of(key: Ed25519PublicKey) -> str:
    """Name a key: 16 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _private(text: str, source: str) -> Ed25519PrivateKey:
    """Read the private key; what is wrong with it is told without it."""
    made: Any = None
    try:
        made = load_der_private_key(_der(text), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        made = None
    if not isinstance(made, Ed25519PrivateKey):
        raise ConfigError(
            f"{source}: its password is no private key of Ed25519 (PKCS #8, not encrypted, with or without the lines of"
            " PEM); `airflow azureml evidence key` makes one."
        ) from None
    return made


def _public(text: Any, what: str) -> Ed25519PublicKey:
    made: Any = None
    if isinstance(text, str):
        try:
            made = load_der_public_key(_der(text))
        except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
            made = None
    if not isinstance(made, Ed25519PublicKey):
        raise ConfigError(f"{what} is no public key of Ed25519, as `airflow azureml evidence key` prints it.") from None
    return made


def _der(text: str) -> bytes:
    return base64.b64decode(_ARMOUR.sub("", text), validate=True)


def _trusted(extra: str | None, source: str) -> Mapping[str, Any]:
    try:
        told = json.loads(extra or "{}")
    except ValueError as error:
        raise ConfigError(f"{source}: its extra is no JSON.") from error
    if not isinstance(told, Mapping) or not isinstance(told.get(TRUSTED, {}), Mapping):
        raise ConfigError(f'{source}: its extra must be {{"{TRUSTED}": {{"NAME": "KEY"}}}}.')
    if unknown := sorted(set(told) - {TRUSTED}):
        raise ConfigError(f"{source}: unknown {', '.join(unknown)} (in its extra); it may have {TRUSTED}.")
    return dict(told.get(TRUSTED, {}))
