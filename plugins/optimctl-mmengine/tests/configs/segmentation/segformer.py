_base_ = ["_base_/cityscapes.py", "_base_/schedule_80k.py"]

model = dict(
    type="EncoderDecoder",
    backbone=dict(type="MixVisionTransformer", embed_dims=32),
    decode_head=dict(type="SegformerHead"),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.00006, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={"pos_block": dict(decay_mult=0.0), "norm": dict(decay_mult=0.0), "head": dict(lr_mult=10.0)}
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", eta_min=0.0, power=1.0, begin=1500, end=80000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=6000, max_keep_ckpts=2, save_best="mIoU"))
