"""An optimizer without a model: enough of one for a schedule to be seen before there is anything to train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from optimctl.errors import JobError, Problem
from optimctl.job.schema import OptimWrappers, read_optim_wrapper
from optimctl.optim.constructor import DefaultOptimWrapperConstructor
from optimctl.optim.multi import OptimWrapperDict
from optimctl.optim.wrapper import OptimWrapper


def stand_in(table: Mapping[str, Any]) -> OptimWrapper | OptimWrapperDict:
    """What the table ``optim_wrapper`` makes of a single matrix: the job's own options, before any rule.

    Raises:
        JobError: The optimizer refuses its arguments; keys are seen from ``optim_wrapper``.
    """
    if not isinstance(read_optim_wrapper(table), OptimWrappers):
        return _of_one(table)
    wrappers: dict[str, OptimWrapper] = {}
    problems: list[Problem] = []
    for name, one in table.items():
        try:
            wrappers |= {name: _of_one(one)} if name != "constructor" else {}
        except JobError as error:
            problems += error.below(name).problems
    if problems:
        raise JobError(problems)
    return OptimWrapperDict(**wrappers)


def _of_one(table: Mapping[str, Any]) -> OptimWrapper:
    kept = {name: table[name] for name in ("optimizer", "accumulative_counts") if name in table}
    is_sparse = str(table["optimizer"]["type"]).endswith("SparseAdam")
    return DefaultOptimWrapperConstructor(kept)(
        nn.Embedding(1, 1, sparse=True) if is_sparse else nn.Linear(1, 1, bias=False)
    )
