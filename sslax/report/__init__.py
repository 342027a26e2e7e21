"""HTML reports: the page of a run, and the parts that it is made of."""

from sslax.report.attention import attention_overlay as attention_overlay
from sslax.report.classes import confusion_figure as confusion_figure
from sslax.report.contents import Report as Report
from sslax.report.page import environment as environment
from sslax.report.page import write_page as write_page
from sslax.report.page import write_report as write_report
from sslax.report.patches import patch_pictures as patch_pictures
from sslax.report.projection import project_2d as project_2d

__all__ = [
    "Report",
    "attention_overlay",
    "confusion_figure",
    "environment",
    "patch_pictures",
    "project_2d",
    "write_page",
    "write_report",
]
