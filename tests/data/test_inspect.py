"""What an inspection counts, draws and finds in two splits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance, ImageOps

from edgepose.cli import main
from edgepose.data import synthetic
from edgepose.data.images import dhash, examine
from edgepose.data.inspect import inspect
from edgepose.data.inspect_sheet import close_up
from edgepose.data.leaks import ALIKE, MIRRORED, SAME, Shot, find_leaks, mirrored
from edgepose.data.spec import open_spec
from edgepose.errors import EdgeposeError

PEOPLE = synthetic.open_split(synthetic.Config(val=6, frame_px=128), "val")


def quiet(what: str, done: int, total: int) -> None:
    assert 0 < done <= total


def shot(path: Path) -> Shot:
    return Shot(path.name, examine(path).dhash, path.read_bytes().hex(), path)


def saved(folder: Path, name: str, image: Image.Image, quality: int = 90) -> Path:
    image.save(folder / name, quality=quality)
    return folder / name


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [
        saved(tmp_path, f"{i}.jpg", Image.fromarray(PEOPLE[i].image)) for i in range(len(PEOPLE))
    ]


def test_copies_are_found_whatever_was_done_to_them(pictures: list[Path], tmp_path: Path) -> None:
    first = Image.open(pictures[0])
    copies = {
        SAME: shutil.copy(pictures[0], tmp_path / "copy.jpg"),
        ALIKE: saved(tmp_path, "small.jpg", first.resize((90, 90)), 40),
        MIRRORED: saved(tmp_path, "mirror.jpg", ImageOps.mirror(first)),
    }
    bright = saved(tmp_path, "bright.jpg", ImageEnhance.Brightness(first).enhance(1.2))
    for kind, path in [*copies.items(), (ALIKE, bright)]:
        train = [shot(p) for p in pictures]
        found = find_leaks({"train": train, "val": [shot(Path(path))]})
        assert found["shared"] == {"train / val": {kind: 1}}
        assert found["leaks"] == [{"kind": kind, "train": "0.jpg", "val": Path(path).name}]


def test_different_pictures_are_no_leak(pictures: list[Path], shared_data: Path) -> None:
    real = [shot(p) for p in sorted((shared_data / "real-people" / "images").glob("*.jpg"))]
    drawn = [shot(p) for p in pictures]
    found = find_leaks({"train": real[:9] + drawn[:3], "val": real[9:] + drawn[3:]})
    assert found == {"shared": {"train / val": {}}, "leak_count": 0, "leaks": []}


def test_pictures_without_contrast_resemble_nothing(tmp_path: Path) -> None:
    flat = [saved(tmp_path, f"{g}.png", Image.new("RGB", (64, 64), (g, g, g))) for g in (9, 99)]
    assert not find_leaks({"train": [shot(flat[0])], "val": [shot(flat[1])]})["leak_count"]


def test_calibration_may_share_with_training(pictures: list[Path]) -> None:
    shots = [shot(p) for p in pictures]
    found = find_leaks({"train": shots, "val": [], "calibration": shots[:2]})
    assert found["shared"]["train / calibration"] == {SAME: 2}
    assert found["leak_count"] == 0


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (27, 24), elements=st.integers(0, 255)))
def test_the_mirrored_hash_is_the_mirrored_pictures(grey: np.ndarray) -> None:
    """Where two cells are equal neither way is darker: those bits are left out."""
    cells = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX), np.int16)
    back = np.asarray(Image.fromarray(grey[:, ::-1]).resize((9, 8), Image.Resampling.BOX), np.int16)
    unequal = cells[:, 1:] != cells[:, :-1]
    if not np.array_equal(back, cells[:, ::-1]):
        return  # rounding in the resampling
    ours = mirrored(np.array([dhash(grey)], np.uint64))[0]
    theirs = np.uint64(dhash(grey[:, ::-1].copy()))
    differ = np.unpackbits(np.array([ours ^ theirs], ">u8").view(np.uint8)).reshape(8, 8)
    assert not (differ.astype(bool) & unequal[:, ::-1]).any()


def test_counts_of_synthetic_people() -> None:
    result = inspect({"val": PEOPLE}, limit=4, progress=quiet)
    facts = result["splits"]["val"]
    samples = [PEOPLE[i] for i in range(4)]
    assert (facts["people"], facts["looked_at"], facts["images"]) == (6, 4, 4)
    assert facts["annotated_joints"]["pelvis"] == sum(int(s.annotated[6]) for s in samples)
    assert facts["box_longer_side_px"]["max"] == pytest.approx(
        max(float(s.box_xywh[2:].max()) for s in samples), abs=1e-3
    )
    assert facts["with_head_size"] == 4
    assert facts["image_longer_side_px"]["p50"] == 128
    json.dumps(result, allow_nan=False)


def coco_world(folder: Path) -> dict[str, Any]:
    (folder / "images").mkdir()
    for i in range(6):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), PEOPLE[i].image)
    points = [v for j in range(2) for v in (30 + 200 * j, 40, 2 - j)]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(6)],
        "annotations": [
            {"id": k, "image_id": k % 6, "category_id": 1, "bbox": [20, 20, 30 + k, 20],
             "keypoints": points} for k in range(8)
        ],
        "categories": [{"id": 1, "name": "dog", "keypoints": ["nose", "tail"]}],
    }  # fmt: skip
    (folder / "a.json").write_text(json.dumps(content))
    return content


RECIPE = """\
version: 1
data: {{source: coco, annotations: a.json, images: images, val_annotations: {val}, flip_pairs: [],
  max_bad_share: {share}}}
student: {{arch: resnet18, input_hw: [32, 32]}}
stages: {{train: {{steps: 1, batch_size: 2}}}}
"""


def run(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_a_recipe_with_a_leak(tmp_path: Path) -> None:
    content = coco_world(tmp_path)
    content["annotations"] = content["annotations"][:1]
    (tmp_path / "val.json").write_text(json.dumps(content))
    (tmp_path / "r.yaml").write_text(RECIPE.format(val="val.json", share=0.01))
    sheet = tmp_path / "s.png"
    result = run("data", "inspect", "--recipe", tmp_path / "r.yaml", "--to", sheet, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["leaks"][0] == {
        "kind": "same file", "train": "images/0.png", "val": "images/0.png",
    }  # fmt: skip
    assert found["shared"]["train / calibration"] == {"same file": 6}
    train = found["splits"]["train"]
    assert (train["people"], train["images"], train["people_per_image"]["max"]) == (8, 6, 2)
    assert train["annotated_joints"] == {"nose": 8, "tail": 8}
    assert train["joints_outside_the_image"] == 8
    assert train["joints_outside_the_crop"] == 8
    assert train["tags"] == {"multi_person": 4, "occluded": 8}
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] == 6 * 264 + 8
    text = run("data", "inspect", "--recipe", tmp_path / "r.yaml", "--to", sheet).output
    assert "LEAKS: 2 validation pictures" in text  # with train, and with calibration


def test_what_was_passed_over_is_told(tmp_path: Path) -> None:
    coco_world(tmp_path)
    (tmp_path / "images" / "5.png").unlink()
    (tmp_path / "r.yaml").write_text(RECIPE.format(val="a.json", share=0.2))
    text = run(
        "data", "inspect", "--recipe", tmp_path / "r.yaml", "--to", tmp_path / "s.png"
    ).output
    assert "UNUSABLE: 1 image missing" in text
    assert "image missing: 5.png" in text
    (tmp_path / "r.yaml").write_text(RECIPE.format(val="a.json", share=0.1))
    refused = run("data", "inspect", "--recipe", tmp_path / "r.yaml", "--to", tmp_path / "t.png")
    assert refused.exit_code == 2
    assert "the limit is 10 %" in refused.output
    assert not (tmp_path / "t.png").exists()


def test_inspect_looks_at_one_thing(tmp_path: Path) -> None:
    for words in ((), ("--recipe", "smoke", "--data", "synthetic")):
        result = run("data", "inspect", *words)
        assert result.exit_code == 2
        assert "either a recipe" in result.output
    with pytest.raises(EdgeposeError, match="cannot read the data set 'mpii:a'"):
        open_spec("mpii:a")


def test_a_folder_by_one_word(pictures: list[Path], tmp_path: Path) -> None:
    sheet = tmp_path / "out" / "s.png"
    result = run("data", "inspect", "--data", f"folder:{tmp_path}", "--to", sheet, "--json")
    facts = json.loads(result.stdout)["splits"]["all"]
    assert (facts["people"], sum(facts["annotated_joints"].values())) == (6, 0)
    assert sheet.is_file()


def test_a_close_up_keeps_joints_on_their_pixels() -> None:
    for i in range(len(PEOPLE)):
        sample = PEOPLE[i]
        near = close_up(sample)
        for at, there in zip(sample.joints_xy, near.joints_xy, strict=True):
            (x, y), (u, v) = np.floor(at).astype(int), np.floor(there).astype(int)
            if (
                0 <= x < 128
                and 0 <= y < 128
                and 0 <= u < near.image.shape[1]
                and 0 <= v < near.image.shape[0]
            ):
                assert np.array_equal(sample.image[y, x], near.image[v, u])
        assert near.image.shape[0] == near.image.shape[1] == round(sample.size_px * 1.15)
