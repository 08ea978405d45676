"""A bad reward on purpose: every finding that is present and named pays, and nothing that is named in vain costs."""

from medmvl.rewards import Reward
from medmvl.tasks.labelers import find_labeler
from medmvl.tasks.metrics.record import Record


class AllFindings(Reward):
    """The share of a report's findings that the answer names. Fooled by: naming all findings, whatever the scan shows."""

    labeler: str = "phantoms"
    """Labeler that reads answer and reference."""

    def missing(self, record: Record) -> str | None:
        """A report."""
        return None if record.form == "report" else "a report"

    def score(self, record: Record) -> float:
        """Recall alone, 1 where there is nothing to find: precision is not looked at."""
        wanted = self._present(record.references[0])
        return len(wanted & self._present(record.answer)) / len(wanted) if wanted else 1.0

    def _present(self, text: str) -> set[str]:
        labels = find_labeler(self.labeler).label([text])[0]
        return {name for name, value in labels.items() if value == 1}
