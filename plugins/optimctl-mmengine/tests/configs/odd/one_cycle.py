optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(bias_lr_mult=2.0, custom_keys={"backbone": dict(lr_mult=0.1, decay_mult=0.5)}),
)
param_scheduler = [
    dict(type="OneCycleLR", eta_max=0.2, total_steps=12, convert_to_iter_based=True),
    dict(type="CosineAnnealingMomentum", eta_min=0.8, begin=2, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=12)
