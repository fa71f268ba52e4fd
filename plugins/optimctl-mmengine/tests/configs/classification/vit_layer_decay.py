_base_ = ["_base_/imagenet.py", "_base_/runtime.py"]

model = dict(type="ImageClassifier", backbone=dict(type="VisionTransformer", arch="b", out_type="avg_featmap"))
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    constructor="LearningRateDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        custom_keys={".ln": dict(decay_mult=0.0), ".bias": dict(decay_mult=0.0), ".cls_token": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=95, by_epoch=True, begin=5, end=100, eta_min=1e-6, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
val_cfg = dict()
