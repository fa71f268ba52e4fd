_base_ = ["_base_/coco.py", "_base_/schedule_1x.py", "_base_/runtime.py"]

max_epochs = 60
stage2_num_epochs = 5
base_lr = 0.004
model = dict(type="RTMDet", backbone=dict(type="CSPNeXt", widen_factor=0.5), bbox_head=dict(type="RTMDetSepBNHead"))
train_cfg = dict(max_epochs=max_epochs, val_interval=10, dynamic_intervals=[(max_epochs - stage2_num_epochs, 1)])
train_dataloader = dict(batch_size=32, num_workers=10, batch_sampler=None, pin_memory=True)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=base_lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1.0e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type="CosineAnnealingLR",
        eta_min=base_lr * 0.05,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
custom_hooks = [
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.0002, update_buffers=True, priority=49),
    dict(
        type="PipelineSwitchHook",
        switch_epoch=max_epochs - stage2_num_epochs,
        switch_pipeline=[dict(type="Resize", scale=(640, 640))],
    ),
]
