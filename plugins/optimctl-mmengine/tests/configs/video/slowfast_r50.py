_base_ = ["_base_/slowfast.py"]

work_dir = "work_dirs/slowfast_r50"
