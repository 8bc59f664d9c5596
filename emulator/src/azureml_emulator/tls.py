"""The certificate authority of one state directory, and the certificate for Azure's host names."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from azureml_emulator.files import write_whole
from azureml_emulator.state_file import StateError

_LIFETIME = dt.timedelta(days=825)
_RENEW_BEFORE = dt.timedelta(days=30)


@attrs.frozen
class Certificates:
    """Where the files are; all but ``ca`` are for the emulator itself.

    Attributes:
        ca: The authority's certificate, for ``REQUESTS_CA_BUNDLE`` and ``SSL_CERT_FILE``.
        leaf: The served certificate.
        key: Its private key, readable by the owner only.
    """

    ca: Path
    leaf: Path
    key: Path


def certificates(state_dir: Path, names: Sequence[str]) -> Certificates:
    """Find or make the authority, and make a leaf for these names.

    The authority is made once per state directory, so that what trusts it keeps trusting it; its key and the leaf's
    are readable by the owner only.

    Raises:
        StateError: The authority's files are damaged.
    """
    folder = state_dir / "tls"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = Certificates(ca=folder / "ca.pem", leaf=folder / "leaf.pem", key=folder / "leaf-key.pem")
    ca_key, ca_certificate = _authority(folder / "ca-key.pem", found.ca)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    _write_private(found.key, leaf_key)
    leaf = _leaf(leaf_key, names, ca_certificate).sign(ca_key, hashes.SHA256())
    write_whole(found.leaf, leaf.public_bytes(serialization.Encoding.PEM))
    return found


def _authority(key_path: Path, path: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    if key_path.exists() and path.exists():
        key, certificate = _read(key_path, path)
        fresh = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) > _RENEW_BEFORE
        # A process that died between the two files has left the key of another certificate.
        belongs = key.public_key() == certificate.public_key()
        if isinstance(key, ec.EllipticCurvePrivateKey) and fresh and belongs:
            return key, certificate
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azureml-emulator local authority")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_private(key_path, key)
    write_whole(path, certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def _read(key_path: Path, path: Path) -> tuple[PrivateKeyTypes, x509.Certificate]:
    """Read an authority that was made before.

    Raises:
        StateError: One of the files is damaged; another authority would not be trusted by who trusts this one.
    """
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        return key, x509.load_pem_x509_certificate(path.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StateError(
            f"{key_path} or {path.name} beside it is damaged. Put copies back, or remove the folder {path.parent}:"
            " another authority is made, which clients have to be told of."
        ) from error


def _leaf(
    key: ec.EllipticCurvePrivateKey, names: Sequence[str], authority: x509.Certificate
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azureml-emulator")])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(path, text, mode=0o600)
