_base_ = ["_base_/imagenet.py", "_base_/runtime.py"]

model = dict(
    type="ImageClassifier", backbone=dict(type="ResNet", depth=50), head=dict(type="LinearClsHead", topk=(1, 5))
)
data_preprocessor = dict(num_classes=1000, mean=[123.7, 116.3, 103.5], to_rgb=True)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.0001))
param_scheduler = dict(type="MultiStepLR", by_epoch=True, milestones=[30, 60, 90], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
randomness = dict(seed=42, deterministic=True)
