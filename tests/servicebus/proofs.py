"""What proves to the stand-in who asks: a token of Entra's, or a signature with the emulator's public key."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64decode
from urllib.parse import parse_qs, quote_plus

#: The key of Microsoft's Service Bus emulator.
KEY_NAME, KEY = "RootManageSharedAccessKey", "SAS_KEY_VALUE"
AUDIENCE = "https://servicebus.azure.net"


def audience_of(token: str) -> str:
    _, _, rest = token.partition(".")
    part, _, _ = rest.partition(".")
    return str(json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))["aud"]) if part else ""


def is_signed(token: str) -> bool:
    """Check a shared access signature, by the public key.

    Source: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas.
    """
    kind, _, rest = token.partition(" ")
    if kind != "SharedAccessSignature":
        return False
    fields = {name: values[0] for name, values in parse_qs(rest).items()}
    expected = hmac.digest(KEY.encode(), f"{quote_plus(fields['sr'])}\n{fields['se']}".encode(), hashlib.sha256)
    return (fields["skn"], fields["sig"]) == (KEY_NAME, b64encode(expected).decode())
