"""The data's order is a function of the seed and the pass; a stream can start anywhere."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

from optimctl.data import build_dataloader, pass_seed, stream, to_device
from optimctl.errors import JobError, RunFailed

BLOBS = {"type": "Synthetic", "samples": 20, "features": 2, "classes": 2}


def loader(**options: Any) -> DataLoader[Any]:
    return build_dataloader({"dataset": BLOBS, "batch_size": 3, "shuffle": True, **options}, ("train_dataloader",))


def labels(batches: Iterator[Any], count: int) -> list[list[float]]:
    return [inputs.flatten().tolist() for inputs, _ in islice(batches, count)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), skip=st.integers(0, 30))
def test_a_stream_that_starts_later_sees_the_same_batches(seed: int, skip: int) -> None:
    assert labels(stream(loader(), seed, skip), 9) == labels(stream(loader(), seed), skip + 9)[skip:]


def test_passes_differ_and_seeds_differ() -> None:
    seven = labels(stream(loader(), 0), 14)
    assert seven[:7] != seven[7:]
    assert sorted(chain(*seven[:7])) == sorted(chain(*seven[7:]))
    assert labels(stream(loader(), 1), 7) != seven[:7]


def test_a_script_without_optimctl_can_repeat_the_order() -> None:
    theirs = DataLoader(loader().dataset, batch_size=3, shuffle=True, generator=torch.Generator())
    assert theirs.generator is not None
    theirs.generator.manual_seed(pass_seed(7, 0))
    assert labels(iter(theirs), 7) == labels(stream(loader(), 7), 7)


def test_worker_processes_see_the_same_order() -> None:
    assert labels(stream(loader(num_workers=1), 5), 7) == labels(stream(loader(), 5), 7)


def test_data_without_a_batch_ends_the_run() -> None:
    class Empty(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(())

    with pytest.raises(RunFailed, match="gave no batch in pass 1"):
        next(stream(DataLoader(Empty()), 0))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"dataset": {**BLOBS, "samples": 2}, "batch_size": 3, "drop_last": True},
            "train_dataloader.dataset: Synthetic (optimctl) gives no batch; drop_last = true leaves none of its samples",
        ),
        (
            {"dataset": {**BLOBS, "sampels": 2}},
            "train_dataloader.dataset.sampels: Synthetic (optimctl) has no argument 'sampels'; did you mean 'samples'?",
        ),
        (
            {"dataset": BLOBS, "prefetch_factor": 2},
            (
                "train_dataloader: torch's DataLoader refuses this: prefetch_factor option could only be specified in "
                "multiprocessing.let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
            ),
        ),
    ],
)
def test_mistakes_name_their_table(table: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        build_dataloader(table, ("train_dataloader",))
    assert str(caught.value) == message


def test_tensors_move_wherever_they_are() -> None:
    moved = to_device({"a": [torch.ones(1), ("text", torch.ones(1))]}, torch.device("meta"))
    assert moved["a"][0].is_meta
    assert moved["a"][1][1].is_meta
    assert moved["a"][1][0] == "text"
