_base_ = "net.py"

optim_wrapper = dict(
    constructor="FastHeadConstructor",
    optimizer=dict(_delete_=True, type="PlainSGD", lr=0.1, momentum=0.9, weight_decay=0.01),
    paramwise_cfg=dict(_delete_=True, head_mult=5),
)
train_dataloader = dict(batch_sampler=dict(type="FullBatches"))
val_evaluator = None
