"""Microsoft Entra's answers: which of them a later try may change, and what to look at for the others."""

import re
from collections.abc import Mapping

_CODE = re.compile(r"AADSTS(\d+)")
_FIELD = "password (client secret)"
_FEDERATION = (
    "the application's federated credential: its issuer, subject and audience must be those of the worker's service "
    "account, in the same spelling"
)
_CLOUD = "cloud: the tenant is of another cloud than the connection says"

#: What to look at. Source: "Microsoft Entra authentication and authorization error codes",
#: https://learn.microsoft.com/entra/identity-platform/reference-error-codes; the codes of federated credentials:
#: https://github.com/Azure/azure-workload-identity/issues/1200, https://github.com/Azure/login/issues/517.
ADVICE: Mapping[str, str] = {
    "70001": "login (client id): the application is disabled, or not of this tenant",
    "70002": f"{_FIELD}: it is not this application's",
    "70021": _FEDERATION,
    "53003": "the tenant's conditional access policies: one of them forbids this identity to sign in from here",
    "90002": "tenant_id: there is no such tenant",
    "90038": _CLOUD,
    "500011": "cloud and tenant_id: this tenant does not know the service that the token is for",
    "700016": "login (client id): the tenant knows no such application",
    "700024": "the clock of this machine: what it signed is not valid at this moment",
    "700027": "the certificate: it is not among those that are registered with the application",
    "700211": _FEDERATION,
    "700212": _FEDERATION,
    "700213": _FEDERATION,
    "900023": "tenant_id: it is neither an id nor a domain",
    "900382": _CLOUD,
    "7000112": "login (client id): the application is disabled",
    "7000215": f"{_FIELD}: it is not this application's; the secret's value is needed, not its id",
    "7000222": f"{_FIELD}: it has expired",
    "7000229": "login (client id): the application has no service principal in this tenant",
    "7002137": _FEDERATION,
    "7002138": _FEDERATION,
}
#: Entra is busy or in trouble. Source: the same page (ExternalServerRetryableError, RequestTimeout,
#: RequestBudgetExceededError, MsodsServiceUnavailable, TenantThrottlingError, GraphRetryableError).
PASSING = frozenset({"90006", "90012", "90024", "90033", "90055", "90090"})


def codes_in(words: str) -> list[str]:
    """Find Entra's codes in an error's words, without ``AADSTS``, in their order."""
    return _CODE.findall(words)


def is_refusal(words: str) -> bool:
    """Tell whether Entra itself said no, so that asking again gives the same answer."""
    codes = codes_in(words)
    return bool(codes) and not set(codes) <= PASSING


def advice(words: str) -> str:
    """Say what to look at; empty for words that hold no code we know."""
    return next((ADVICE[code] for code in codes_in(words) if code in ADVICE), "")
