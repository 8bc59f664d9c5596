"""What a DAG passes to a pipeline: values, and blobs that have arrived."""

from collections.abc import Mapping
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.files import FAULT_OF_FORMAT
from airflow_azureml.errors import ConfigError, ProtocolError


@frozen(kw_only=True)
class Passed:
    """The inputs of one pipeline run.

    Attributes:
        values: Every input, with an arrival as the URI of its blob.
        arrivals: The arrivals among them, by input.
        formats: The format that an arrived blob must have, by input.
    """

    values: Mapping[str, Any]
    arrivals: Mapping[str, Arrival]
    formats: Mapping[str, str]

    @classmethod
    def parse(cls, inputs: object, formats: Mapping[str, str]) -> Self:
        """Tell arrivals from plain values.

        Raises:
            ConfigError: The inputs are no mapping, or a format is unknown or is that of no arrived blob.
        """
        if not isinstance(inputs, Mapping):
            raise ConfigError(f"inputs must be a mapping of names to values, not {type(inputs).__name__}.")
        values, arrivals = dict(inputs), {}
        for name, value in inputs.items():
            if isinstance(value, Mapping) and "etag" in value:
                try:
                    arrivals[name] = Arrival.from_wire(value)
                except ProtocolError as error:
                    raise ConfigError(f"Input {name!r} looks like an arrival and is none: {error}.") from error
                values[name] = arrivals[name].uri
        unknown = sorted(set(formats.values()) - set(FAULT_OF_FORMAT))
        idle = sorted(set(formats) - set(arrivals))
        if unknown:
            raise ConfigError(f"formats: {', '.join(unknown)} is none of {', '.join(FAULT_OF_FORMAT)}.")
        if idle:
            raise ConfigError(f"formats: input {', '.join(idle)} is no arrived blob, so its format cannot be checked.")
        return cls(values=values, arrivals=arrivals, formats=dict(formats))
