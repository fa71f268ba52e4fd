_base_ = ["_base_/cityscapes.py", "_base_/schedule_80k.py"]

crop_size = (512, 1024)
data_preprocessor = dict(type="SegDataPreProcessor", size=crop_size)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    backbone=dict(type="ResNetV1c", depth=50, dilations=(1, 1, 2, 4)),
)
