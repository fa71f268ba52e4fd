"""Models of clips: the shapes and names that they promise, and that they see motion; and clips of digits that move."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from optimctl_vision.digits import Digits
from optimctl_vision.moving_digits import ACTIONS, MovingDigits
from optimctl_vision.tsm import TSM, TemporalShift
from optimctl_vision.video_swin import Block, VideoSwin
from optimctl_vision.video_transformer import VideoTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader

MODELS = pytest.mark.parametrize("model_class", [TSM, VideoSwin, VideoTransformer])


def parts(model: nn.Module, depth: int) -> list[str]:
    """The names of the model's parameters, cut after `depth` dots, each once."""
    return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name, _ in model.named_parameters()))


def weights(model_class: type[nn.Module], seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(model_class().state_dict())


@pytest.fixture(scope="module")
def clips() -> MovingDigits:
    return MovingDigits("test")


class TestModels:
    @MODELS
    def test_a_batch_of_clips_becomes_a_row_of_logits_each(
        self, model_class: type[nn.Module], clips: MovingDigits
    ) -> None:
        assert model_class()(clips.clips[:3]).shape == (3, len(ACTIONS))

    @MODELS
    def test_every_parameter_gets_a_gradient(self, model_class: type[nn.Module]) -> None:
        model = model_class()
        model(torch.rand(2, 1, 8, 16, 16)).square().sum().backward()
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []

    @MODELS
    def test_the_meta_device_builds_the_same_model_without_memory(self, model_class: type[nn.Module]) -> None:
        with torch.device("meta"):
            model = model_class()
        assert all(parameter.is_meta for parameter in model.parameters())
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
            name: tensor.shape for name, tensor in model_class().state_dict().items()
        }

    @MODELS
    def test_a_seed_makes_the_same_weights_again(self, model_class: type[nn.Module]) -> None:
        first, second = (weights(model_class, seed=3) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)

    @MODELS
    def test_it_sees_the_order_of_the_frames(self, model_class: type[nn.Module], clips: MovingDigits) -> None:
        torch.manual_seed(0)
        model = model_class().eval()
        with torch.no_grad():
            forwards, backwards = model(clips.clips[:8]), model(clips.clips[:8].flip(2))
        assert (forwards - backwards).abs().max() > 1e-3

    @MODELS
    def test_autocast_runs_it(self, model_class: type[nn.Module]) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model_class()(torch.rand(2, 1, 8, 16, 16))
        assert torch.isfinite(logits).all()

    @MODELS
    @pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
    def test_a_number_of_classes_that_is_no_count_is_refused(self, model_class: type[nn.Module], value: Any) -> None:
        with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, not "):
            model_class(num_classes=value)

    @MODELS
    def test_a_clip_of_another_length_is_refused(self, model_class: type[nn.Module]) -> None:
        with pytest.raises(ValueError, match=r"clips (have 6 frames|are 6x16x16), but the model was built"):
            model_class()(torch.rand(2, 1, 6, 16, 16))


class TestTSM:
    def test_custom_keys_find_the_parts_by_name(self) -> None:
        assert parts(TSM(), 2) == [
            "backbone.stem",
            "backbone.layer0",
            "backbone.layer1",
            "head.weight",
            "head.bias",
        ]

    def test_channels_shift_by_a_frame_and_none_comes_from_another_clip(self) -> None:
        features = torch.arange(2 * 3 * 4, dtype=torch.float32).view(6, 4, 1, 1) + 1  # 2 clips, 3 frames, 4 channels
        before = features.view(2, 3, 4)
        after = TemporalShift(frames=3, shift_div=4)(features).view(2, 3, 4)
        assert torch.equal(after[:, :2, 0], before[:, 1:, 0])
        assert torch.equal(after[:, 1:, 1], before[:, :2, 1])
        assert torch.equal(after[..., 2:], before[..., 2:])
        assert after[:, 2, 0].tolist() == after[:, 0, 1].tolist() == [0, 0]

    def test_without_a_shift_the_order_of_the_frames_is_lost(self) -> None:
        clips = torch.rand(2, 1, 8, 16, 16)
        model = TSM(shift_div=64).eval()
        assert torch.allclose(model(clips), model(clips.flip(2)), atol=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"frames": 0}, "frames must be a whole number of at least 1, not 0"),
            ({"shift_div": 1}, "shift_div must be at least 2, not 1: a channel cannot move both ways"),
            ({"widths": []}, "widths must list the channels"),
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            TSM(**arguments)


class TestVideoSwin:
    def test_parts_are_named_as_in_mmaction2(self) -> None:
        assert parts(VideoSwin(), 3)[:3] == [
            "backbone.patch_embed.proj",
            "backbone.patch_embed.norm",
            "backbone.layers.0",
        ]
        names = dict(VideoSwin().named_parameters())
        assert {
            "backbone.layers.0.blocks.1.attn.relative_position_bias_table",
            "backbone.layers.0.downsample.reduction.weight",
            "backbone.layers.1.blocks.0.mlp.fc1.weight",
            "backbone.norm.weight",
            "head.weight",
        } <= names.keys()

    def test_a_stage_halves_height_and_width_and_doubles_the_channels(self) -> None:
        model = VideoSwin(width=8, image_size=32, depths=[1, 1, 2], heads=[1, 2, 4])
        assert model.backbone(torch.rand(2, 1, 8, 32, 32)).shape == (2, 4, 2, 2, 32)

    def test_what_should_not_decay_are_names_of_its_parameters(self) -> None:
        model = VideoSwin()
        assert len(model.no_weight_decay()) == 4
        assert model.no_weight_decay() <= dict(model.named_parameters()).keys()

    @pytest.mark.parametrize("is_shifted", [False, True])
    def test_a_token_sees_its_window_and_nothing_else(self, is_shifted: bool) -> None:
        sizes, window = (4, 4, 8), (2, 4, 4)
        shift = (1, 0, 2) if is_shifted else (0, 0, 0)
        block = Block(sizes, 8, 2, window, 2.0, is_shifted)
        assert block.shift == shift
        tokens = torch.rand(1, *sizes, 8, requires_grad=True)
        for place in ((0, 0, 0), (1, 2, 3), (3, 3, 7), (2, 1, 6)):
            (slope,) = torch.autograd.grad(block(tokens)[(0, *place)].sum(), tokens)
            sees = {tuple(seen) for seen in slope[0].abs().sum(-1).nonzero().tolist()}
            assert sees == set(window_of(place, sizes, window, shift))

    def test_the_bias_of_two_tokens_is_that_of_how_they_stand_to_each_other(self) -> None:
        index = Block((2, 2, 2), 8, 1, (2, 2, 2), 2.0, is_shifted=False).attn.relative_position_index
        places = [(t, h, w) for t in range(2) for h in range(2) for w in range(2)]
        apart = {
            (i, j): tuple(x - y for x, y in zip(places[i], places[j], strict=True)) for i in range(8) for j in range(8)
        }
        rows: dict[tuple[int, ...], set[int]] = {}
        for pair, way in apart.items():
            rows.setdefault(way, set()).add(int(index[pair]))
        assert all(len(numbers) == 1 for numbers in rows.values())
        assert sorted(number for numbers in rows.values() for number in numbers) == list(range(27))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"patch_size": [2, 3, 3]}, "patch_size must divide a clip, but 8x16x16 is no multiple of 2x3x3"),
            ({"patch_size": 2}, "patch_size must be three numbers, of frames, height and width, not 2"),
            ({"window": [3, 4, 4]}, "window must divide the tokens of a stage, but 4x4x4 is no multiple of 3x4x4"),
            ({"window": [2, 4, 0]}, r"window\[2\] must be a whole number of at least 1, not 0"),
            (
                {"patch_size": [2, 16, 16]},
                "merging must divide the tokens of stage 0, but 4x1x1 is no multiple of 1x2x2",
            ),
            ({"depths": [2]}, r"depths and heads must have a number for each stage, not \[2\] and \(2, 4\)"),
            ({"heads": [2, 5]}, r"heads\[1\] must divide the width of its stage, 64, not be 5"),
            ({"mlp_ratio": 0}, "mlp_ratio must leave at least 1 hidden channel of 32, not 0 times as many"),
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            VideoSwin(**arguments)


def window_of(
    place: tuple[int, ...], sizes: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """The places of the window around `place`, whose windows begin at `shift` and end at the edge."""
    ranges = []
    for at, size, width, step in zip(place, sizes, window, shift, strict=True):
        start = (at - step) // width * width + step
        ranges.append(range(max(start, 0), min(start + width, size)))
    return [(t, h, w) for t in ranges[0] for h in ranges[1] for w in ranges[2]]


class TestVideoTransformer:
    def test_layer_decay_finds_the_numbered_blocks(self) -> None:
        names = parts(VideoTransformer(depth=2), 1)
        assert names == ["cls_token", "pos_embed", "patch_embed", "blocks", "norm", "head"]

    def test_what_should_not_decay_are_names_of_its_parameters(self) -> None:
        model = VideoTransformer()
        assert model.no_weight_decay() == {"pos_embed", "cls_token"}
        assert model.no_weight_decay() <= dict(model.named_parameters()).keys()

    def test_its_arguments_shape_it(self) -> None:
        model = VideoTransformer(
            4, image_size=32, patch_size=(4, 8, 8), in_channels=3, num_classes=2, width=24, heads=3
        )
        assert model(torch.rand(2, 3, 4, 32, 32)).shape == (2, 2)
        assert model.pos_embed.shape == (1, 17, 24)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
            ({"frames": 7}, "patch_size must divide a clip, but 7x16x16 is no multiple of 2x4x4"),
            ({"heads": 5}, "heads must divide width, but 48 is no multiple of 5"),
            ({"dropout": 1.0}, "dropout must be at least 0 and less than 1, not 1.0"),
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            VideoTransformer(**arguments)


def centres(clips: MovingDigits, action: str) -> Tensor:
    """The centre of the ink of each frame, (N, frames, 2), y and x in pixels; noise off."""
    ink = clips.clips[clips.labels == ACTIONS.index(action), 0]
    where = torch.arange(ink.shape[-1], dtype=torch.float32)
    total = ink.sum(dim=(2, 3))
    return torch.stack([(ink.sum(3) * where).sum(2) / total, (ink.sum(2) * where).sum(2) / total], dim=2)


class TestMovingDigits:
    def test_an_item_is_a_clip_and_its_label(self, clips: MovingDigits) -> None:
        clip, label = clips[0]
        assert (clip.shape, clip.dtype) == ((1, 8, 16, 16), torch.float32)
        assert isinstance(label, int)
        assert 0 <= clips.clips.min() < clips.clips.max() <= 1

    def test_every_digit_has_its_clips_and_every_action_as_many(self, clips: MovingDigits) -> None:
        assert len(clips) == len(Digits("test"))
        assert clips.labels.bincount().tolist() == [60] * 6
        assert len(MovingDigits("test", clips=2)) == 2 * len(clips)

    def test_a_clip_is_the_same_again(self, clips: MovingDigits) -> None:
        again = MovingDigits("test", clips=2)
        assert torch.equal(again.clips[: len(clips)], clips.clips)
        assert torch.equal(again.labels[: len(clips)], clips.labels)
        assert not torch.equal(again.clips[len(clips) :], clips.clips)
        assert not torch.equal(MovingDigits("test", seed=1).clips, clips.clips)

    def test_the_splits_show_other_digits_and_other_motions(self, clips: MovingDigits) -> None:
        train = MovingDigits("train")
        assert len(train) == len(Digits("train"))
        assert not torch.equal(train.labels[: len(clips)], clips.labels)

    @pytest.mark.parametrize(
        ("action", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)]
    )
    def test_what_moves_goes_where_its_label_says(self, action: str, axis: int, sign: int) -> None:
        way = centres(MovingDigits("test", noise=0.0), action).diff(dim=1)
        assert (sign * way[..., axis].sum(1) > 2).all()
        assert way[..., 1 - axis].abs().max() < 0.3

    def test_what_grows_covers_more_and_what_is_still_does_not_change(self) -> None:
        clips = MovingDigits("test", noise=0.0)
        grown, still = (clips.clips[clips.labels == ACTIONS.index(action), 0] for action in ("grow", "still"))
        area = grown.sum(dim=(2, 3))
        assert (area[:, -1] > 1.3 * area[:, 0]).all()
        assert torch.equal(still[:, 0], still[:, -1])

    def test_its_size_and_length_are_the_jobs(self) -> None:
        clips = MovingDigits("test", frames=3, size=20)
        assert clips[0][0].shape == (1, 3, 20, 20)

    def test_a_data_loader_batches_it(self, clips: MovingDigits) -> None:
        batch, labels = next(iter(DataLoader(clips, batch_size=5)))
        assert (batch.shape, labels.dtype) == ((5, 1, 8, 16, 16), torch.int64)

    def test_it_reaches_worker_processes_whole(self, clips: MovingDigits) -> None:
        assert torch.equal(pickle.loads(pickle.dumps(clips)).clips, clips.clips)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"split": "val"}, "Digits has no split 'val'; it has 'train' and 'test'"),
            ({"frames": 1}, "frames must be at least 2, or nothing moves, not 1"),
            ({"size": 12}, "size must be at least 16 pixels, so that a digit has room, not 12"),
            ({"clips": 0}, "clips must be a whole number of at least 1, not 0"),
            ({"noise": -0.1}, "noise must be a number from 0 up, not -0.1"),
            ({"seed": -1}, "seed must be a whole number from 0 up, not -1"),
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            MovingDigits(**arguments)
