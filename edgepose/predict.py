"""Joints of people on photographs: boxes in, joints and pictures with skeletons out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.data.images import read_image
from edgepose.device.codec import HeatmapCodec
from edgepose.device.files import write_atomic
from edgepose.device.geometry import box_to_crop, crop_matrix, region_wh, resampler
from edgepose.errors import EdgeposeError
from edgepose.evaluation import Runs
from edgepose.report.overlay import draw_skeletons, png_bytes
from edgepose.skeleton import Skeleton, skeleton

if TYPE_CHECKING:
    from edgepose.models.pose_model import ModelSpec

BATCH = 16
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Contract:
    """How a model wants its crops and how its heatmaps are read.

    padding: the longer side of a box times this is the side of the square crop
    """

    input_hw: tuple[int, int]
    codec: HeatmapCodec
    skeleton: Skeleton
    padding: float = 1.25

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> Contract:
        m = artifact.manifest
        return cls(
            artifact.input_hw, m.codec.to_codec(), m.skeleton.to_skeleton(), padding=m.crop.padding
        )

    @classmethod
    def of_spec(cls, spec: ModelSpec) -> Contract:
        named = skeleton(spec.skeleton)
        if spec.num_joints != named.num_joints:
            raise EdgeposeError(
                f"the model gives {spec.num_joints} heatmaps, its skeleton {named.name} has "
                f"{named.num_joints} joints",
                fix="use the model.json that was written with these weights",
            )
        return cls(spec.input_hw, spec.codec, named)


@dataclass(frozen=True)
class Photo:
    """An image and the people in it. boxes_xywh: (K, 4) image pixels; image_id as COCO has it."""

    name: str
    image_id: int | str
    image: NDArray[np.uint8]
    boxes_xywh: NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """One person. joints_xy (J, 2) float32 image pixels, 0-based; scores (J,): heatmap maxima."""

    image: str
    image_id: int | str
    box_xywh: NDArray[np.float64]
    joints_xy: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def score(self) -> float:
        """Mean of the joints' confidences."""
        return float(self.scores.mean())


def predict_images(
    executor: Runs,
    contract: Contract,
    photos: Iterable[Photo],
    *,
    flip: bool = False,
    report: Report | None = None,
) -> list[Prediction]:
    """Joints of every box of every photo, in order.

    flip: also run each crop's mirror image and average the heatmaps (twice the work)
    """
    resample, _ = resampler()
    size_wh, codec = (contract.input_hw[1], contract.input_hw[0]), contract.codec
    jobs = [(photo, box) for photo in photos for box in photo.boxes_xywh]
    found: list[Prediction] = []
    for start in range(0, len(jobs), BATCH):
        chunk = jobs[start : start + BATCH]
        matrices = np.stack([_box_matrix(box, contract, size_wh) for _, box in chunk])
        crops = np.stack(
            [resample(photo.image, m, contract.input_hw)
             for (photo, _), m in zip(chunk, matrices, strict=True)]
        )  # fmt: skip
        heatmaps = executor.run(crops)
        _check_joints(heatmaps, contract)
        if flip:
            mirrored = executor.run(np.ascontiguousarray(crops[:, :, ::-1]))
            heatmaps = codec.flip_average(heatmaps, mirrored, contract.skeleton.flip_index)
        xy, scores = codec.decode(heatmaps)
        joints = codec.image_xy(xy, matrices, (heatmaps.shape[2], heatmaps.shape[3]))
        found += [
            Prediction(photo.name, photo.image_id, box, joints[i], scores[i])
            for i, (photo, box) in enumerate(chunk)
        ]
        if report is not None:
            report("predict", len(found), len(jobs))
    return found


def _box_matrix(
    box_xywh: NDArray[np.float64], contract: Contract, size_wh: tuple[int, int]
) -> NDArray[np.float64]:
    """Image pixels -> crop pixels, by the rule that scoring uses."""
    center, size = box_to_crop(box_xywh, padding=contract.padding)
    square = size_wh[0] == size_wh[1]
    region = (size, size) if square else region_wh(box_xywh[2:], size, size_wh)
    return crop_matrix(center, region, size_wh, alignment=contract.codec.alignment)


def _check_joints(heatmaps: NDArray[np.float32], contract: Contract) -> None:
    if heatmaps.shape[1] != contract.skeleton.num_joints:
        raise EdgeposeError(
            f"the model gives {heatmaps.shape[1]} heatmaps, its skeleton "
            f"{contract.skeleton.name} has {contract.skeleton.num_joints} joints",
            fix="use the artifact with the artifact.json that was exported with it",
        )


def open_photos(
    paths: Sequence[Path],
    *,
    coco_json: Path | None = None,
    box_xywh: Sequence[float] | None = None,
) -> list[Photo]:
    """Read images and find their boxes: in a COCO file by file name, one given box, or the whole
    image. Images that the file knows but gives no person come with no box."""
    if coco_json is not None and box_xywh is not None:
        raise EdgeposeError(
            "boxes from a file and a box were both given", fix="give one of --boxes and --box"
        )
    known = read_boxes(coco_json) if coco_json is not None else None
    photos = []
    for path in paths:
        image = read_image(Path(path))
        height, width = image.shape[:2]
        image_id: int | str = Path(path).stem
        if known is not None:
            entry = known.get(Path(path).name)
            if entry is None:
                raise EdgeposeError(
                    f"{coco_json} does not list the image {Path(path).name}",
                    fix="use the json that belongs to the image, or --box x,y,w,h",
                )
            image_id, boxes = entry
        elif box_xywh is not None:
            boxes = np.array([box_xywh], dtype=np.float64)
            _check_box(boxes[0], path, width, height)
        else:
            boxes = np.array([[0, 0, width, height]], dtype=np.float64)
        photos.append(Photo(str(path), image_id, image, boxes))
    return photos


def read_boxes(path: Path) -> dict[str, tuple[int | str, NDArray[np.float64]]]:
    """{file name: (image id, (K, 4) boxes)} of the people in a COCO json; keypoints not needed.

    Crowds, other categories than "person" and boxes without area are left out.
    """
    try:
        content: Any = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise EdgeposeError(
            f"cannot read {path}: {error.strerror or error}", fix="check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise EdgeposeError(f"{path} is not JSON: {error}", fix="give a COCO json") from error
    try:
        categories = content.get("categories", [])
        people = {c["id"] for c in categories if c.get("name") == "person"}
        images = {i["id"]: PurePosixPath(str(i["file_name"])).name for i in content["images"]}
        boxes: dict[int | str, list[list[float]]] = {identity: [] for identity in images}
        for annotation in content["annotations"]:
            box = [float(v) for v in annotation["bbox"]]
            is_person = not people or annotation.get("category_id") in people
            usable = len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) > 0
            if is_person and usable and not annotation.get("iscrowd"):
                boxes[annotation["image_id"]].append(box)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EdgeposeError(
            f"{path} is not a COCO annotation file ({type(error).__name__}: {error})",
            fix="it needs images (id, file_name) and annotations (image_id, bbox)",
        ) from error
    return {
        name: (identity, np.array(boxes[identity], dtype=np.float64).reshape(-1, 4))
        for identity, name in images.items()
    }


def parse_box(text: str) -> tuple[float, float, float, float]:
    """ "x,y,w,h" in pixels; EdgeposeError for anything else."""
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError as error:
        raise EdgeposeError(f"not a box: {text!r}", fix="write --box x,y,width,height") from error
    if not all(map(math.isfinite, (x, y, w, h))) or min(w, h) <= 0:
        raise EdgeposeError(
            f"the box {text!r} has no area", fix="give a width and a height above zero"
        )
    return x, y, w, h


def _check_box(box: NDArray[np.float64], path: Path, width: int, height: int) -> None:
    x, y, w, h = box
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise EdgeposeError(
            f"the box {x:g},{y:g},{w:g},{h:g} lies outside {path} ({width} x {height} pixels)",
            fix="give x,y,width,height in pixels of this image",
        )


def draw(
    image: NDArray[np.uint8],
    predictions: Sequence[Prediction],
    skeleton: Skeleton,
    *,
    threshold: float = 0.2,
) -> NDArray[np.uint8]:
    """A copy of the image with everyone's skeleton; joints below `threshold` are not drawn."""
    return draw_skeletons(
        image,
        [p.joints_xy for p in predictions],
        [p.scores for p in predictions],
        skeleton,
        threshold=threshold,
    )


def coco_results(
    predictions: Sequence[Prediction], skeleton: Skeleton, *, as_skeleton: Skeleton | None = None
) -> list[dict[str, Any]]:
    """COCO results format: image_id, category_id, keypoints [x, y, score, ...], score, bbox.

    as_skeleton: list the joints in this skeleton's order, by name; joints that the model does not
                 have are 0, 0, 0. Without it, in the model's own order.
    """
    target = as_skeleton or skeleton
    results = []
    for p in predictions:
        keypoints: list[float] = []
        for name in target.joints:
            if name in skeleton.joints:
                j = skeleton.joints.index(name)
                values = (*p.joints_xy[j], p.scores[j])
                keypoints += [round(float(v), 4) for v in values]
            else:
                keypoints += [0.0, 0.0, 0.0]
        results.append(
            {
                "image_id": p.image_id,
                "category_id": 1,
                "keypoints": keypoints,
                "score": round(p.score, 5),
                "bbox": [round(float(v), 3) for v in p.box_xywh],
                "skeleton": target.name,
            }
        )
    return results


def write_predictions(
    folder: Path, photos: Sequence[Photo], predictions: Sequence[Prediction], skeleton: Skeleton
) -> list[Path]:
    """One PNG per photo with its skeletons, and predictions.json in COCO's results format."""
    written: list[Path] = []
    for photo in photos:
        people = [p for p in predictions if p.image == photo.name]
        stem, again = Path(photo.name).stem, 2
        path = Path(folder) / f"{stem}.png"
        while path in written:  # images of one name from several folders
            path = Path(folder) / f"{stem}-{again}.png"
            again += 1
        write_atomic(path, png_bytes(draw(photo.image, people, skeleton)))
        written.append(path)
    results = json.dumps(coco_results(predictions, skeleton), indent=1)
    write_atomic(Path(folder) / "predictions.json", results.encode() + b"\n")
    return [*written, Path(folder) / "predictions.json"]
