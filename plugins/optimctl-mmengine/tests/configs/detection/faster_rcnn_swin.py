_base_ = "faster_rcnn_1x.py"

# Another backbone and another optimizer go in whole.
model = dict(
    backbone=dict(
        _delete_=True, type="SwinTransformer", embed_dims=96, depths=[2, 2, 6, 2], window_size=7, drop_path_rate=0.2
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale="dynamic",
    paramwise_cfg=dict(
        custom_keys={
            "absolute_pos_embed": dict(decay_mult=0.0),
            "relative_position_bias_table": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
        }
    ),
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
)
