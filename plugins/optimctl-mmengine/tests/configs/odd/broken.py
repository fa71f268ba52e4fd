optim_wrapper = dict(optimizer=dict(type="SGD", lr=learning_rate))
