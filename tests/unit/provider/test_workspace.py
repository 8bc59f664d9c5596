import base64
import string
import textwrap
from collections.abc import Set as AbstractSet

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_azureml.core.certificates import mend_pem
from airflow_azureml.core.clouds import CLOUDS, Cloud, cloud_of
from airflow_azureml.core.workspace import (
    CREDENTIAL_EXTRA,
    CREDENTIAL_FIELDS,
    OPTIONAL,
    REQUIRED,
    SPOKEN,
    Authentication,
    ConnectionSettings,
    Workspace,
    is_loopback,
)
from airflow_azureml.errors import ConfigError

NAMES = {"subscription_id": "s", "resource_group": "g", "workspace": "w"}
SECRET = "s3cr3t-of-nobody"  # noqa: S105  # a test's own word
BY_CERTIFICATE = {"authentication": "service_principal_certificate", "tenant_id": "t", "login": "c"}


def pem(label: str, content: bytes) -> str:
    lines = textwrap.wrap(base64.b64encode(content).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


PEM = pem("PRIVATE KEY", b"key " * 40) + pem("CERTIFICATE", b"certificate " * 40)


def parse(**more: object) -> ConnectionSettings:
    return ConnectionSettings.parse({**NAMES, **more}, conn_id="mine")


def complaint(**more: object) -> str:
    with pytest.raises(ConfigError) as caught:
        ConnectionSettings.parse(more, conn_id="mine")
    return str(caught.value)


def test_a_connection_with_three_names_is_enough() -> None:
    settings = parse()

    assert settings.workspace == Workspace(subscription_id="s", resource_group="g", name="w")
    assert settings.authentication is Authentication.DEFAULT


def test_one_error_lists_everything_that_is_wrong() -> None:
    told = complaint(
        subscription_id="s", workspce="w", authentication="service_principal", endpoint="http://azure.example"
    )

    assert "'mine'" in told
    for part in (
        "missing resource_group, workspace",
        "unknown workspce",
        "needs tenant_id",
        "needs login (client id)",
        "needs password (client secret)",
        "http is for an emulator on this machine",
    ):
        assert part in told


@pytest.mark.parametrize("name", ["host", "port", "schema", "workspace_name", "tenant"])
def test_an_unknown_field_is_an_error_and_never_a_default(name: str) -> None:
    assert f"unknown {name}" in complaint(**NAMES, **{name: "x"})


def test_a_credential_that_the_kind_does_not_use_is_refused() -> None:
    told = complaint(**NAMES, authentication="default", password=SECRET)

    assert "no use for password (client secret)" in told
    assert SECRET not in told


def test_an_unknown_kind_of_authentication_names_the_known_ones() -> None:
    told = complaint(**NAMES, authentication="kerberos")

    assert "'kerberos' is none of default, service_principal, service_principal_certificate, managed_identity" in told


@pytest.mark.parametrize("endpoint", ["http://10.0.0.1:80", "http://azure.example", "http://127.0.0.1.example.com"])
def test_plain_http_is_refused_everywhere_but_on_this_machine(endpoint: str) -> None:
    assert "http is for an emulator on this machine" in complaint(**NAMES, endpoint=endpoint)


def test_a_real_credential_never_travels_over_plain_http() -> None:
    told = complaint(**NAMES, endpoint="http://127.0.0.1:8080")

    assert "an http endpoint takes no real credential" in told


def test_the_emulators_token_is_never_sent_to_another_machine() -> None:
    told = complaint(**NAMES, endpoint="https://management.azure.com", authentication="emulator")

    assert "for an endpoint on this machine" in told


def test_a_secret_in_the_endpoint_is_refused_and_not_repeated() -> None:
    told = complaint(**NAMES, endpoint=f"https://user:{SECRET}@management.azure.com")

    assert "no user and no password" in told
    assert SECRET not in told


def test_settings_do_not_show_their_secret() -> None:
    settings = parse(authentication="service_principal", tenant_id="t", login="c", password=SECRET)

    assert SECRET not in repr(settings)
    assert settings.client_secret == SECRET


@given(st.text(min_size=1).map(str.strip).filter(bool))
def test_names_cannot_leave_their_place_in_the_address(name: str) -> None:
    arm_id = Workspace(subscription_id=name, resource_group=name, name=name).arm_id

    assert arm_id.count("/") == 8
    assert "?" not in arm_id
    assert "#" not in arm_id


# Which fields go with which kind


FIELDS = frozenset({*SPOKEN, *CREDENTIAL_EXTRA})


def form(kind: Authentication, wrong: AbstractSet[str]) -> dict[str, str]:
    """What the kind takes at most, with these fields added where they are missing, and left out where they are not."""
    chosen = frozenset().union(*CREDENTIAL_FIELDS[kind]) ^ wrong
    return {"authentication": kind.value, **{name: PEM if name == "password" else "x" for name in sorted(chosen)}}


FORMS = st.builds(form, st.sampled_from(list(Authentication)), st.sets(st.sampled_from(sorted(FIELDS)), max_size=3))


@given(FORMS)
def test_a_kind_takes_what_it_needs_and_may_have_and_nothing_else(fields: dict[str, str]) -> None:
    kind = Authentication(fields["authentication"])
    endpoint = {"endpoint": "http://127.0.0.1:1"} if kind is Authentication.EMULATOR else {}
    needed, allowed = CREDENTIAL_FIELDS[kind]
    present = set(fields) - {"authentication"}
    one_certificate = kind is not Authentication.SERVICE_PRINCIPAL_CERTIFICATE or (
        len(present & {"password", "certificate_path"}) == 1
    )

    if needed <= present <= needed | allowed and one_certificate:
        assert parse(**fields, **endpoint).authentication is kind
    else:
        assert f"authentication '{kind}'" in complaint(**NAMES, **fields, **endpoint)


@given(st.dictionaries(st.text(string.ascii_lowercase + "_", min_size=1, max_size=12), st.just("x"), min_size=1))
@example({"client_secret": "x"})
@example({"private_key": "x"})
def test_no_field_that_is_unknown_is_passed_over(more: dict[str, str]) -> None:
    unknown = sorted(set(more) - {*REQUIRED, *OPTIONAL, *SPOKEN})

    if unknown:
        assert f"unknown {', '.join(unknown)} (" in complaint(**{**NAMES, **more})


def test_a_certificate_is_given_either_as_text_or_as_a_file() -> None:
    text = parse(**BY_CERTIFICATE, password=PEM, certificate_password=SECRET)
    file = parse(**BY_CERTIFICATE, certificate_path="/etc/azure/sp.pem")
    told = [complaint(**NAMES, **BY_CERTIFICATE, **more) for more in ({}, {"password": PEM, "certificate_path": "p"})]

    assert (text.certificate, text.certificate_password, text.client_secret) == (PEM, SECRET, "")
    assert (file.certificate, file.certificate_path) == ("", "/etc/azure/sp.pem")
    assert all("needs either password (certificate) or certificate_path" in each for each in told)


def test_a_workload_identity_may_leave_everything_to_its_environment() -> None:
    settings = parse(authentication="workload_identity")

    assert (settings.tenant_id, settings.client_id, settings.token_file_path) == ("", "", "")


# Secrets


@pytest.mark.parametrize(
    "fields",
    [
        {"authentication": "service_principal", "tenant_id": "t", "login": "c", "password": SECRET},
        {**BY_CERTIFICATE, "password": PEM, "certificate_password": SECRET},
    ],
    ids=["secret", "certificate"],
)
def test_no_secret_is_in_what_settings_show(fields: dict[str, str]) -> None:
    shown = f"{parse(**fields)!r} {parse(**fields)}"

    assert SECRET not in shown
    assert "PRIVATE KEY" not in shown


@given(
    st.sampled_from([*OPTIONAL, *SPOKEN, "endpoint", "proxy"]).filter(
        lambda name: name not in ("authentication", "cloud")
    ),
    st.sampled_from(
        ["{0}", "https://u:{0}@h.example", "ftp://u:{0}@h", "https://h.example/?sig={0}", "-----BEGIN {0}"]
    ),
    st.sampled_from(list(Authentication)),
)
def test_no_complaint_repeats_what_stood_in_a_field(name: str, shape: str, kind: Authentication) -> None:
    given_ = {**NAMES, "surplus": SECRET, "authentication": kind.value, name: shape.format(SECRET)}

    assert SECRET not in complaint(**given_)


# Certificates as text


@given(
    st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=3),
    st.sampled_from(["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]),
    st.sampled_from(["\n", "\r\n", "", " ", "\\n", "\\r\\n", "\n\n", "\t\n "]),
)
def test_a_certificate_survives_every_form_that_plays_with_its_lines(
    chain: list[bytes], label: str, line_end: str
) -> None:
    whole = pem(label, b"the key") + "".join(pem("CERTIFICATE", each) for each in chain)

    assert mend_pem(whole.replace("\n", line_end)) == whole


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SECRET, "holds no certificate"),
        (pem("CERTIFICATE", b"c"), "holds no private key"),
        (pem("PRIVATE KEY", b"k"), "holds no certificate"),
        (PEM.replace("a", "%"), "is damaged"),
        (PEM[:-10], "holds no certificate"),
        (PEM.replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n", 1), "openssl pkcs8 -topk8"),
    ],
    ids=["no PEM", "no key", "no certificate", "damaged", "cut off", "old encryption"],
)
def test_text_that_is_no_certificate_with_its_key_is_refused_and_not_repeated(text: str, why: str) -> None:
    told = complaint(**NAMES, **BY_CERTIFICATE, password=text)

    assert "password (certificate) " in told
    assert why in told
    assert SECRET not in told
    assert "a2V5" not in told


# Clouds


@pytest.mark.parametrize("cloud", list(Cloud))
def test_a_cloud_brings_its_address_and_another_address_keeps_its_tokens(cloud: Cloud) -> None:
    own = parse(cloud=cloud.value)
    private = parse(cloud=cloud.value, endpoint="https://aml.gateway.example/arm/")

    assert own.workspace.endpoint == CLOUDS[cloud].resource_manager
    assert private.workspace.endpoint == "https://aml.gateway.example/arm"
    assert private.addresses == CLOUDS[cloud]


def test_a_connection_without_a_cloud_is_of_the_public_one() -> None:
    assert parse().cloud is Cloud.PUBLIC


@given(st.sampled_from(list(Cloud)), st.sampled_from(list(Cloud)))
def test_an_endpoint_of_another_cloud_is_an_error_that_names_the_cloud(said: Cloud, of: Cloud) -> None:
    fields = {**NAMES, "cloud": said.value, "endpoint": CLOUDS[of].resource_manager}

    if said is of:
        assert ConnectionSettings.parse(fields, conn_id="mine").cloud is said
    else:
        assert f"set cloud to '{of.value}'" in complaint(**fields)


def test_an_unknown_cloud_names_the_known_ones() -> None:
    assert "cloud 'germany' is none of public, usgovernment, china" in complaint(**NAMES, cloud="germany")


@pytest.mark.parametrize(
    ("url", "cloud"),
    [
        ("https://westeurope.api.azureml.ms/discovery", Cloud.PUBLIC),
        ("https://usgovvirginia.api.ml.azure.us", Cloud.US_GOVERNMENT),
        ("https://chinaeast2.api.ml.azure.cn", Cloud.CHINA),
        ("https://api.azureml.ms.evil.example", None),
        ("http://127.0.0.1:1", None),
        ("https://[", None),
    ],
)
def test_an_address_tells_its_cloud(url: str, cloud: Cloud | None) -> None:
    assert cloud_of(url) is cloud


# Addresses


@pytest.mark.parametrize(
    "proxy",
    ["proxy.example:3128", "socks5://p:1", "http://", "http://p:1/path", "http://p:99999", "http://[", "http://p q"],
)
def test_a_proxy_that_is_no_address_is_refused(proxy: str) -> None:
    assert "proxy is no address such as http://proxy.example:3128" in complaint(**NAMES, proxy=proxy)


def test_a_proxy_with_a_password_is_refused_and_not_repeated() -> None:
    told = complaint(**NAMES, proxy=f"http://user:{SECRET}@proxy.example:3128")

    assert "proxy must hold no user and no password" in told
    assert SECRET not in told


def test_an_emulator_on_this_machine_is_behind_no_proxy() -> None:
    told = complaint(**NAMES, authentication="emulator", endpoint="http://127.0.0.1:1", proxy="http://p:1")

    assert "no use for proxy" in told


@given(st.text(max_size=40) | st.text("htps:/[]@.%:0129 abc", max_size=20).map("https://{}".format))
@example("https://[")
@example("https://a:x")
@example("https://h/\n")
def test_an_endpoint_is_an_address_or_a_complaint_and_never_a_crash(text: str) -> None:
    try:
        settings = parse(endpoint=text)
    except ConfigError:
        return

    assert settings.workspace.endpoint.startswith("https://")
    assert not settings.workspace.endpoint.endswith("/")
    assert "@" not in settings.workspace.endpoint


def test_what_is_no_address_is_not_this_machine() -> None:
    assert not is_loopback("http://[")
