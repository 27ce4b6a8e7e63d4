"""What a check of an evaluation reports."""

from __future__ import annotations

import dataclasses

PAGE = "docs/evaluation_checks.md"


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that makes an evaluation doubtful.

    Attributes:
        check: Name of the check.
        message: What was seen, why it matters, what to do.
        page: The page and section that explains it.
    """

    check: str
    message: str
    page: str

    def to_dict(self) -> dict[str, str]:
        """Returns the finding as it stands in a report."""
        return dataclasses.asdict(self)


def finding(check: str, message: str) -> Finding:
    """Makes a finding whose section of the page has the check's name."""
    return Finding(check, message, f"{PAGE}#{check}")
