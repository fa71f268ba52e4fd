"""The registries of this package, below MMEngine's."""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_CONSTRUCTORS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import Registry

MODELS = Registry("model", parent=MMENGINE_MODELS, scope="tinymm", locations=["tinymm.models"])
DATASETS = Registry("dataset", parent=MMENGINE_DATASETS, scope="tinymm", locations=["tinymm.data"])
DATA_SAMPLERS = Registry("data sampler", parent=MMENGINE_SAMPLERS, scope="tinymm", locations=["tinymm.data"])
METRICS = Registry("metric", parent=MMENGINE_METRICS, scope="tinymm", locations=["tinymm.data"])
OPTIMIZERS = Registry("optimizer", parent=MMENGINE_OPTIMIZERS, scope="tinymm", locations=["tinymm.engine"])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor", parent=MMENGINE_CONSTRUCTORS, scope="tinymm", locations=["tinymm.engine"]
)
