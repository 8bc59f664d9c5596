"""The older name."""

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp  # type: ignore[import-not-found]

__all__ = ["AMLRequest", "rawhttp"]
