_base_ = "slowfast_r50.py"

model = dict(backbone=dict(slow_pathway=dict(depth=101)))
optim_wrapper = dict(accumulative_counts=3)
