"""Jobs out of the format's tables and optimctl's own plugins, each of which is right."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Table = dict[str, Any]

SHARES = st.sampled_from(["0%", "5%", "12.5%"])
RATES = st.sampled_from([0, 1, 0.1, 1e-4, 0.3333333333333333])


def table(required: Table | None = None, /, **optional: Any) -> st.SearchStrategy[Table]:
    """A table with these keys, the optional ones or not; a value that is no strategy stands for itself."""
    as_strategies = [
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in keys.items()}
        for keys in (required or {}, optional)
    ]
    return st.fixed_dictionaries(as_strategies[0], optional=as_strategies[1])


JOB = table(
    name=st.sampled_from(["digits", "two words", "é", "a.b"]),
    seed=st.integers(0, 2**32 - 1),
    device="cpu",
    work_dir=st.sampled_from(["runs/there", "C:\\runs"]),
    deterministic=st.booleans(),
    compile=st.booleans(),
)
LOAD_FROM = st.just("start.pt") | table({"path": "start.safetensors"}, prefix="backbone.", strict=st.booleans())
MODEL = table(
    {"type": st.sampled_from(["MLP", "optimctl/MLP"]), "in_features": 8, "out_features": 3},
    hidden=st.lists(st.integers(1, 9), max_size=2),
)
LOSS = st.just("CrossEntropyLoss") | table({"type": "CrossEntropyLoss"}, label_smoothing=0.1, weight=[1, 2.5, 1])
TASK = (
    table(
        {"type": "Classification"},
        loss=LOSS,
        metrics=st.sampled_from([[], ["accuracy"], ["accuracy", "top5_accuracy"]]),
    )
    | table({"type": "Supervised", "loss": "CrossEntropyLoss"}, metrics=["accuracy"])
    | table({"type": "ModelLoss"})
)
DATASET = table(
    {"type": "Synthetic", "features": 8, "classes": 3},
    split=st.sampled_from(["train", "test"]),
    samples=40,
    noise=RATES,
)
LOADER = table(
    {"dataset": DATASET},
    batch_size=st.integers(1, 9),
    shuffle=st.booleans(),
    num_workers=0,
    pin_memory=st.booleans(),
    drop_last=st.booleans(),
    timeout=0,
    in_order=st.booleans(),
) | table(
    {"dataset": DATASET, "num_workers": 2},
    prefetch_factor=3,
    persistent_workers=True,
    timeout=5,
    multiprocessing_context="spawn",
)
LENGTH = table({"max_epochs": st.integers(1, 4)}, val_interval=2, epoch_length=st.integers(3, 9)) | table(
    {"max_iters": st.integers(1, 40)}, epoch_length=st.integers(3, 9)
)
OPTIMIZER = (
    table(
        {"type": "SGD", "lr": RATES}, momentum=0.9, nesterov=False, weight_decay=RATES, fused=True, differentiable=False
    )
    | table(
        {"type": st.sampled_from(["AdamW", "optimctl/Adam"])},
        lr=RATES,
        betas=[0.8, 0.95],
        eps=1e-6,
        amsgrad=True,
        foreach=True,
    )
    | table({"type": st.sampled_from(["Adagrad", "RMSprop", "NAdam", "Adamax", "Adafactor", "ASGD", "Rprop"])}, lr=0.5)
)
CLIP = table({"max_norm": st.sampled_from([1, 35.0])}, type="norm", norm_type=st.sampled_from([1, 2.5, "inf"])) | table(
    {"type": "value", "clip_value": 0.5}
)
CUSTOM_KEY = table(lr_mult=RATES, decay_mult=RATES, freeze=st.booleans(), lr=0.25)
PARAMWISE = table(
    lr_mult=RATES,
    decay_mult=RATES,
    bias_decay_mult=0,
    norm_decay_mult=0.0,
    bypass_duplicate=True,
    norm_types=st.sampled_from([[], ["Linear"]]),
    custom_keys=st.dictionaries(
        st.sampled_from(["1", "3.bias", "glob:*.weight", "re:3\\..*", 'quo"te', "é"]), CUSTOM_KEY, max_size=2
    ),
)
ROUTES = table(
    {
        "type": "Routes",
        "routes": st.lists(
            table(
                {"match": table({"dimensions": [2]}, names=["1."], types=["Linear"]), "optimizer": OPTIMIZER},
                paramwise_cfg=table(lr_mult=2),
            ),
            min_size=1,
            max_size=1,
        ),
    }
)
DEFAULT_CONSTRUCTOR = st.just("DefaultOptimWrapperConstructor") | table({"type": "DefaultOptimWrapperConstructor"})
ONE: Table = {"accumulative_counts": st.integers(1, 3), "clip_grad": CLIP}
WRAPPER = (
    table(
        {"optimizer": OPTIMIZER}, **ONE, type="OptimWrapper", constructor=DEFAULT_CONSTRUCTOR, paramwise_cfg=PARAMWISE
    )
    | table({"optimizer": OPTIMIZER, "constructor": ROUTES}, **ONE)
    | table(
        {"optimizer": OPTIMIZER, "type": "AmpOptimWrapper"},
        **ONE,
        dtype="bfloat16",
        loss_scale=st.just("dynamic") | st.just(512) | table(init_scale=1024.0),
    )
)
WHEN: Table = {"begin": st.just(0) | SHARES, "by_epoch": st.booleans()}
SCHEDULE = (
    table(
        {"type": st.sampled_from(["LinearLR", "optimctl/LinearLR", "LinearWeightDecay"])},
        **WHEN,
        start_factor=RATES,
        end="50%",
    )
    | table({"type": "LinearParamScheduler", "param_name": "lr"}, by=st.sampled_from(["epoch", "iteration", "update"]))
    | table({"type": "CosineAnnealingLR"}, **WHEN, T_max=st.just(7) | st.just("20%"), eta_min=1e-6)
    | table({"type": "CosineAnnealingLR", "convert_to_iter_based": True}, begin=0.5, eta_min_ratio=0.1, verbose=False)
    | table({"type": "CyclicLR", "base_lr": 0.1, "max_lr": 1}, convert_to_iter_based=st.booleans(), mode="triangular2")
    | table({"type": "CosineRestartLR", "periods": [3]}, **WHEN, restart_weights=[0.5])
    | table({"type": "MultiStepLR", "milestones": [1, 2]}, gamma=RATES, by="iteration")
    | table({"type": "ReduceLROnPlateau"}, patience=3, mode="max")
)
HOOKS = table(EMA=table(decay=0.9, warmup=True), CSV={}, smooth=table({"type": "EMA"}))
CHECKPOINT = table(interval=2, keep=1, save_best=st.just("loss") | table({"metric": "loss"}, rule="min"))
REST: Table = {"log": table(interval=3), "checkpoint": CHECKPOINT, "hooks": HOOKS}

ANY = table(
    job=JOB | st.builds(lambda one, weights: {**one, "load_from": weights}, JOB, LOAD_FROM),
    model=MODEL,
    task=TASK,
    train_dataloader=LOADER,
    val_dataloader=LOADER,
    test_dataloader=LOADER,
    train_cfg=LENGTH,
    optim_wrapper=WRAPPER
    | table({"generator": WRAPPER, "critic.net": WRAPPER}, constructor="DefaultOptimWrapperConstructor"),
    param_scheduler=st.lists(SCHEDULE, max_size=3) | SCHEDULE,
    **REST,
)
"""Any job: many lack what a run needs."""

WITH_A_PLAN = table(
    {
        "job": table(device="cpu", seed=3),
        "model": MODEL,
        "optim_wrapper": WRAPPER,
        "train_cfg": table({"max_epochs": 3, "epoch_length": 7}),
    },
    param_scheduler=st.lists(SCHEDULE, max_size=2),
)
"""Jobs whose plan can be made, or is refused for what one part says of another."""
