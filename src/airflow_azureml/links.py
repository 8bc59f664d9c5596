"""Buttons that lead from a task to Azure ML."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

#: Where a task leaves its job's page, under the name that XCom knows it by.
JOB_URL_KEY = "azureml_job_url"
#: Where a task leaves the page of the version that it has registered.
MODEL_URL_KEY = "azureml_model_url"


class AzureMLJobLink(BaseOperatorLink):
    """Leads to the job's page: in Azure ML studio, or the emulator's own when the endpoint is local."""

    name = "Azure ML job"

    @property
    def xcom_key(self) -> str:
        """The key under which Airflow keeps the finished link."""
        return "_link_azureml_job"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """Return the page's address; empty while there is no job. It calls nobody but Airflow."""
        from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415  # only where a task runs or is looked at

        del operator
        return str(XCom.get_value(ti_key=ti_key, key=JOB_URL_KEY) or "")


class AzureMLModelLink(BaseOperatorLink):
    """Leads to the page of the version that was registered, in Azure ML studio."""

    name = "Azure ML model"

    @property
    def xcom_key(self) -> str:
        """The key under which Airflow keeps the finished link."""
        return "_link_azureml_model"

    def get_link(self, operator: "BaseOperator", *, ti_key: Any) -> str:
        """Return the page's address; empty while there is none, and on an emulator. It calls nobody but Airflow."""
        from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415  # only where a task runs or is looked at

        del operator
        return str(XCom.get_value(ti_key=ti_key, key=MODEL_URL_KEY) or "")
