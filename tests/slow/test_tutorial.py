"""The tutorial's commands, from the page, run one after the other on own labels and an own checkpoint.

Sizes are smaller than on the page: crops of 64x64, a narrow network, a few steps. Its heatmaps are noise, so
the export may find that artifacts differ (`allow_mismatch`). Nothing else is changed.
"""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edgepose.cli import main
from edgepose.data import synthetic
from edgepose.models import build
from edgepose.models.widths import fit_widths
from edgepose.skeleton import COCO17, shared_joints

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PEOPLE = 48
SMALLER = {  # on the page -> here
    "--input 256x192": "--input 64x64",
    "[256, 192]": "[64, 64]",
    "size_mb: 5.0": "size_mb: 0.3",
    "max_drop: 2.0": "max_drop: 90.0",
    "steps: 20000": "steps: 2",
    "steps: 2000": "steps: 2",
    "batch_size: 32": "batch_size: 4, mixed_precision: 'no'",
    "[onnx-android]}": "[onnx-android], allow_mismatch: true}",  # untrained heatmaps are noise
}


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.split(line) for line in lines if line.strip()]


BLOCKS = [Block(*found) for found in BLOCK.findall(PAGE.read_text())]
RUN = [b for b in BLOCKS if b.language == "bash" and not b.title.startswith("needs")]
COMMANDS = [command for block in RUN for command in block.commands]


def smaller(text: str) -> str:
    for there, here in SMALLER.items():
        text = text.replace(there, here)
    return re.sub(r"^( +)(batch_size: 4), (.*)$", r"\1\2\n\1\3", text, flags=re.MULTILINE)


def own_checkpoint(path: Path) -> None:
    """A PoseResNet with an eighth of the channels and 17 joints, as its authors' code would save it."""
    torch.manual_seed(0)
    network = build("resnet18", num_joints=17)
    shapes = {
        key: torch.Size(
            n // 8 if d < 2 and n % 16 == 0 and n > 16 else n for d, n in enumerate(value.shape)
        )
        for key, value in network.state_dict().items()
    }
    network = fit_widths(network, shapes)
    with torch.no_grad():  # a training's weights, as far as their size goes
        for key, value in network.state_dict().items():
            if value.ndim == 4:
                value.copy_(torch.randn(value.shape) * (2 / value[0].numel()) ** 0.5)
            elif value.ndim == 1:
                value.fill_(float(key.endswith(("weight", "running_var"))))
    torch.save(network.state_dict(), path)


def own_labels(folder: Path) -> None:
    """labels.json and images/: rendered people with COCO's joints, the face left out."""
    people = synthetic.open_split(synthetic.Config(train=PEOPLE, val=1, frame_px=96), "train")
    theirs, ours, _ = shared_joints(people.skeleton, COCO17)
    images, annotations = [], []
    (folder / "images").mkdir()
    for i in range(PEOPLE):
        person = people[i]
        name = f"{i:03}.png"
        cv2.imwrite(str(folder / "images" / name), np.ascontiguousarray(person.image[..., ::-1]))
        height, width = person.image.shape[:2]
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        keypoints = np.zeros((17, 3))
        seen = person.annotated[list(theirs)]
        keypoints[list(ours), :2] = person.joints_xy[list(theirs)] * seen[:, None]
        keypoints[list(ours), 2] = 2 * seen
        box = [float(v) for v in person.box_xywh]
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": box,
             "area": box[2] * box[3], "keypoints": keypoints.ravel().tolist(),
             "num_keypoints": int(seen.sum())}
        )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "labels.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A newcomer's folder, in which every command of the page has been run, in order."""
    home = tmp_path_factory.mktemp("newcomer")
    own_checkpoint(home / "my.pth")
    own_labels(home)
    for block in BLOCKS:
        if block.language == "yaml":
            (home / block.title).write_text(smaller(block.text))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("EDGEPOSE_CACHE", str(home / "cache"))
        for command in COMMANDS:
            program, *words = shlex.split(smaller(shlex.join(command)))
            assert program == "edgepose"
            if "--post-training" in words:
                words += ["--set", "stages.export.allow_mismatch=true"]
                words += ["--set", "stages.quantize.people=8"]
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}"
        yield home


def test_the_page_has_what_a_newcomer_needs() -> None:
    names = [command[1] for command in COMMANDS]
    assert names[0] == "doctor"
    assert names[-1] == "bundle"
    assert {"data", "eval", "compress", "report", "lint", "bench"} <= set(names)
    assert sum("--post-training" in command for command in COMMANDS) == 1
    assert [b.title for b in BLOCKS if b.language == "yaml"] == ["pose.yaml"]
    text = PAGE.read_text()
    for there in SMALLER:
        assert there in text, f"{there} is not on the page any more"


def test_what_needs_a_phone_is_at_least_a_command() -> None:
    (block,) = (b for b in BLOCKS if b.title == "needs a phone")
    for _, name, *words in block.commands:
        context = main.commands[name].make_context(
            name, words, parent=click.Context(main, **main.context_settings)
        )
        assert context.params


def test_the_zip_holds_the_network_its_contract_and_a_sample(folder: Path) -> None:
    with zipfile.ZipFile(folder / "pose-android.zip") as bundle:
        names = bundle.namelist()
        contract = json.loads(bundle.read(next(n for n in names if n.endswith("artifact.json"))))
    assert any(name.endswith("model.ort") for name in names)
    assert any(name.endswith(".kt") for name in names)
    assert contract["target"] == "onnx-android"
    assert contract["precision"] == "int8"
    assert contract["skeleton"]["joints"] == list(COCO17.joints)
    assert contract["input"]["shape"][1:3] == [64, 64] or 64 in contract["input"]["shape"]


def test_both_ways_left_a_finished_run(folder: Path) -> None:
    long, short = (
        json.loads((folder / "reports" / name / "latest" / "report.json").read_text())
        for name in ("pose", "my-int8")
    )
    assert [row["name"] for row in long["stages"]] == [
        "teacher",
        "student",
        "prune",
        "qat",
        "quantize",
    ]
    assert [row["name"] for row in short["stages"]] == ["student", "quantize"]
    (small,), (wide,) = long["artifacts"], short["artifacts"]
    assert small["size_bytes"] <= 300_000
    assert small["params"] < wide["params"]
    assert long["metric"] == "oks_ap"
    assert (folder / "people.png").stat().st_size > 1000
