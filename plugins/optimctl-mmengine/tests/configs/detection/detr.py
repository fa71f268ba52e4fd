_base_ = ["_base_/coco.py", "_base_/runtime.py"]

model = dict(type="DETR", num_queries=100, backbone=dict(type="ResNet", depth=50), bbox_head=dict(type="DETRHead"))
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.0001, weight_decay=0.0001),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=0.1, decay_mult=1.0)}),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=150, val_interval=5)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [dict(type="MultiStepLR", begin=0, end=150, by_epoch=True, milestones=[100], gamma=0.1)]
