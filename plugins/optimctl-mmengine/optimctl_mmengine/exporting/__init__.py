"""``optimctl export mmengine``: a job as a configuration of MMEngine.

In this room: the exporter; a file for each part of a configuration, and ``page``, on which they write.
"""

from __future__ import annotations

from optimctl.errors import JobError
from optimctl.export import Source
from optimctl_mmengine.exporting.length import length_of, write_length
from optimctl_mmengine.exporting.optimizers import write_optim_wrapper
from optimctl_mmengine.exporting.page import Page
from optimctl_mmengine.exporting.parts import write_hooks, write_job, write_loaders, write_model
from optimctl_mmengine.exporting.schedules import write_schedules


def export_mmengine(source: Source) -> str:
    """A configuration that MMEngine loads: optimizer, schedules, loop, data loaders, hooks; the model, where it is MMEngine's.

    What MMEngine has no word for is an error that names it where it changes the training, and else a comment. A model and data that are
    plugins of optimctl are left to be filled in.
    """
    job, page = source.job.plain(), Page()
    page.say("", f"The job '{source.job.name}', by `optimctl export mmengine`.")
    length = length_of(job, lambda: source.length.epoch_length)
    write_model(job, page)
    write_job(job, source.job.name, page)
    write_loaders(job, length, page)
    write_length(job, length, page)
    write_optim_wrapper(job, page)
    write_schedules(job, length, page)
    write_hooks(job, length, page)
    if page.problems:
        raise JobError(source.job.located(page.problems))
    return page.text()


__all__ = ["export_mmengine"]
