"""A data set drawn once and kept on disk: every epoch after the first costs a read.

Folder `<folder>/<fingerprint>/`: images.npy (N, H, W, 3) uint8, labels.npz, index.json (shape,
SHA-256 of the labels and of every shard of images). While it is made it is called `.partial` and
grows shard by shard, each complete shard marked by its label file, so that a killed run goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.device.files import replace_folder, sha256_file, write_atomic
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton

SHARD = 512
FORMAT = 1
_FLOATS = ("joints_xy", "box_xywh", "center_xy")
_SCALARS = ("size_px", "head_px", "area_px2")
Progress = Callable[[int, int], None]
Labels = dict[str, NDArray[Any]]


class CachedPoses:
    """A finished cache; PoseDataset. Reads single frames, so memory does not grow with the set."""

    def __init__(self, path: Path, *, skeleton: Skeleton, domain: str, index: dict[str, Any],
                 labels: Labels) -> None:  # fmt: skip
        self.skeleton, self.domain = skeleton, domain
        self.fingerprint: str = index["fingerprint"]
        self._path, self._shape = path / "images.npy", tuple(index["shape"])
        self._offset: int = index["offset"]
        self._labels = labels
        self._file: IO[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # each process opens its own

    def __len__(self) -> int:
        return int(self._shape[0])

    def __getitem__(self, index: int) -> PoseSample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)} in {self._path}")
        if self._file is None:
            self._file = self._path.open("rb")
        size = int(np.prod(self._shape[1:]))
        data = os.pread(self._file.fileno(), size, self._offset + index * size)
        if len(data) != size:
            raise _damaged(self._path.parent, "images.npy is too short")
        of = self._labels
        return PoseSample(
            image=np.frombuffer(data, np.uint8).reshape(self._shape[1:]).copy(),
            joints_xy=of["joints_xy"][index],
            annotated=of["annotated"][index],
            box_xywh=of["box_xywh"][index],
            center_xy=of["center_xy"][index],
            size_px=float(of["size_px"][index]),
            head_px=float(of["head_px"][index]),
            area_px2=float(of["area_px2"][index]),
            sample_id=str(of["sample_id"][index]),
            tags=frozenset(t for t in str(of["tags"][index]).split(",") if t),
        )


def cached(dataset: PoseDataset, folder: str | Path, *, workers: int = 0,
           progress: Progress | None = None, verify: bool = False) -> PoseDataset:  # fmt: skip
    """`dataset` from the cache in `folder`, made first (or finished) where it is not there.

    workers:  processes that draw; 0 or 1 draws in this one. They are spawned, never forked, so
              torch's threads are no trouble; a script that calls this needs the usual
              `if __name__ == "__main__":`.
    progress: called with (samples done, samples in all) after every shard
    verify:   hash all images, too; sizes and labels are always checked
    Raises EdgeposeError when frames differ in size, the disk is full, or the cache is damaged.
    """
    if len(dataset) == 0:
        return dataset
    final = Path(folder) / dataset.fingerprint[:32]
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_suffix(".lock")):
        if not final.exists():
            _make(dataset, final, workers, progress)
    return _open(final, dataset, verify=verify)


def _damaged(path: Path, what: str) -> EdgeposeError:
    return EdgeposeError(f"the cache {path} is damaged: {what}", fix="delete it; it is made again")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process makes a cache; others wait and then find it finished."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _open(path: Path, dataset: PoseDataset, *, verify: bool) -> CachedPoses:
    try:
        index = json.loads((path / "index.json").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, f"index.json cannot be read ({error})") from error
    if index.get("format") != FORMAT or index["fingerprint"] != dataset.fingerprint:
        raise _damaged(path, "it belongs to another data set")
    if sha256_file(path / "labels.npz") != index["labels_sha256"]:
        raise _damaged(path, "labels.npz has changed")
    size = index["offset"] + int(np.prod(index["shape"]))
    if (path / "images.npy").stat().st_size != size:
        raise _damaged(path, "images.npy has another size")
    if verify:
        frame = int(np.prod(index["shape"][1:]))
        with (path / "images.npy").open("rb") as stream:
            stream.seek(index["offset"])
            for n, expected in enumerate(index["shards"]):
                count = min(SHARD, index["shape"][0] - n * SHARD)
                if hashlib.sha256(stream.read(count * frame)).hexdigest() != expected:
                    raise _damaged(path, f"the images of shard {n} have changed")
    with np.load(path / "labels.npz", allow_pickle=False) as stored:
        labels = {name: stored[name] for name in stored.files}
    return CachedPoses(path, skeleton=dataset.skeleton, domain=dataset.domain, index=index,
                       labels=labels)  # fmt: skip


def _make(dataset: PoseDataset, final: Path, workers: int, progress: Progress | None) -> None:
    partial = final.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    for stale in partial.glob(".tmp-*"):  # of a process that was killed while it wrote
        stale.unlink()
    total = len(dataset)
    shape = (total, *dataset[0].image.shape)
    offset = _allocate(partial / "images.npy", shape)
    shards = range(-(-total // SHARD))
    todo = [n for n in shards if not _label_file(partial, n).exists()]
    done = sum(min(SHARD, total - n * SHARD) for n in shards if n not in todo)
    if progress:
        progress(done, total)
    for count in _drawn(dataset, partial, offset, shape, todo, workers):
        done += count
        if progress:
            progress(done, total)

    parts, hashes = [], []
    for n in shards:
        with np.load(_label_file(partial, n), allow_pickle=False) as stored:
            parts.append({name: stored[name] for name in stored.files})
        hashes.append(str(parts[-1].pop("sha256")))
    labels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _save_labels(partial / "labels.npz", labels)
    index = {
        "format": FORMAT, "fingerprint": dataset.fingerprint, "domain": dataset.domain,
        "skeleton": dataset.skeleton.name, "shape": list(shape), "offset": offset,
        "labels_sha256": sha256_file(partial / "labels.npz"), "shards": hashes,
    }  # fmt: skip
    write_atomic(partial / "index.json", json.dumps(index, indent=1).encode())
    for n in shards:
        _label_file(partial, n).unlink()
    replace_folder(partial, final)


def _drawn(dataset: PoseDataset, partial: Path, offset: int, shape: tuple[int, ...],
           todo: list[int], workers: int) -> Iterator[int]:  # fmt: skip
    """Draw the shards `todo`; yields the number of samples of each as it is finished."""
    jobs = [(dataset, partial, offset, shape, n, SHARD) for n in todo]
    if workers <= 1 or len(jobs) < 2:
        for job in jobs:
            yield _draw_shard(job)
        return
    context = multiprocessing.get_context("spawn")
    with _no_interrupts():
        pool = context.Pool(min(workers, len(jobs)), initializer=_start_worker)
    with pool:
        yield from pool.imap_unordered(_draw_shard, jobs)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes started in here never see Ctrl-C; this one sees it afterwards and stops them."""
    resource_tracker.ensure_running()  # it would unblock the signal if it started in here
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """No Ctrl-C, one thread for drawing, and one that ends this process if its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a worker"
    parent.join()
    os._exit(1)


def _label_file(partial: Path, shard: int) -> Path:
    return partial / f"labels-{shard:05d}.npz"


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Make (or find) the image file at its full size; returns where the pixels begin."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    size = header.tell() + int(np.prod(shape))
    if not path.exists() or path.stat().st_size != size:
        try:
            with path.open("wb") as stream:
                stream.write(header.getvalue())
                stream.flush()
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(stream.fileno(), 0, size)
                else:
                    os.ftruncate(stream.fileno(), size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise EdgeposeError(
                f"no room for a cache of {size / 1e6:.0f} MB in {path.parent}: {error.strerror}",
                fix="free some space, choose another folder, or fewer samples",
            ) from error
        for stale in path.parent.glob("labels-*.npz"):
            stale.unlink()
    return header.tell()


def _draw_shard(job: tuple[PoseDataset, Path, int, tuple[int, ...], int, int]) -> int:
    dataset, partial, offset, shape, shard, length = job
    first = shard * length
    samples = []
    digest = hashlib.sha256()
    frame = int(np.prod(shape[1:]))
    path = partial / "images.npy"
    with path.open("r+b", buffering=0) as stream:
        stream.seek(offset + first * frame)
        for i in range(first, min(first + length, shape[0])):
            sample = dataset[i]
            if sample.image.shape != shape[1:]:
                raise EdgeposeError(
                    f"frames differ in size: {sample.sample_id} is {sample.image.shape}, "
                    f"the first one {shape[1:]}",
                    fix="cache only data sets of equal frames, such as `source: synthetic`",
                )
            data = sample.image.tobytes()
            digest.update(data)
            with _disk(path):
                stream.write(data)
            samples.append(sample)
        with _disk(path):
            os.fsync(stream.fileno())
    labels = _labels(samples)
    labels["sha256"] = np.array(digest.hexdigest())
    _save_labels(_label_file(partial, shard), labels)
    return len(samples)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EdgeposeError(
            f"cannot write {path}: {error.strerror or error}",
            fix="free some space and run again; finished shards are kept",
        ) from error


def _labels(samples: list[PoseSample]) -> Labels:
    out: Labels = {n: np.stack([getattr(s, n) for s in samples]).astype(np.float32)
                   for n in _FLOATS}  # fmt: skip
    for name in _SCALARS:
        out[name] = np.array([getattr(s, name) for s in samples], np.float64)
    out["annotated"] = np.stack([s.annotated for s in samples])
    out["sample_id"] = np.array([s.sample_id for s in samples])
    out["tags"] = np.array([",".join(sorted(s.tags)) for s in samples])
    return out


def _save_labels(path: Path, labels: Labels) -> None:
    stream = io.BytesIO()
    np.savez(stream, **cast(dict[str, Any], labels))
    write_atomic(path, stream.getvalue())
