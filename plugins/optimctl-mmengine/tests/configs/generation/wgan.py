_base_ = "_base_/gan.py"

optim_wrapper = dict(
    constructor="MultiOptimWrapperConstructor",
    generator=dict(optimizer=dict(type="RMSprop", lr=0.0001), paramwise_cfg=dict(bias_lr_mult=2.0)),
    discriminator=dict(optimizer=dict(type="RMSprop", lr=0.0001)),
)
param_scheduler = [dict(type="StepLR", step_size=5000, gamma=0.5, by_epoch=False)]
