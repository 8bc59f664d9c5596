"""Read-only pages of what the emulator runs and keeps.

A list of jobs, and a page for each with the graph of its steps, logs and metrics; a list of models, and a page for each
with versions; a list of online endpoints, and a page for each with its deployments; the events that queues were told
of, and the requests that were answered with 501. A page of something that lives renews itself.
"""

from azureml_emulator.pages.routes import job_page_path, routes

__all__ = ["job_page_path", "routes"]
