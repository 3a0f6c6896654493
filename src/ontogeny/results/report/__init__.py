"""The report: everything that was found of a dictionary on one page, which needs no network and no server."""

from ontogeny.results.report.page import save_report

__all__ = ["save_report"]
