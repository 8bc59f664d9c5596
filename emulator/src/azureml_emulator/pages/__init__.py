"""Read-only pages of what the emulator runs: a list of jobs, and one page for each with steps, logs and metrics."""

from azureml_emulator.pages.routes import job_page_path, routes

__all__ = ["job_page_path", "routes"]
