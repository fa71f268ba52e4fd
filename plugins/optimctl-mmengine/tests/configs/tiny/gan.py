default_scope = "tinymm"
model = dict(type="TinyGAN")
train_dataloader = dict(
    batch_size=8, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=False), dataset=dict(type="Clouds")
)
train_cfg = dict(by_epoch=False, max_iters=18)
optim_wrapper = dict(
    constructor="optimctl_mmengine.OptimctlConstructor",
    generator=dict(optimizer=dict(type="Adam", lr=0.01), paramwise_cfg=dict(bias_lr_mult=2.0)),
    discriminator=dict(optimizer=dict(type="Adam", lr=0.02), paramwise_cfg=dict(custom_keys={"0": dict(lr_mult=0.5)})),
)
param_scheduler = dict(
    generator=dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=5),
    discriminator=[dict(type="StepLR", step_size=6, gamma=0.5, by_epoch=False)],
)
