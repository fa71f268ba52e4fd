_base_ = ["_base_/imagenet.py", "_base_/runtime.py"]

model = dict(type="ImageClassifier", backbone=dict(type="ResNet", depth=50))
optim_wrapper = dict(
    optimizer=dict(type="Lamb", lr=0.005, weight_decay=0.02),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.0001, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=95, eta_min=1.0e-6, by_epoch=True, begin=5, end=100),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
val_cfg = dict()
