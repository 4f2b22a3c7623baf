"""A video of one rendered person walking on the spot, with the true joints of every frame.

    python benchmarks/moving_people.py OUT.mp4 [--frames 250] [--side 480] [--fps 25] [--seed 3]

Body, clothes, place, light and camera are drawn once, as of the embedded data; legs and arms swing.
Beside the video, OUT.npy: (frames, 16, 2) joints in pixels, MPII's order.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.data.people import props
from edgepose.data.people.arms import put_arm
from edgepose.data.people.background import Stage, draw_background
from edgepose.data.people.banks import banks
from edgepose.data.people.body import build
from edgepose.data.people.camera import Camera
from edgepose.data.people.draws import Draws
from edgepose.data.people.head import add_head
from edgepose.data.people.light import sample_light
from edgepose.data.people.paint import atlas
from edgepose.data.people.raster import composite, render
from edgepose.data.people.skeleton3d import MPII_PLACES, clamp, sample_proportions
from edgepose.data.people.skeleton3d import pose as pose_body
from edgepose.data.people.wardrobe import sample_outfit

WALK_HZ = 0.8


def draw_walk(
    frames: int, *, side: int = 480, fps: float = 25.0, seed: int = 3
) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """(frames of (side, side, 3) RGB, joints (frames, 16, 2) pixels)."""
    d = Draws(seed)
    body = sample_proportions(d)
    outfit = sample_outfit(d, child=body.child, womanly=False, patterns=len(banks().patterns))
    camera = Camera((0.0, 0.9, 0.0), 35.0, 6.0, 0.0, 5.0, 1.9 * side, (side / 2, side / 2))
    light = sample_light(d, camera_azimuth_deg=camera.azimuth_deg, outdoor=True)
    metre_px = camera.focal_px / camera.distance_m
    stage = Stage(
        horizon_y=camera.horizon_y(), floor_y=props.ground_row(camera, 2.0), roll_deg=0.0,
        metre_px=metre_px, ground_y=props.ground_row(camera, 0.0),
    )  # fmt: skip
    place = draw_background(d, stage, side, outdoor=True)
    images, joints = [], []
    for index in range(frames):
        phase = 2 * math.pi * WALK_HZ * index / fps
        angles: dict[str, float] = {"spine_flex": 4.0, "spine_twist": 6.0 * math.cos(phase)}
        for leg, p in (("l", phase), ("r", phase + math.pi)):
            angles[f"{leg}_hip_flex"] = 10 + 26 * math.cos(p)
            angles[f"{leg}_hip_abd"] = 3.0
            angles[f"{leg}_knee"] = 8 + 55 * max(0.0, -math.sin(p + 0.55))
            put_arm(angles, Draws(seed), leg, "swing", amount=-30 * math.cos(p), bend=40.0)
        posed = pose_body(body, clamp(angles))
        mesh = build(posed, outfit)
        add_head(mesh, posed, outfit)
        places, normals = mesh.vertices()
        shift = np.array((0.25 * math.sin(0.4 * phase), -float(places[..., 1].min()), 0.0))
        canvas = place.copy()
        layer = render(mesh, places + shift, normals, camera, light, atlas(outfit), side)
        if layer is not None:
            composite(canvas, layer)
        images.append(canvas)
        there = np.array([posed.places[name] for name in MPII_PLACES]) + shift
        joints.append(camera.project(there)[0])
    return images, np.stack(joints)


def write_video(path: Path, images: list[NDArray[np.uint8]], fps: float) -> None:
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--side", type=int, default=480)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    images, joints = draw_walk(
        options.frames, side=options.side, fps=options.fps, seed=options.seed
    )
    write_video(options.out, images, options.fps)
    np.save(options.out.with_suffix(".npy"), joints)
    print(f"{options.out}: {len(images)} frames of {options.side} x {options.side}")


if __name__ == "__main__":
    main()
