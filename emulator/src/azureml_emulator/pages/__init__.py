"""Read-only pages of what the emulator runs and keeps.

A list of jobs, and a page for each with steps, logs and metrics; a list of models, and a page for each with versions;
a list of online endpoints, and a page for each with its deployments.
"""

from azureml_emulator.pages.routes import job_page_path, routes

__all__ = ["job_page_path", "routes"]
