default_scope = "tinymm"
data_preprocessor = dict(type="BaseDataPreprocessor")
model = dict(type="TinyNet", backbone=dict(type="Backbone", width=8, stages=(1, 1)), penalty=0.01)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="Clouds", indices=None),
)
val_dataloader = dict(
    batch_size=7,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="Clouds", samples=30),
)
val_evaluator = dict(type="Accuracy")
val_cfg = dict(type="ValLoop")
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=2)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.02, weight_decay=0.1, betas=(0.9, 0.99)),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={"head": dict(lr_mult=2.0)}),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=2,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=10),
    dict(type="MultiStepLR", milestones=[2, 3], gamma=0.5),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=1),
    checkpoint=dict(type="CheckpointHook", interval=2, save_best="accuracy/top1"),
)
custom_hooks = [dict(type="EMAHook", momentum=0.1)]
randomness = dict(seed=1)
