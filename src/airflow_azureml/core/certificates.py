"""A certificate with its private key, as text that has been through a form."""

import re

#: RFC 7468: a label between hyphens, base64 in between. A label such as ``RSA PRIVATE KEY`` is capital words.
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_LINE = 64
CERTIFICATE, PRIVATE_KEY = "CERTIFICATE", "PRIVATE KEY"
HOW = "certificate and private key as PEM text, from '-----BEGIN' to the last '-----END …-----'"


def mend_pem(text: str) -> str:
    r"""Give PEM text the line ends back that a one-line form field, or a ``\n`` written as two characters, took.

    Returns:
        The blocks in their order, base64 in lines of 64 characters, as RFC 7468 writes them.

    Raises:
        ValueError: It holds no certificate or no private key, or something else than base64; the message repeats
            nothing of it.
    """
    blocks = _BLOCK.findall(text.replace("\\r", "").replace("\\n", "\n"))
    labels = [label for label, _ in blocks]
    if CERTIFICATE not in labels:
        raise ValueError(f"holds no certificate: give {HOW}")
    if not any(label.endswith(PRIVATE_KEY) for label in labels):
        raise ValueError(f"holds no private key: give {HOW}")
    written = []
    for label, body in blocks:
        content = "".join(body.split())
        if ":" in content:
            raise ValueError(
                "holds a private key in OpenSSL's old encrypted form: convert it with `openssl pkcs8 -topk8`"
            )
        if not _BASE64.fullmatch(content):
            raise ValueError(f"is damaged: give {HOW}")
        lines = [content[start : start + _LINE] for start in range(0, len(content), _LINE)]
        written.append("\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]))
    return "".join(written)
