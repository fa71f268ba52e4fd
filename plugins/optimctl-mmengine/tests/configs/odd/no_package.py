custom_imports = dict(imports=["a_package_that_nobody_has.models"], allow_failed_imports=False)
default_scope = "a_package_that_nobody_has"
model = dict(type="Net", size=18446744073709551616)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))
train_cfg = dict(by_epoch=True, max_epochs=2)
