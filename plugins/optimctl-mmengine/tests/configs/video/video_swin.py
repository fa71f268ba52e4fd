_base_ = ["_base_/runtime.py"]

model = dict(type="Recognizer3D", backbone=dict(type="SwinTransformer3D", arch="tiny"), cls_head=dict(type="I3DHead"))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=30, val_begin=1, val_interval=3)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.02),
    paramwise_cfg=dict(
        custom_keys={
            "absolute_pos_embed": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
            "backbone": dict(lr_mult=0.1),
            "backbone.norm": dict(lr_mult=0.1, decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=2.5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=30, eta_min=0, by_epoch=True, begin=0, end=30),
]
load_from = "https://download.example.org/swin.pth"
