"""What a prediction is: how a model wants its crops, a person's joints, COCO's results format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.device.codec import HeatmapCodec
from edgepose.device.geometry import box_to_crop, crop_matrix, region_wh
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton, skeleton

if TYPE_CHECKING:
    from edgepose.models.pose_model import ModelSpec


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
class Prediction:
    """One person. joints_xy (J, 2) float32 image pixels, 0-based; scores (J,): heatmap maxima;
    track: the person's number in a video; time_s: of the frame."""

    image: str
    image_id: int | str
    box_xywh: NDArray[np.float64]
    joints_xy: NDArray[np.float32]
    scores: NDArray[np.float32]
    track: int | None = None
    time_s: float | None = None

    @property
    def score(self) -> float:
        """Mean of the joints' confidences."""
        return float(self.scores.mean())


def box_matrix(box_xywh: NDArray[np.float64], contract: Contract) -> NDArray[np.float64]:
    """(2, 3) from image pixels to the contract's crop pixels, by the rule that scoring uses."""
    size_wh = (contract.input_hw[1], contract.input_hw[0])
    center, size = box_to_crop(box_xywh, padding=contract.padding)
    square = size_wh[0] == size_wh[1]
    region = (size, size) if square else region_wh(box_xywh[2:], size, size_wh)
    return crop_matrix(center, region, size_wh, alignment=contract.codec.alignment)


def check_joints(heatmaps: NDArray[np.float32], contract: Contract) -> None:
    """EdgeposeError where there is not one heatmap for each joint."""
    if heatmaps.shape[1] != contract.skeleton.num_joints:
        raise EdgeposeError(
            f"the model gives {heatmaps.shape[1]} heatmaps, its skeleton "
            f"{contract.skeleton.name} has {contract.skeleton.num_joints} joints",
            fix="use the artifact with the artifact.json that was exported with it",
        )


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


def coco_results(
    predictions: Sequence[Prediction], skeleton: Skeleton, *, as_skeleton: Skeleton | None = None
) -> list[dict[str, Any]]:
    """COCO results format: image_id, category_id, keypoints [x, y, score, ...], score, bbox.

    as_skeleton: list the joints in this skeleton's order, by name; joints that the model does not
                 have are 0, 0, 0. Without it, in the model's own order.
    """
    target = as_skeleton or skeleton
    results: list[dict[str, Any]] = []
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
        if p.track is not None:
            results[-1]["track_id"] = p.track
        if p.time_s is not None:
            results[-1]["time_s"] = round(p.time_s, 4)
    return results
