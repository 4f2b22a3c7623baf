"""Other people's checkpoints: our own tensors under their names come back as the same network."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from edgepose.errors import EdgeposeError
from edgepose.models.checkpoints import Loaded, load_checkpoint
from edgepose.models.layouts import find_architecture, under_our_names
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.models.tensor_file import read_tensors
from edgepose.stages.prune import prune_channels

HW = (64, 64)
Tensors = dict[str, Tensor]


def fresh(arch: str) -> PoseModel:
    return PoseModel.fresh(ModelSpec(arch, 16, HW, "mpii16"), seed=5)


@pytest.fixture(scope="module")
def hrnet() -> PoseModel:
    return fresh("hrnet_w4")


@pytest.fixture(scope="module")
def resnet() -> PoseModel:
    """A ResNet-18 of an eighth of the widths, so that files are small."""
    model = fresh("resnet18")
    return model.with_module(prune_channels(model.module(), ratio=0.85, round_to=8, input_hw=HW))


def load(path: Path, **changes: Any) -> Loaded:
    return load_checkpoint(path, **{"skeleton": "mpii16", "input_hw": HW, **changes})


def heatmaps(model: PoseModel, x: Tensor | None = None) -> Tensor:
    if x is None:
        x = torch.randn(1, 3, *HW, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.module().to(x.dtype)(x)


def mmpose(head: str) -> Callable[[Tensors], Any]:
    def wrap(tensors: Tensors) -> Any:
        heads = ("deconv_layers.", "final_layer.")
        names = {k: (head if k.startswith(heads) else "backbone.") + k for k in tensors}
        meta = {"epoch": 210, "sigmas": np.linspace(0, 1, 5), "CLASSES": ["person"]}
        return {"meta": meta, "state_dict": {names[k]: v for k, v in tensors.items()}}

    return wrap


LAYOUTS: dict[str, tuple[str, Callable[[Tensors], Any]]] = {
    "official": ("official", lambda tensors: tensors),
    "module": ("official", lambda t: {f"module.{k}": v for k, v in t.items()}),
    "training": (
        "official",
        lambda t: {
            "epoch": 3, "model": "pose_hrnet", "perf": np.float64(0.9),
            "state_dict": OrderedDict((f"module.{k}", v) for k, v in t.items()),
            "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]},
        },
    ),
    "no counters": (
        "official",
        lambda t: {k: v for k, v in t.items() if not k.endswith("num_batches_tracked")},
    ),
    "mmpose 0.x": ("mmpose 0.x", mmpose("keypoint_head.")),
    "mmpose 1.x": ("mmpose 1.x", mmpose("head.")),
    "double": ("official", lambda t: {k: v.double() for k, v in t.items()}),
}  # fmt: skip


@pytest.mark.parametrize("arch", ["hrnet", "resnet"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_network(
    arch: str, layout: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model: PoseModel = request.getfixturevalue(arch)
    name, wrap = LAYOUTS[layout]
    torch.save(wrap(model.tensors), tmp_path / "x.pth")
    loaded = load(tmp_path / "x.pth")
    assert loaded.layout == name
    assert loaded.model.spec.arch == ("hrnet_w4" if arch == "hrnet" else "resnet18")
    assert torch.equal(heatmaps(loaded.model), heatmaps(model))
    assert all("random" not in note for note in loaded.notes)


def test_both_formats_of_torch_and_safetensors(hrnet: PoseModel, tmp_path: Path) -> None:
    torch.save(hrnet.tensors, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    save_file(hrnet.tensors, tmp_path / "x.safetensors")
    for name in ("old.pth.tar", "x.safetensors"):
        assert load(tmp_path / name).model.sha256 == hrnet.sha256


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_is_read_off_the_keys(depth: int) -> None:
    with torch.device("meta"):
        from edgepose.models import build

        state = build(f"resnet{depth}", num_joints=16).state_dict()
    assert find_architecture(state) == f"resnet{depth}"
    whole = dict(state)
    del whole["layer3.1.conv1.weight"]
    assert find_architecture(whole) == f"resnet{depth}"


@pytest.mark.parametrize(
    ("arch", "file"),
    [
        ("resnet18", "pose_resnet_18_mpii16.json"),
        ("resnet50", "pose_resnet_50_mpii16.json"),
        ("hrnet_w48", "pose_hrnet_w48_mpii16.json"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_official_key_lists(arch: str, file: str, prefix: str, shared_data: Path) -> None:
    shapes = json.loads((shared_data / "state-dict-keys" / file).read_text())
    with torch.device("meta"):
        tensors = {prefix + key: torch.empty(shape) for key, shape in shapes.items()}
    state = under_our_names(tensors)
    assert (state.layout, state.dropped) == ("official", ())
    assert find_architecture(state.tensors) == arch
    assert set(state.tensors) == set(shapes)


def test_an_imagenet_backbone_gets_a_random_head_and_says_so(
    resnet: PoseModel, tmp_path: Path
) -> None:
    head = ("deconv_layers.", "final_layer.")
    full = fresh("resnet18")
    backbone = {k: v for k, v in full.tensors.items() if not k.startswith(head)}
    classifier = {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
    torch.save(backbone | classifier, tmp_path / "resnet18-f37072fd.pth")
    one = load(tmp_path / "resnet18-f37072fd.pth", seed=1)
    two = load(tmp_path / "resnet18-f37072fd.pth", seed=2)
    assert one.layout == "imagenet"
    assert "deconv_layers, final_layer start from random weights" in one.notes[0]
    assert "2 tensors of its classifier" in one.notes[1]
    for key, value in one.model.tensors.items():
        if not key.startswith(head):
            assert torch.equal(value, full.tensors[key])
    changed = [k for k, v in one.model.tensors.items() if not torch.equal(v, two.model.tensors[k])]
    assert set(changed) == {k for k in one.model.tensors if re.match(
        r"deconv_layers\.[036]\.weight|final_layer\.weight", k)}  # fmt: skip


def test_an_imagenet_hrnet_loses_its_classifier_and_its_unused_fusions(
    hrnet: PoseModel, tmp_path: Path
) -> None:
    kept = {k: v for k, v in hrnet.tensors.items() if not k.startswith("final_layer")}
    more = ("incre_modules.0.0.conv1.weight", "downsamp_modules.0.0.weight", "classifier.weight",
            "final_layer.0.weight", "stage4.2.fuse_layers.1.0.0.0.weight")  # fmt: skip
    torch.save(kept | {key: torch.ones(2, 2) for key in more}, tmp_path / "x.pth")
    loaded = load(tmp_path / "x.pth")
    assert "final_layer start from random weights" in loaded.notes[0]
    assert all(torch.equal(loaded.model.tensors[k], v) for k, v in kept.items())


def test_bgr_checkpoints_are_turned_into_rgb_exactly(hrnet: PoseModel, tmp_path: Path) -> None:
    torch.save(hrnet.tensors, tmp_path / "x.pth")
    model = load(tmp_path / "x.pth", color="BGR").model
    image = torch.rand(1, 3, *HW, dtype=torch.float64)
    old, new = hrnet.spec.preprocessing, model.spec.preprocessing

    def normalised(x: Tensor, pre: Any) -> Tensor:
        return (x - x.new_tensor(pre.mean).view(3, 1, 1)) / x.new_tensor(pre.std).view(3, 1, 1)

    as_trained = heatmaps(hrnet, normalised(image.flip(1), old))
    torch.testing.assert_close(heatmaps(model, normalised(image, new)), as_trained)
    assert new.mean == (0.406, 0.456, 0.485)


def test_mmpose_log_buffers_are_read_over_and_not_imported(
    hrnet: PoseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer")
    modules = {name: types.ModuleType(name) for name in names}

    class HistoryBuffer:
        def __init__(self) -> None:
            self.values, self.methods = np.arange(3.0), OrderedDict(min=HistoryBuffer.min)

        def min(self) -> float:
            return 0.0

        def __setstate__(self, state: object) -> None:
            raise AssertionError("the real class must not be used")

    HistoryBuffer.__module__ = HistoryBuffer.min.__module__ = names[-1]
    HistoryBuffer.__qualname__ = "HistoryBuffer"
    HistoryBuffer.min.__qualname__ = "HistoryBuffer.min"
    modules[names[-1]].HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"message_hub": HistoryBuffer(), "state_dict": hrnet.tensors}, tmp_path / "x.pth")
    assert load(tmp_path / "x.pth").model.sha256 == hrnet.sha256


class Evil:
    """Would make a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def _bad_inputs(tensors: Tensors, folder: Path) -> dict[str, tuple[Any, dict[str, Any], list[str]]]:
    """name -> (what is saved, arguments, parts of the message)"""
    key = "stage2.0.branches.0.0.conv1.weight"
    without = {k: v for k, v in tensors.items() if k != key}
    wide = tensors | {key: torch.zeros(9, 4, 3, 3)}
    kernel = tensors | {"final_layer.weight": torch.zeros(16, 4, 3, 3)}
    nan = tensors | {"bn1.weight": torch.full((64,), torch.nan)}
    big = tensors | {"conv1.weight": torch.full((64, 3, 3, 3), 1e300, dtype=torch.float64)}
    many = {k: v for k, v in tensors.items() if not k.startswith("stage3")}
    return {
        "missing": (without, {}, ["does not fit hrnet_w4", "1 missing", key]),
        "unexpected": (tensors | {"neck.weight": torch.ones(1)}, {}, ["1 unexpected: neck.weight"]),
        "wrong shape": (wide, {}, ["1 wrong shape", key, "(9, 4, 3, 3) where (4, 4, 3, 3) fits"]),
        "3x3 head": (kernel, {}, ["(16, 4, 3, 3) where (16, 4, 1, 1)"]),
        "capped": (many, {}, [" missing", ", ..."]),
        "nan": (nan, {}, ["1 of", "NaN or infinity", "bn1.weight"]),
        "overflow": (big, {}, ["NaN or infinity", "conv1.weight"]),
        "other arch": (tensors, {"arch": "resnet18"}, ["holds a hrnet_w4", "not a resnet18"]),
        "other joints": (tensors, {"skeleton": "coco17"}, ["finds 16 joints, coco17 has 17"]),
        "other family": ({"patch_embed.weight": torch.ones(1)}, {}, ["no HRNet and no ResNet"]),
        "list": ([torch.ones(1)], {}, ["holds a list"]),
        "empty": ({}, {}, ["it is empty"]),
        "no tensors": ({"conv1.weight": 3}, {}, ["conv1.weight is no plain tensor"]),
        "sparse": ({"conv1.weight": torch.eye(3).to_sparse()}, {}, ["no plain tensor"]),
        "endless": ({"w": torch.ones(1).expand(10**12)}, {}, ["larger than its file"]),
        "code": ({"state_dict": tensors, "x": Evil(folder / "owned")}, {}, ["pickled", "system"]),
        "whole model": (torch.nn.Conv2d(1, 1, 1), {}, ["pickled Python objects (torch.nn"]),
    }


@pytest.mark.parametrize("name", list(_bad_inputs({}, Path())))
def test_bad_checkpoints_are_named(hrnet: PoseModel, tmp_path: Path, name: str) -> None:
    content, arguments, parts = _bad_inputs(hrnet.tensors, tmp_path)[name]
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(EdgeposeError) as raised:
        load(tmp_path / "x.pth", **arguments)
    for part in parts:
        assert part in raised.value.problem
    assert "x.pth" in raised.value.problem
    assert len(raised.value.problem) < 900
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "x.pth").write_bytes(pickle.dumps(Evil(tmp_path / "owned"), protocol))
    with pytest.raises(EdgeposeError, match=r"pickled|damaged"):
        load(tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Conv2d(3, 3, 3)).save(str(tmp_path / "x.pt"))
    with pytest.raises(EdgeposeError, match="TorchScript"):
        load(tmp_path / "x.pt")


def test_a_grouped_network_is_not_taken_for_a_narrow_one(tmp_path: Path) -> None:
    tensors = fresh("resnet50").tensors
    tensors["layer1.0.conv2.weight"] = torch.zeros(64, 2, 3, 3)  # 32 groups, as ResNeXt has
    torch.save(tensors, tmp_path / "x.pth")
    with pytest.raises(EdgeposeError, match=r"layer1\.0\.conv2\.weight \(64, 2, 3, 3\)"):
        load(tmp_path / "x.pth")


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(EdgeposeError, match="cannot read"):
            read_tensors(path)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A tiny state dict in all three formats."""
    folder = tmp_path_factory.mktemp("fuzz")
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    tensors = dict(conv.state_dict())
    torch.save({"state_dict": tensors, "perf": np.float64(1)}, folder / "new.pth")
    torch.save(tensors, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, folder / "x.safetensors")
    return folder, {f.name: f.read_bytes() for f in sorted(folder.iterdir())}


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_gives_one_clear_error_or_tensors(
    small_files: tuple[Path, dict[str, bytes]], data: st.DataObject
) -> None:
    folder, contents = small_files
    name = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[name])
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    flips = data.draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=6))
    for position, change in flips:
        if content:
            content[position % len(content)] ^= change
    path = folder / f"damaged-{name}"
    path.write_bytes(content)
    try:
        tensors = read_tensors(path)
        problem = ""
    except EdgeposeError as error:
        tensors, problem = {}, error.problem
    assert bool(problem) != bool(tensors)
    assert not problem or (str(path) in problem and len(problem) < 1200)
    assert all(torch.isfinite(value).all() for value in tensors.values())


@settings(max_examples=15, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_truncated_checkpoint_never_loads(
    small_files: tuple[Path, dict[str, bytes]], cut: float
) -> None:
    folder, contents = small_files
    for name, content in contents.items():
        path = folder / f"cut-{name}"
        path.write_bytes(content[: int(cut * len(content))])
        with pytest.raises(EdgeposeError, match=r"truncated|damaged"):
            read_tensors(path)
