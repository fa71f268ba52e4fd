_base_ = ["_base_/runtime.py"]

model = dict(type="Recognizer2D", backbone=dict(type="ResNetTSM", depth=50, shift_div=8), cls_head=dict(type="TSMHead"))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=50, val_begin=1, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="MultiStepLR", begin=0, end=50, by_epoch=True, milestones=[25, 45], gamma=0.1),
]
optim_wrapper = dict(
    constructor="TSMOptimWrapperConstructor",
    paramwise_cfg=dict(fc_lr5=True),
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=20, norm_type=2),
)
