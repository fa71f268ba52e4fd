default_scope = "mmagic"
model = dict(
    type="DCGAN",
    noise_size=100,
    data_preprocessor=dict(type="DataPreprocessor"),
    generator=dict(type="DCGANGenerator", output_scale=64),
    discriminator=dict(type="DCGANDiscriminator", input_scale=64),
)
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="BasicImageDataset", data_root="data/lsun", pipeline=[dict(type="LoadImageFromFile", key="gt")]),
)
train_cfg = dict(by_epoch=False, max_iters=30000, val_begin=1, val_interval=10000)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=10000, by_epoch=False, max_keep_ckpts=20))
