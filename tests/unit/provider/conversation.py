"""Holding a conversation by hand: the answers are given, and what was asked is kept."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from attrs import define, field

from airflow_azureml.errors import ServiceError
from airflow_azureml.wire.http import Flow, Request, Response

T = TypeVar("T")


def answer(status: int, body: Any = None, **headers: str) -> Response:
    raw = b"" if body is None else json.dumps(body).encode()
    return Response(status=status, headers={"x-ms-request-id": "req-1", **headers}, body=raw)


@define
class Talk:
    asked: list[Request] = field(factory=list)

    def hold(self, flow: Flow[T], answers: Sequence[Response | ServiceError]) -> T:
        """Give these answers in their order; every one must be asked for, and no more."""
        left = list(answers)
        try:
            request = next(flow)
            while True:
                self.asked.append(request)
                assert left, f"asked for more than was expected: {request.doing}"
                given = left.pop(0)
                request = flow.throw(given) if isinstance(given, ServiceError) else flow.send(given)
        except StopIteration as end:
            assert not left, f"{len(left)} answers were not asked for"
            result: T = end.value
            return result
