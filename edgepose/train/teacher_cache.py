"""A teacher's heatmaps, computed once and read back over epochs, stages and runs.

A picture has a fixed number of views: where its crop lies is drawn once, from (seed, picture, view).
The teacher sees each view plain; the student may see it mirrored, covered and recoloured. Heatmaps are
kept as bytes, steps of 1/255 between 0 and 1, each view compressed for itself.

Folder `<folder>/<key>/`: heatmaps.bin (zlib blocks, one after the other), offsets.npy (int64, one more
than there are blocks), index.json (what the key is made of, SHA-256 of both). While it is made it is
called `.partial` and grows shard by shard, so that a killed run goes on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgepose.data.base import PoseDataset
from edgepose.data.cache import locked
from edgepose.data.crop import Augment, View, crop_view, draw_view
from edgepose.device.files import replace_folder, sha256_file, write_atomic
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError
from edgepose.models.pose_model import PoseModel
from edgepose.progress import Progress

FORMAT = "teacher-cache-v1"
FILES = ("heatmaps.bin", "offsets.npy")
SHARD = 64  # pictures written at a time
BATCH = 32  # crops the teacher sees at a time
LEVELS = 255
NOISE_FLOOR = 4  # levels: what a teacher says of empty background is not worth its bytes


def fixed_view(index: int, view: int, *, seed: int, config: Augment) -> View:
    """The geometry of one cached view of one picture."""
    return draw_view(np.random.default_rng((seed, 3, index, view)), config)


def pack(heatmaps: NDArray[np.floating]) -> bytes:
    """(J, h, w) -> compressed bytes; values are clipped to 0..1 and rounded to 1/255."""
    levels = np.rint(np.clip(heatmaps, 0, 1) * LEVELS).astype(np.uint8)
    levels[levels < NOISE_FLOOR] = 0
    return zlib.compress(levels.tobytes(), 6)


def unpack(block: bytes, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """What `pack` kept, (J, h, w) float32."""
    levels = np.frombuffer(zlib.decompress(block), np.uint8).reshape(shape)
    heatmaps: NDArray[np.float32] = levels.astype(np.float32) / np.float32(LEVELS)
    return heatmaps


class TeacherCache:
    """The kept heatmaps of one teacher on one data set at one input size."""

    def __init__(self, path: Path, index: dict[str, Any]) -> None:
        self.path = path
        self.seed: int = index["key"]["seed"]
        self.views: int = index["key"]["views"]
        self.geometry = Augment(**index["key"]["geometry"])
        self.size_bytes: int = index["size_bytes"]
        self._shape: tuple[int, int, int] = tuple(index["heatmap_shape"])
        self._offsets = np.load(path / "offsets.npy", allow_pickle=False)
        self._file: IO[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # each process opens its own

    def view(self, index: int, view: int) -> View:
        """Where that view's crop lies."""
        return fixed_view(index, view, seed=self.seed, config=self.geometry)

    def heatmaps(self, index: int, view: int) -> NDArray[np.float32]:
        """(J, h, w) float32 in [0, 1]: what the teacher found on that view, not mirrored."""
        if self._file is None:
            self._file = (self.path / "heatmaps.bin").open("rb")
        number = index * self.views + view
        start, stop = int(self._offsets[number]), int(self._offsets[number + 1])
        return unpack(os.pread(self._file.fileno(), stop - start, start), self._shape)


def _damaged(path: Path, what: str) -> EdgeposeError:
    return EdgeposeError(
        f"the teacher cache {path} is damaged: {what}", fix="delete it; it is made again"
    )


def cache_teacher(
    teacher: PoseModel,
    dataset: PoseDataset,
    folder: Path,
    *,
    input_hw: tuple[int, int],
    views: int,
    augment: Augment,
    seed: int,
    report: Progress,
) -> TeacherCache:
    """The teacher's cache in `folder`, made first (or finished) where it is not there.

    augment: its rotation, scale, shift and half bodies decide the views; the rest stays free
    Raises EdgeposeError when the disk is full or the cache is damaged.
    """
    alignment = teacher.spec.codec.alignment
    geometry = augment.model_dump(
        mode="json", include={"rotation_deg", "scale", "shift", "half_body"}
    )
    key = {
        "format": FORMAT,
        "dataset": dataset.fingerprint,
        "teacher": teacher.sha256,
        "input_hw": list(input_hw),
        "views": views,
        "geometry": geometry,
        "seed": seed,
        **({} if alignment == "edges" else {"alignment": alignment}),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    final = Path(folder) / name
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with locked(final.with_suffix(".lock")):
            if not final.exists():
                _make(teacher, dataset, final, key, report)
    except OSError as error:
        raise EdgeposeError(
            f"cannot write the teacher cache {final}: {error.strerror or error}",
            fix="free some space and run again, finished parts are kept; "
            "or set teacher_views: 0, the teacher then runs on every crop",
        ) from error
    return _open(final, key)


def _open(path: Path, key: dict[str, Any]) -> TeacherCache:
    try:
        index = json.loads((path / "index.json").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, f"index.json cannot be read ({error})") from error
    if index.get("key") != key:
        raise _damaged(path, "it belongs to another teacher or data set")
    for name in FILES:
        if not (path / name).is_file() or sha256_file(path / name) != index["sha256"][name]:
            raise _damaged(path, f"{name} has changed")
    return TeacherCache(path, index)


def _make(
    teacher: PoseModel, dataset: PoseDataset, final: Path, key: dict[str, Any], report: Progress
) -> None:
    partial = final.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    run = _runner(teacher)
    config, total = Augment(**key["geometry"]), len(dataset)
    input_hw = (key["input_hw"][0], key["input_hw"][1])
    shards = [
        (partial / f"shard-{first // SHARD:05d}", range(first, min(first + SHARD, total)))
        for first in range(0, total, SHARD)
    ]
    for path, pictures in shards:
        report("cache the teacher", pictures.start, total)
        if path.exists():
            continue
        crops: list[NDArray[np.uint8]] = []
        for index in pictures:
            sample = dataset[index]
            for view in range(key["views"]):
                where = fixed_view(index, view, seed=key["seed"], config=config)
                crop = crop_view(
                    sample, input_hw, where, skeleton=dataset.skeleton,
                    alignment=teacher.spec.codec.alignment,
                )  # fmt: skip
                crops.append(crop.image)
        _write_shard(path, [pack(maps) for maps in run(crops)])
    report("cache the teacher", total, total)
    stride = teacher.spec.codec.stride
    shape = [teacher.spec.num_joints, input_hw[0] // stride, input_hw[1] // stride]
    _join(partial, [(path, len(p) * key["views"]) for path, p in shards], key=key, shape=shape)
    replace_folder(partial, final)


def _runner(teacher: PoseModel) -> Callable[[list[NDArray[np.uint8]]], Iterator[NDArray[Any]]]:
    """Crops (H, W, 3) uint8 -> heatmaps (J, h, w) float32, one after the other."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = teacher.module().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pre = teacher.spec.preprocessing

    @torch.no_grad()
    def run(crops: list[NDArray[np.uint8]]) -> Iterator[NDArray[Any]]:
        for start in range(0, len(crops), BATCH):
            batch = normalise(np.stack(crops[start : start + BATCH]), pre.mean, pre.std)
            images = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
            yield from network(images).float().cpu().numpy()

    return run


def _write_shard(path: Path, blocks: list[bytes]) -> None:
    """The lengths of the blocks as int64, then the blocks."""
    lengths = np.array([len(block) for block in blocks], np.int64)
    write_atomic(path, lengths.tobytes() + b"".join(blocks))


def _join(
    partial: Path, shards: list[tuple[Path, int]], *, key: dict[str, Any], shape: list[int]
) -> None:
    """All shards (file, blocks) in one file; they are removed when it is whole."""
    lengths = []
    with (partial / "heatmaps.bin").open("wb") as stream:
        for path, count in shards:
            data = path.read_bytes()
            lengths.append(np.frombuffer(data[: 8 * count], np.int64))
            stream.write(data[8 * count :])
        stream.flush()
        os.fsync(stream.fileno())
    offsets = io.BytesIO()
    np.save(offsets, np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))]))
    write_atomic(partial / "offsets.npy", offsets.getvalue())
    index = {
        "key": key,
        "heatmap_shape": shape,
        "size_bytes": (partial / "heatmaps.bin").stat().st_size,
        "sha256": {name: sha256_file(partial / name) for name in FILES},
    }
    write_atomic(partial / "index.json", json.dumps(index, indent=1).encode() + b"\n")
    for path, _ in shards:
        path.unlink()
