"""Whatever is sent to the control interface, the answer is a sentence and never a broken one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.testing import emulator
from demo.azure import Azurite
from tests.unit.emulator.mutations import changed, places, wrong

SCRIPT = {
    "statuses": [["Queued", 5], ["Running", 60], ["Failed", 0]],
    "metrics": {"auc": [0.7, 0.9], "loss": 1},
    "outputs": {"scores": "azureml://datastores/workspaceblobstore/paths/x"},
    "error": {"code": "UserError", "message": "no", "innerError": {"code": "Bad"}},
    "log": "hello",
    "cancel_s": 1,
    "steps": {"one": [["Completed", 0]]},
}
WHERE = "00000000-0000-0000-0000-000000000001/local/local"
USAGE = "Standard DSv2 Family Cluster Dedicated vCPUs"
#: A good body of each route that takes one.
BODIES: tuple[tuple[str, str, Any], ...] = (
    ("PUT", "scripts/one", SCRIPT),
    ("POST", "jobs", {"count": 1, "script": SCRIPT, "prefix": "mutated", "workspace": WHERE, "experiment": "trial"}),
    ("POST", "clock", {"frozen": True}),
    ("POST", "clock/advance", {"seconds": 1}),
    ("PUT", "faults", [{"method": "GET", "path": "/no", "count": 1, "status": 429, "headers": {"Retry-After": "1"}}]),
    ("PUT", "faults", [{"path": "/no", "every": 2, "status": 503, "code": "Busy"}]),
    ("PUT", "faults", [{"path": "/no", "slow_s": 0.1}, {"path": "/no", "truncate_bytes": 3}]),
    ("PUT", "faults", [{"path": "/no", "reset": True}, {"path": "/no", "apply_then_drop": True}]),
    ("PUT", "faults", [{"path": "/no", "expired_token": True}, {"path": "/no", "status_word": "Odd"}]),
    ("PUT", "faults", [{"path": "/no", "cancel_never_ends": True}]),
    ("PUT", "events", [{"subject": "/no", "type": "a", "count": 1, "every": 2, "share": 0.5, "seed": 7, "lost": True}]),
    ("PUT", "events", [{"doubled": True}, {"delay_s": [0, 1]}, {"behind": 2}]),
    ("PUT", "online", [{"endpoint": "no", "deployment": "no", "fails": "OutOfQuota", "message": "no", "count": 1}]),
    ("PUT", "online", [{"deployment": "a", "never_ready": True}, {"deployment": "b", "takes_s": 1}]),
    ("PUT", "tokens", {"lifetime_s": 60}),
    ("PUT", "quotas", {USAGE: {"limit": 24, "used": 8}}),
    ("PUT", "permissions", [{"actions": ["*"], "notActions": ["a"], "dataActions": [], "notDataActions": []}]),
    ("PUT", "rights", {"somebody": {WHERE: "read", "*": "none"}}),
    ("PUT", "computes", {"cpu": {"provisioningState": "Failed", "currentNodeCount": 2, "state": "Running"}}),
)
#: What Python's JSON reads and writes, and JSON itself does not know.
NUMBERS = (math.nan, math.inf, -math.inf)


@pytest.fixture(scope="module")
def http(azurite: Azurite) -> Iterator[httpx.Client]:
    """A client of an emulator in a process of its own: its clock is moved far."""
    told = {"azurite_blob": azurite.blob_url, "azurite_queue": azurite.queue_url}
    with emulator(own_process=True, **told) as running:  # type: ignore[arg-type]  # texts
        # An answer that broke ends its connection: the next request is not to pay for that.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=running.addresses.http, trust_env=False, timeout=60, limits=limits) as made:
            yield made


def _send(http: httpx.Client, method: str, path: str, body: Any) -> httpx.Response:
    content = json.dumps(body).encode()
    return http.request(method, f"/control/{path}", content=content, headers={"Content-Type": "application/json"})


def _judge(answer: httpx.Response) -> None:
    """A success, or a sentence about what was wrong."""
    assert answer.is_success or answer.status_code in {400, 409}, answer.text
    if answer.is_error:
        error = answer.json()["error"]
        assert error["code"] == "BadControlRequest"
        assert error["message"].endswith((".", "…", "]")) or " " in error["message"]


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
def test_a_good_body_is_taken(http: httpx.Client, method: str, path: str, body: Any) -> None:
    answer = _send(http, method, path, body)

    assert answer.is_success, answer.text


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_body_that_is_wrong_anywhere_is_taken_or_refused_in_a_sentence(
    http: httpx.Client, data: st.DataObject
) -> None:
    method, path, body = data.draw(st.sampled_from(BODIES))
    at = data.draw(st.sampled_from(list(places(body))))
    new = data.draw(wrong | st.sampled_from(NUMBERS))

    _judge(_send(http, method, path, changed(body, at, new, drop=bool(at) and data.draw(st.booleans()))))
    assert http.get("/control/clock").is_success


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'"x"', b"[" * 100_000, b'{"\\ud800": 1}'])
def test_what_is_no_json_or_cannot_be_written_again_is_refused(http: httpx.Client, content: bytes) -> None:
    for method, path, _ in BODIES:
        answer = http.request(method, f"/control/{path}", content=content, headers={"Content-Type": "application/json"})

        assert answer.status_code == 400, answer.text
        _judge(answer)
