optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=0.001),
    paramwise_cfg=dict(
        lr_mult=0.5,
        decay_mult=2.0,
        norm_decay_mul=0.0,
        flat_decay_mult=0.0,
        _delete=True,
        custom_keys={"backbone": dict(lr_mult=0.1), "head": dict(lr_mul=10), "backbone": dict(lr_mult=0.2)},
    ),
)
param_scheduler = [dict(type="ExponentialLR", gamma=0.9)]
train_cfg = dict(by_epoch=True, max_epochs=4)
