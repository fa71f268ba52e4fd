"""``docs/findings.md`` from the catalogue: ``python -m optimctl.plan.findings.manual > docs/findings.md``."""

from __future__ import annotations

import sys

from optimctl.plan.findings.finding import KINDS

TOP = """\
# Findings

`optimctl inspect`, `run --dry-run` and `optimctl.explain` end with findings: what is true of the plan and worth knowing. Each has a code,
which scripts can rely on, a level, and, in a job, the line that it is about.

- A **note** is true but usual.
- A **warning** is probably not meant; with `--strict` it ends `inspect` with exit code 1 and keeps `run` from starting.
- An **error** would stop the run.

This page is made from the catalogue in `optimctl/plan/findings/finding.py`.
"""


def manual() -> str:
    """The page."""
    sections = [
        f"## {code}\n\n*{kind.level}* · {kind.means}\n\n**What to do.** {kind.what_to_do}\n"
        for code, kind in KINDS.items()
    ]
    return "\n".join([TOP, *sections])


if __name__ == "__main__":
    sys.stdout.write(manual())
