default_scope = "mmpretrain"
model = dict(type="ImageClassifier", backbone=dict(type="ResNet", depth=18, strides=(1, 2, 2, 2)))
train_dataloader = dict(batch_size=8, sampler=dict(type="RepeatAugSampler", shuffle=True), dataset=dict(type="CIFAR10"))
val_dataloader = dict(batch_size=8, sampler=None, dataset=dict(type="CIFAR10", test_mode=True))
val_evaluator = [dict(type="Accuracy"), dict(type="ConfusionMatrix")]
optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale=512.0,
    accumulative_counts=2,
    clip_grad=dict(type="value", clip_value=0.5),
    optimizer=dict(type="SGD", lr=0.1),
)
param_scheduler = [
    dict(type="ReduceOnPlateauLR", monitor="accuracy/top1", rule="greater", patience=3),
    dict(type="ReduceOnPlateauLR", monitor="FID"),
    dict(type="MyOwnLR", step=3),
]
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=2)
val_cfg = dict(type="ValLoop", fp16=True)
custom_hooks = [
    dict(type="EarlyStoppingHook", monitor="accuracy/top1", patience=4, stopping_threshold=0.9),
    dict(type="EMAHook", momentum=0.001, begin_iter=100),
]
load_from = "checkpoints/resnet18.pth"
resume = True
randomness = dict(seed=7, diff_rank_seed=True)
