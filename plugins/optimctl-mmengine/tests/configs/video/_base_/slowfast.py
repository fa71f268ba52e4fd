_base_ = ["runtime.py"]

model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="ResNet3dSlowFast",
        resample_rate=8,
        speed_ratio=8,
        slow_pathway=dict(conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1)),
    ),
    cls_head=dict(type="SlowFastHead", num_classes=400, average_clips="prob"),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="VideoDataset", ann_file="train.txt", pipeline=[dict(type="SampleFrames", clip_len=32, frame_interval=2)]
    ),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=256, val_begin=1, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4), clip_grad=dict(max_norm=40, norm_type=2)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=34, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=256, eta_min=0, by_epoch=True, begin=0, end=256),
]
auto_scale_lr = dict(enable=False, base_batch_size=64)
