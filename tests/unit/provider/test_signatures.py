"""The keys of evidence, as a connection holds them."""

from __future__ import annotations

import json
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_azureml.client.signatures import Keys, make_key
from airflow_azureml.errors import ConfigError
from tests.unit.provider.evidence_world import evidence

PRIVATE, PUBLIC = make_key()
X25519 = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def parse(password: str | None = PRIVATE, extra: object = None) -> Keys:
    text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    return Keys.parse(password=password, extra=text, source="Connection 'e'")


def test_a_key_with_the_lines_of_pem_is_the_same_key() -> None:
    pem = f"-----BEGIN PRIVATE KEY-----\n{PRIVATE}\n-----END PRIVATE KEY-----\n"

    assert parse(pem).sign(evidence()) == parse().sign(evidence())


def test_a_key_of_openssl_is_one() -> None:
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True, text=True)  # noqa: S607  # of this machine
    told = ["openssl", "pkey", "-pubout"]
    public = subprocess.run(told, input=made.stdout, check=True, capture_output=True, text=True).stdout
    signed = parse(made.stdout).sign(evidence())

    assert parse(None, {"trusted": {"theirs": public}}).verify(signed) == "theirs"


def test_a_key_is_in_no_text_of_the_value() -> None:
    found = parse(extra={"trusted": {"old": make_key()[1]}})

    assert PRIVATE not in repr(found)
    assert "Ed25519PrivateKey" not in repr(found)


@pytest.mark.parametrize(
    "wrong",
    ["secret", "AAAA", PUBLIC, "ä", PRIVATE[:-4], X25519],
    ids=["a word", "bytes", "a public key", "no ASCII", "a key cut short", "a key for something else"],
)
def test_a_password_that_is_no_key_is_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(ConfigError, match="its password is no private key of Ed25519") as caught:
        parse(wrong)

    assert wrong not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("{", "its extra is no JSON"),
        ([], "its extra must be"),
        ({"trusted": [PUBLIC]}, "its extra must be"),
        ({"trust": {}}, "unknown trust"),
        ({"trusted": {"old": PRIVATE}}, "the trusted key 'old' is no public key"),
        ({"trusted": {"old": 1}}, "the trusted key 'old' is no public key"),
    ],
)
def test_an_extra_that_is_wrong_says_what_is(extra: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse(extra=extra)

    assert PRIVATE not in str(caught.value)


def test_a_connection_without_any_key_says_how_to_make_one() -> None:
    with pytest.raises(ConfigError, match="airflow azureml evidence key"):
        parse(None)


def test_the_name_of_an_own_key_that_is_trusted_by_name_is_that_name() -> None:
    found = parse(extra={"trusted": {"here": PUBLIC}})

    assert found.verify(found.sign(evidence())) in {"here", "this connection's own key"}
