"""The part of artifact.json that running needs, and the files that it names."""

from __future__ import annotations

import json
import lzma
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np

from .artifact_words import JOINTS_LAYOUT, MANIFEST_NAME, MAX_SIDE
from .codec import HeatmapCodec
from .coding import RULES, check_coding
from .decode import heatmap_to_image_xy
from .errors import DeviceError
from .files import sha256_file
from .geometry import network_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MAX_EXPANDED_BYTES = 2 << 30
_AGAIN = "copy the whole artifact again, or use the runner of the edgepose that exported it"


def expand(packed: bytes) -> bytes:
    """An .onnx.xz file's ONNX; DeviceError where it is damaged or expands beyond 2 GiB."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=1 << 30)
    try:
        onnx = unpacker.decompress(packed, max_length=MAX_EXPANDED_BYTES)
    except (lzma.LZMAError, EOFError) as error:
        raise DeviceError("model.onnx.xz is damaged: {}".format(error), fix=_AGAIN) from error
    if not unpacker.eof:
        raise DeviceError("model.onnx.xz is cut off or too large", fix=_AGAIN)
    return onnx


@dataclass(frozen=True)
class Contract:
    """name, runtime, precision: as exported; input_hw: crop size; fixed_batch: None: any
    mean, std, color: (value / 255 - mean) / std in that channel order
    codec: how joints are read off the heatmaps; padding: of the crop; files: {role: path}
    uncounted: joints that no score counts; gives: "heatmaps", or "joints" read off them in the graph
    where: "host" or "graph", which then normalises uint8 images itself
    """

    name: str
    runtime: str
    precision: str
    input_name: str
    output_name: str
    input_hw: Tuple[int, int]
    fixed_batch: Optional[int]
    joints: int
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    color: str
    codec: HeatmapCodec
    padding: float
    files: Dict[str, str]
    uncounted: Tuple[int, ...] = ()
    gives: str = "heatmaps"
    where: str = "host"

    def read(self, role: str) -> bytes:
        """The file with that role; DeviceError where the artifact has none."""
        if role not in self.files:
            raise DeviceError("artifact {} has no {} file".format(self.name, role), fix=_AGAIN)
        with open(self.files[role], "rb") as stream:
            return stream.read()

    def onnx(self) -> bytes:
        """The ONNX file, expanded where it is packed."""
        if not self.files.get("model", "").endswith(".xz"):
            return self.read("onnx" if "onnx" in self.files else "model")
        return expand(self.read("model"))

    def prepare(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """What the model takes for (N, H, W, 3) RGB crops, see `geometry.network_input`."""
        return network_input(
            crops, color=self.color, where=self.where, mean=self.mean, std=self.std
        )

    def find(
        self, output: NDArray[np.float32], matrices: NDArray[np.float64]
    ) -> Tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """crop_xy, image_xy (N, J, 2) and scores (N, J), by the artifact's own rule.

        output: heatmaps (N, J, h, w), or joints (N, J, 3); matrices: of the crops, (2, 3) or (N, 2, 3)
        """
        if self.gives == "joints":
            if not np.isfinite(output).all():
                raise DeviceError(
                    "joints hold NaN or infinity",
                    fix="check the model's weights and its input; such an output has no joints",
                )
            crop_xy = output[..., :2].copy()
            return crop_xy, heatmap_to_image_xy(crop_xy, matrices, 1.0), output[..., 2].copy()
        xy, score = self.codec.decode(output)
        hw = (output.shape[2], output.shape[3])
        return self.codec.crop_xy(xy, hw), self.codec.image_xy(xy, matrices, hw), score


def load_contract(folder: str, *, verify: bool = True) -> Contract:
    """Read `folder`/artifact.json; with `verify`, every file must be what it says."""
    return _load(folder, lambda manifest: [manifest], verify=verify)[0]


def load_sizes(folder: str) -> List[Contract]:
    """For one person at a time, a contract for each crop size, to choose from with `choose_size`.

    Whole-pose graphs where artifact.json lists them, else heatmaps; the main file alone where it lists
    no variants. Every file of theirs must be what it says.
    """
    return _load(folder, _sizes, verify=True)


def _sizes(manifest: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The manifest as if each of those variants were the main one."""
    variants = [v for v in manifest.get("variants", ()) if v["batch"] == 1]
    whole = [v for v in variants if v["gives"] == "joints"]
    return [_as_variant(manifest, v) for v in whole or variants] or [manifest]


def _as_variant(manifest: Dict[str, Any], variant: Dict[str, Any]) -> Dict[str, Any]:
    """Its files are those whose roles end as its model's does, see manifest.VariantContract."""
    ends = {v["role"][len("model") :] for v in manifest["variants"]}
    suffix = variant["role"][len("model") :]
    files = []
    for entry in manifest["files"]:
        role = entry["role"]
        if max((end for end in ends if role.endswith(end)), key=len, default="") == suffix:
            files.append({**entry, "role": role[: len(role) - len(suffix)]})
    return {
        **manifest,
        "input": variant["input"],
        "output": variant["output"],
        "preprocessing": {**manifest["preprocessing"], "where": variant["where"]},
        "files": files,
    }


def _load(
    folder: str, parts: Callable[[Dict[str, Any]], List[Dict[str, Any]]], *, verify: bool
) -> List[Contract]:
    path = os.path.join(folder, MANIFEST_NAME)
    try:
        with open(path, "rb") as stream:
            manifest = json.loads(stream.read().decode("utf-8"))
    except OSError as error:
        raise DeviceError(
            "cannot read {}: {}".format(path, error.strerror),
            fix="give a folder that edgepose exported",
        ) from error
    except ValueError as error:
        raise DeviceError("{} is not JSON: {}".format(path, error), fix=_AGAIN) from error
    try:
        return [_contract(folder, part, verify=verify) for part in parts(manifest)]
    except KeyError as error:
        raise DeviceError("{} lacks {}".format(path, error), fix=_AGAIN) from error
    except (TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise DeviceError("{} cannot be read: {}".format(path, error), fix=_AGAIN) from error


def _contract(folder: str, manifest: Dict[str, Any], *, verify: bool) -> Contract:
    if manifest["schema_version"] != 1:
        raise DeviceError(
            "artifact.json has schema version {!r}; this runner reads 1".format(
                manifest["schema_version"]
            ),
            fix=_AGAIN,
        )
    root = os.path.realpath(folder)
    files: Dict[str, str] = {}
    for entry in manifest["files"]:
        path = os.path.join(folder, entry["path"])
        inside = os.path.normpath(os.path.join(root, entry["path"])).startswith(root + os.sep)
        if not inside or not os.path.isfile(path):
            raise DeviceError("{} is missing or outside the artifact".format(path), fix=_AGAIN)
        if verify and sha256_file(path) != entry["sha256"]:
            raise DeviceError("{} is not the file that was exported".format(path), fix=_AGAIN)
        files[entry["role"]] = path
    port, pre, codec = manifest["input"], manifest["preprocessing"], manifest["codec"]
    coding = check_coding(codec.get("coding", "standard"))
    if codec["rule"] != RULES[coding]:
        raise DeviceError("this runner cannot decode by {!r}".format(codec["rule"]), fix=_AGAIN)
    sides = {axis: port["shape"][i] for i, axis in enumerate(port["layout"])}
    batch = port["shape"][0]
    sizes = (sides["H"], sides["W"], codec["stride"])
    scales = (*pre["std"], codec["sigma"], manifest["crop"]["padding"])
    if not all(1 <= size <= MAX_SIDE for size in sizes) or not all(0 < s <= 255 for s in scales):
        raise DeviceError(
            "artifact.json has sizes {} and scales {}".format(sizes, scales), fix=_AGAIN
        )
    return Contract(
        name=manifest["name"],
        runtime=manifest["runtime"],
        precision=manifest["precision"],
        input_name=port["name"],
        output_name=manifest["output"]["name"],
        input_hw=(int(sides["H"]), int(sides["W"])),
        fixed_batch=batch if isinstance(batch, int) else None,
        joints=int(manifest["output"]["shape"][1]),
        mean=tuple(pre["mean"]),
        std=tuple(pre["std"]),
        color=pre["color"],
        codec=HeatmapCodec(int(codec["stride"]), float(codec["sigma"]), coding),
        padding=float(manifest["crop"]["padding"]),
        files=files,
        uncounted=tuple(manifest.get("skeleton", {}).get("uncounted", ())),
        gives="joints" if manifest["output"]["layout"] == JOINTS_LAYOUT else "heatmaps",
        where=str(pre["where"]),
    )
