_base_ = "_base_/gan.py"

optim_wrapper = dict(
    constructor="MultiOptimWrapperConstructor",
    generator=dict(optimizer=dict(type="Adam", lr=0.0002, betas=(0.5, 0.999))),
    discriminator=dict(optimizer=dict(type="Adam", lr=0.0004, betas=(0.5, 0.999)), clip_grad=dict(max_norm=10.0)),
)
param_scheduler = dict(
    generator=[dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=1000)],
    discriminator=dict(type="CosineAnnealingLR", by_epoch=False, eta_min=1e-6),
)
