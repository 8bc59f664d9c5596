"""What Airflow asks a provider."""

from typing import Any

from airflow_azureml import __version__

NAME = "Azure Machine Learning"
DOCS = "https://learn.microsoft.com/azure/machine-learning/"


def _text(label: str, description: str, **more: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **more}}


def get_provider_info() -> dict[str, Any]:
    """Describe the provider to Airflow: it is read at every start, so it imports nothing."""
    modules = {
        "operators": [
            f"airflow_azureml.operators.{module}"
            for module in (
                *("pipeline", "job", "task", "arrivals", "batches", "compute", "orphans"),
                *("models", "gate", "data_tests", "compaction", "drift", "retraining", "publish"),
                *("online", "batch_switch"),
                *("rollout", "rollout_guard", "smoke", "profile", "release"),
                *("evidence", "approval", "integration", "subset", "promotion"),
            )
        ],
        "sensors": [f"airflow_azureml.sensors.{module}" for module in ("job", "model", "endpoint", "arrivals")],
        "hooks": ["airflow_azureml.hooks.azureml"],
        "triggers": [
            f"airflow_azureml.triggers.{module}"
            for module in ("job", "arrivals", "scan", "ml_events", "condition", "pause", "rollout")
        ],
    }
    return {
        "package-name": "airflow-provider-azureml",
        "name": NAME,
        "description": "Run published Azure Machine Learning pipelines from Airflow.",
        "versions": [__version__],
        "integrations": [{"integration-name": NAME, "external-doc-url": DOCS, "tags": ["azure"]}],
        **{kind: [{"integration-name": NAME, "python-modules": each}] for kind, each in modules.items()},
        "connection-types": [CONNECTION_TYPE],
        "queues": [
            "airflow_azureml.messaging.StorageQueueProvider",
            "airflow_azureml.messaging.ServiceBusProvider",
        ],
        "task-decorators": [{"name": "azureml", "class-name": "airflow_azureml.operators.task.azureml_task"}],
        "config": {"azureml": {"description": "Azure Machine Learning.", "options": OPTIONS}},
        "extra-links": ["airflow_azureml.links.AzureMLJobLink", "airflow_azureml.links.AzureMLModelLink"],
        "cli": ["airflow_azureml.cli.get_cli_commands"],
    }


OPTIONS: dict[str, Any] = {
    "instance": {
        "description": "What this Airflow is called on the jobs that it submits, the same in each of its components: "
        "jobs of another Airflow in the same workspace are never judged orphans by this one. Where it is empty, the "
        "name is made of [api] base_url.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "production",
        "default": "",
    }
}
CONNECTION_FIELDS: dict[str, Any] = {
    "subscription_id": _text("Subscription ID", "The Azure subscription of the workspace."),
    "resource_group": _text("Resource Group", "The resource group of the workspace."),
    "workspace": _text("Workspace", "The Azure Machine Learning workspace."),
    "authentication": _text(
        "Authentication",
        "How to prove who we are. 'emulator' is for an endpoint on this machine.",
        enum=[
            "default",
            "service_principal",
            "service_principal_certificate",
            "managed_identity",
            "workload_identity",
            "emulator",
        ],
        default="default",
    ),
    "cloud": _text(
        "Cloud",
        "Whose tenant, addresses and tokens these are.",
        enum=["public", "usgovernment", "china"],
        default="public",
    ),
    "tenant_id": _text("Tenant ID", "The Entra tenant of a service principal or a workload identity."),
    "certificate_path": _text(
        "Certificate Path",
        "A file on the worker with certificate and private key (PEM or PKCS #12), instead of the certificate itself.",
    ),
    "certificate_password": _text(
        "Certificate Password", "What the certificate's private key is encrypted with, if it is.", format="password"
    ),
    "token_file_path": _text(
        "Token File Path", "A workload identity's token on the worker; leave it empty for what AKS says."
    ),
    "endpoint": _text(
        "Endpoint",
        "Azure Resource Manager's address; leave it empty for the cloud's own. http is for this machine only.",
    ),
    "proxy": _text(
        "Proxy",
        "The address of a proxy, without user and password; leave it empty for what the worker's environment says.",
    ),
}
CONNECTION_TYPE: dict[str, Any] = {
    "connection-type": "azureml",
    "hook-class-name": "airflow_azureml.hooks.azureml.AzureMLHook",
    "hook-name": NAME,
    "ui-field-behaviour": {
        "hidden-fields": ["host", "port", "schema"],
        "relabeling": {"login": "Client ID", "password": "Client Secret or Certificate"},
        "placeholders": {
            "login": "application id of the service principal",
            "password": "the secret, or certificate and private key as PEM text",
        },
    },
    "conn-fields": CONNECTION_FIELDS,
}
