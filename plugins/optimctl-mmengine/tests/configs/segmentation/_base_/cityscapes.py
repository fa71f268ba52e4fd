default_scope = "mmseg"
crop_size = (512, 1024)
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CityscapesDataset", data_root="data/cityscapes/", pipeline=[dict(type="RandomCrop", crop_size=crop_size)]
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CityscapesDataset", data_root="data/cityscapes/", pipeline=[dict(type="PackSegInputs")]),
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
