"""What an audit found, printed; errors become the one that ends the command."""

from collections.abc import Sequence

from rich.console import Console

from ontogeny.errors import SnapshotError
from ontogeny.snapshots.audit import AuditReport


def print_report(report: AuditReport, console: Console) -> None:
    """One line a finding, worst first, then what was looked at."""
    for finding in report.findings:
        console.print(f"{finding.severity}: {finding.text}", markup=False, highlight=False, soft_wrap=True)
    verdict = "nothing wrong" if report.ok else "see above"
    console.print(f"checked {', '.join(report.checked)}: {verdict}", highlight=False, soft_wrap=True)


def refuse_errors(recipe: str, reports: Sequence[AuditReport]) -> None:
    """SnapshotError that counts the errors, if there are any, and names the snapshots."""
    errors = [finding for report in reports for finding in report.errors]
    if errors:
        count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
        labels = list(dict.fromkeys(label for finding in errors for label in finding.labels))
        raise SnapshotError(
            f"the audit of {recipe} found {count} ({', '.join(labels)}): leave those snapshots out of [series] or put "
            "them in order."
        )
