"""The older name."""

from azureml_inference_server_http.api.aml_response import AMLResponse  # type: ignore[import-not-found]

__all__ = ["AMLResponse"]
