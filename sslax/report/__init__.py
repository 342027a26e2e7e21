"""The run's report page, and what it is made of."""

from sslax.report.figures import project_2d as project_2d
from sslax.report.page import Report as Report
from sslax.report.page import environment as environment
from sslax.report.page import write_report as write_report

__all__ = ["Report", "environment", "project_2d", "write_report"]
