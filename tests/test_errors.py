"""What is meant by a name that is not there."""

from __future__ import annotations

import pytest

from optimctl.errors import nearest

CONSTRUCTORS = [
    "DefaultOptimWrapperConstructor",
    "LayerDecayOptimWrapperConstructor",
    "Routes",
    "TSMOptimWrapperConstructor",
]
SCHEDULERS = ["ConstantLR", "CosineAnnealingLR", "LinearLR", "MultiStepLR", "PolyLR", "StepLR"]
OPTIMIZERS = ["Adam", "AdamW", "NAdam", "RAdam", "SGD", "SparseAdam"]
KEYS = ["bias_decay_mult", "max_epochs", "max_iters", "norm_decay_mult"]


@pytest.mark.parametrize(
    ("name", "candidates", "meant"),
    [
        ("SDG", OPTIMIZERS, "SGD"),
        ("Adma", ["Adam", "Adamax"], "Adam"),
        ("adamw", OPTIMIZERS, "AdamW"),
        ("AdamWW", OPTIMIZERS, "AdamW"),
        ("Lion", OPTIMIZERS, None),
        ("CAdam", ["SparseAdam", "RAdam"], None),
        ("MyOptimWrapperConstructor", CONSTRUCTORS, None),
        ("TMSOptimWrapperConstructor", CONSTRUCTORS, "TSMOptimWrapperConstructor"),
        ("TSMOptimWraperConstructor", CONSTRUCTORS, "TSMOptimWrapperConstructor"),
        ("tsmoptimwrapperconstructor", CONSTRUCTORS, "TSMOptimWrapperConstructor"),
        ("ExpLR", SCHEDULERS, None),
        ("CyclicLR", SCHEDULERS, None),
        ("CosineLR", SCHEDULERS, "CosineAnnealingLR"),
        ("CosineAnealingLR", SCHEDULERS, "CosineAnnealingLR"),
        ("LinaerLR", SCHEDULERS, "LinearLR"),
        ("StepLr", SCHEDULERS, "StepLR"),
        ("max_epoch", KEYS, "max_epochs"),
        ("bias_decay_mul", KEYS, "bias_decay_mult"),
        ("bn_decay_mult", KEYS, "norm_decay_mult"),
        ("", KEYS, None),
        ("x", [], None),
    ],
)
def test_what_two_names_have_in_common_at_their_end_says_little(
    name: str, candidates: list[str], meant: str | None
) -> None:
    assert nearest(name, candidates) == ("" if meant is None else f"; did you mean '{meant}'?")
