"""``export python``: a job as a script of plain PyTorch, which does what the run does and needs no optimctl.

The script is made from the very parts that a run uses, and what is written is held against them: the functions of its groups make
the plan's groups, those of its schedules the run's values. Model, data, optimizer and task of packages are imported; what comes
from optimctl is written out. In this room: ``export_python``. In the rooms beside:

- ``collect`` reads off an assembled job all that a script needs, or tells of all that stands in its way; ``script`` puts it in order.
- Model and data: ``parts``, ``loading``, ``tasks``, ``imports`` (whose names ``clashes`` keeps apart).
- Groups and optimizers: ``planned`` and ``wanted`` (what is to be made), ``shares``, ``groups``, ``values``, ``layers``,
  ``freezing`` and ``apart`` (how it is said), ``optimizers`` (the whole), ``proof`` (that it is the plan's).
- Schedules: ``curves`` (each alone), ``foreign`` (other people's), ``schedules`` (several together, held against the run),
  ``scheduling`` (in the loop).
- The loop: ``loop``, ``iterating``, ``stepping``, ``evaluating``, ``records``, ``checkpoints``, ``hooks``.
- Text: ``layout`` (as a formatter would leave it), ``templates`` and the folder ``pieces`` (functions that are the same in every script).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optimctl.export.source import Source


def export_python(source: Source) -> str:
    """A script of plain PyTorch: model, data, groups, schedule, loop and checkpoints, with a few options on its command line.

    With the same seed, it gives the losses of `optimctl run`, and ends with its weights.

    Raises:
        JobError: Something in the job cannot be exported; the message names it and says what to do.
    """
    from optimctl.assemble import assemble
    from optimctl.export.python.script import write_script

    assembly = assemble(source.job, for_run=True, without_weights=True)
    return write_script(assembly)


__all__ = ["export_python"]
