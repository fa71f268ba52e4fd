_base_ = ["_base_/cityscapes.py", "_base_/schedule_80k.py"]

# Schedules by epoch, which MMEngine's loop by iteration never steps.
model = dict(type="EncoderDecoder", backbone=dict(type="UNet"))
train_cfg = dict(max_iters=20000, val_interval=2000)
param_scheduler = [
    dict(type="MultiStepLR", milestones=[60, 80], gamma=0.1),
    dict(type="LinearLR", start_factor=0.1, end=5),
    dict(type="CosineAnnealingLR", begin=5, end=100, by_epoch=True),
    dict(type="PolyLR", power=0.9, begin=10000, by_epoch=False),
]
