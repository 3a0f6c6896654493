"""The report: everything that was found of a dictionary on one page, which needs no network and no server."""

from ontogeny.results.report.page import GLANCE, save_quanta, save_report
from ontogeny.results.report.quanta import Excerpt

__all__ = ["GLANCE", "Excerpt", "save_quanta", "save_report"]
