train_dataloader = dict(
    batch_size=64,
    num_workers=5,
    dataset=dict(
        type="ImageNet", split="train", pipeline=[dict(type="RandomResizedCrop", scale=224), dict(type="PackInputs")]
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=5,
    dataset=dict(
        type="ImageNet", split="val", pipeline=[dict(type="CenterCrop", crop_size=224), dict(type="PackInputs")]
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1, 5))
