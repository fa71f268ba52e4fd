"""The kinds of plugins: what each must be, and what optimctl itself gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optimctl.errors import listing, nearest, visible

OWN = "optimctl"
"""The distribution whose names nobody can take over."""


@dataclass(frozen=True)
class Kind:
    """One sort of plugin: the entry-point group is ``optimctl.<name>``."""

    name: str
    one: str
    """One of them, in a sentence, with its article."""
    contract: str
    """What the object behind the entry point must be."""
    given: int = 0
    """How many leading arguments optimctl itself gives it; the others are the job's."""
    supplied: tuple[str, ...] = ()
    """Further arguments that optimctl gives, or keeps from a job, where the plugin has them."""
    base: str = ""
    """The class of torch, as ``module:name``, that a class of this kind derives from; unless it has one of ``methods``."""
    methods: str = ""
    """An expression for the names of methods, one of which a class of this kind has."""

    @property
    def noun(self) -> str:
        """``one`` without its article."""
        return self.one.partition(" ")[2]


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "optimizers",
            "an optimizer",
            "a torch.optim.Optimizer class, or a callable that returns one",
            given=1,
            base="torch.optim:Optimizer",
        ),
        Kind(
            "optim_wrappers",
            "an optim wrapper",
            "a class called with (optimizer, **options)",
            given=1,
            methods="update_params",
        ),
        Kind(
            "constructors",
            "a constructor",
            "a class called with (optim_wrapper_cfg, paramwise_cfg=None), and then with the model",
            given=2,
            methods="__call__",
        ),
        Kind(
            "schedulers",
            "a scheduler",
            "a Schedule class with maps(t, reference), or a torch LRScheduler class",
            supplied=("length", "last_epoch"),
            base="torch.optim.lr_scheduler:LRScheduler",
            methods="maps|observe",
        ),
        Kind("models", "a model", "a callable that returns a torch.nn.Module", base="torch.nn:Module"),
        Kind(
            "datasets",
            "a dataset",
            "a callable that returns a dataset or a DataLoader",
            methods="__getitem__|__iter__",
        ),
        Kind(
            "tasks",
            "a task",
            "a class with loss(model, batch) and evaluate(model, batch), or train_step",
            methods="loss|train_step",
        ),
        Kind("hooks", "a hook", "a class with methods such as after_epoch(run)", methods="(before|after)_.+"),
        Kind("exporters", "an exporter", "a callable that returns a job or a run in another format", given=1),
        Kind("importers", "an importer", "a callable that reads a job from a file of another format", given=1),
    )
}


def no_such_kind(name: str) -> str:
    """``no kind is called 'model'``, and what is meant, or what there is."""
    hint = nearest(name, KINDS) or f"; there is {listing(KINDS, len(KINDS))}"
    return f"no kind is called '{visible(name)}'{hint}"


__all__ = ["KINDS", "OWN", "Kind", "no_such_kind"]
