"""`edgepose eval --predictions`: published figures from public formats; what is broken is named."""

import io
import json
import pickle
from contextlib import redirect_stdout
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgepose.cli import main
from edgepose.skeleton import LSP14, MPII16

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MPII = SHARED / "mpii-pckh"
PEOPLE = SHARED / "real-people" / "person_keypoints.json"
needs_mpii = pytest.mark.skipif(not MPII.is_dir(), reason=f"no MPII ground truth at {MPII}")
needs_people = pytest.mark.skipif(not PEOPLE.is_file(), reason=f"no COCO labels at {PEOPLE}")
GROUPS = {
    "Head": 95.805, "Sho": 94.565, "Elb": 88.120, "Wri": 83.312,
    "Hip": 86.238, "Kne": 80.879, "Ank": 77.445,
}  # fmt: skip
SHORT = ["rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head",
         "rwri", "relb", "rsho", "lsho", "lelb", "lwri"]  # fmt: skip


def run(predictions, truth, *words):
    files = ["--predictions", str(predictions), "--ground-truth", str(truth)]
    return CliRunner().invoke(main, ["eval", *files, *words])


def scores(predictions, truth, *words):
    result = run(predictions, truth, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def mpii():
    truth, found = (np.load(MPII / name) for name in ("mpii_valid_gt.npz", "hg_s2_b1_preds.npz"))
    return {**truth, "preds": found["xy"]}


@needs_mpii
def test_every_expected_figure():
    found = scores(MPII / "hg_s2_b1_preds.npz", MPII / "mpii_valid_gt.npz")
    assert found["persons"] == 2958
    assert found["coordinate_base"] == {"predictions": 1, "ground_truth": 1, "added_px": 0}
    tables = found["conventions"]
    assert list(tables) == ["hrnet", "pytorch-pose", "mmpose"]
    near = {"abs": 1e-3}
    for table in tables.values():
        assert table["pckh@0.5"]["groups"] == pytest.approx(GROUPS, **near)
    means = {name: table["pckh@0.5"]["mean"] for name, table in tables.items()}
    assert means == pytest.approx(
        {"hrnet": 87.299, "pytorch-pose": 86.757, "mmpose": 87.299}, **near
    )
    assert tables["hrnet"]["pckh@0.1"]["mean"] == pytest.approx(23.914, **near)
    assert tables["hrnet"]["printed_as_0.1"] == {"threshold": 0.11, "mean": 28.082}
    assert tables["mmpose"]["printed_as_0.1"]["threshold"] == 0.10
    curve = tables["hrnet"]["curve"]
    assert len(curve["thresholds"]) == 51
    assert [curve["mean"][i] for i in (0, 10, 11, 50)] == pytest.approx(
        [0, 23.914, 28.082, 87.299], **near
    )
    assert [values[50] for values in curve["groups"].values()] == pytest.approx(
        list(GROUPS.values()), **near
    )


@needs_mpii
def test_the_text_says_what_was_compared_and_fits():
    result = run(MPII / "hg_s2_b1_preds.npz", MPII / "mpii_valid_gt.npz")
    assert "predictions are 1-based, ground truth is 1-based: nothing added" in result.output
    for part in ("87.299", "86.757", "28.082  threshold 0.11", "2,958 people"):
        assert part in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    one = run(MPII / "hg_s2_b1_preds.npz", MPII / "mpii_valid_gt.npz", "--convention", "mmpose")
    assert "pytorch-pose" not in one.output


@needs_mpii
def test_the_coordinate_base_is_an_option(mpii, tmp_path):
    np.savez(tmp_path / "zero.npz", preds=mpii["preds"] - 1)
    truth = MPII / "mpii_valid_gt.npz"
    told = scores(tmp_path / "zero.npz", truth, "--coordinate-base", "0")
    assert told["coordinate_base"]["added_px"] == 1
    assert told["conventions"]["hrnet"]["pckh@0.5"]["mean"] == pytest.approx(87.299, abs=1e-3)
    untold = scores(tmp_path / "zero.npz", truth)["conventions"]["hrnet"]
    assert abs(untold["pckh@0.5"]["mean"] - 87.299) > 0.01
    assert "+1 px added" in run(tmp_path / "zero.npz", truth, "--coordinate-base", "0").output


@needs_mpii
def test_matlab_and_hdf5_say_the_same(mpii, tmp_path):
    """The files of HRNet and pytorch-pose, the hourglass's predictions, MATLAB's old and new format."""
    names = np.empty((1, 16), dtype=object)
    names[0] = SHORT
    truth = {
        "pos_gt_src": mpii["xy"].transpose(1, 2, 0),
        "jnt_missing": mpii["missing"].T.astype(np.uint8),
        "headboxes_src": mpii["headbox"].transpose(1, 2, 0),
    }
    scipy.io.savemat(tmp_path / "gt_valid.mat", {**truth, "dataset_joints": names})
    scipy.io.savemat(tmp_path / "preds_valid.mat", {"preds": mpii["preds"]})
    with h5py.File(tmp_path / "preds.h5", "w") as file:
        file["preds"] = mpii["preds"]
    with h5py.File(tmp_path / "valid.h5", "w") as file:
        for name in ("xy", "missing", "headbox"):
            file[name] = mpii[name]
        file["joint_names"] = SHORT
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        for name, array in truth.items():
            file[name] = array.T
    pairs = [("preds_valid.mat", "gt_valid.mat"), ("preds.h5", "valid.h5"), ("preds.h5", "new.mat")]
    for predictions, labels in pairs:
        found = scores(tmp_path / predictions, tmp_path / labels, "--convention", "pytorch-pose")
        table = found["conventions"]["pytorch-pose"]["pckh@0.5"]
        assert table["mean"] == pytest.approx(86.757, abs=1e-3), labels
        assert table["groups"] == pytest.approx(GROUPS, abs=1e-3), labels


def test_mmposes_unit_test_vector(tmp_path):
    """Two people, five joints, the third missing, sizes of 10 px; then sizes of 0."""
    pred, true = np.zeros((2, 5, 2)), np.zeros((2, 5, 2))
    pred[0] = [(10, 0), (20, 20), (0, 0), (30, 30), (0, 10)]
    true[0] = [(10, 0), (10, 10), (-1, 0), (30, 30), (0, 10)]
    labels = {
        "xy": true, "missing": np.tile([False, False, True, False, False], (2, 1)),
        "headbox": np.tile([[[0, 0], [10, 40 / 3]]], (2, 1, 1)),
        "joint_names": np.array(list("abcde")),
    }  # fmt: skip
    np.savez(tmp_path / "p.npz", preds=pred)
    np.savez(tmp_path / "t.npz", **labels)
    row = scores(tmp_path / "p.npz", tmp_path / "t.npz")["conventions"]["mmpose"]["pckh@0.5"]
    assert row["per_joint"] == {"a": 100, "b": 50, "c": None, "d": 100, "e": 100}
    assert row["mean"] == 87.5
    assert row["groups"] == {}
    shown = run(tmp_path / "p.npz", tmp_path / "t.npz").output
    assert "87.500" in shown
    assert max(map(len, shown.splitlines())) <= 88
    np.savez(tmp_path / "t.npz", **{**labels, "headbox": np.zeros((2, 2, 2))})
    nobody = run(tmp_path / "p.npz", tmp_path / "t.npz")
    assert nobody.exit_code == 2
    assert "no person of 2 has a head size" in nobody.output


@pytest.mark.parametrize("extended", [False, True])
def test_lsp_is_scored_by_a_fifth_of_the_torso(tmp_path, extended):
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 100, (20, 14, 2))
    pred = true + rng.normal(size=true.shape) * 8
    joints = np.concatenate([true, np.ones((20, 14, 1))], axis=2)
    joints = joints.transpose(1, 2, 0) if extended else joints.transpose(2, 1, 0)
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints})
    scipy.io.savemat(tmp_path / "preds.mat", {"preds": pred})
    found = scores(tmp_path / "preds.mat", tmp_path / "joints.mat")
    assert found["metric"] == "pck"
    at = {name: j for j, name in enumerate(LSP14.joints)}
    torso = np.linalg.norm(true[:, at["left_shoulder"]] - true[:, at["right_hip"]], axis=1)
    right = np.linalg.norm(pred - true, axis=2) <= 0.2 * torso[:, None]
    table = found["conventions"]["hrnet"]["pck@0.2"]
    assert table["mean"] == pytest.approx(100 * right.mean(), abs=1e-3)
    head = right[:, [at["upper_neck"], at["head_top"]]]
    assert table["groups"]["Head"] == pytest.approx(100 * head.mean(), abs=1e-3)
    other = scores(tmp_path / "preds.mat", tmp_path / "joints.mat", "--metric", "pckh_head_segment")
    segment = np.linalg.norm(true[:, at["head_top"]] - true[:, at["upper_neck"]], axis=1)
    right = np.linalg.norm(pred - true, axis=2) <= 0.5 * segment[:, None]
    table = other["conventions"]["hrnet"]["pckh_head_segment@0.5"]
    assert table["mean"] == pytest.approx(100 * right.mean(), abs=1e-3)


def coco_results(noise):
    labels = json.loads(PEOPLE.read_text())
    rng = np.random.default_rng(0)
    results = []
    for entry in labels["annotations"]:
        if entry["num_keypoints"] and not entry["iscrowd"]:
            points = np.array(entry["keypoints"], float).reshape(17, 3)
            points[:, :2] += rng.normal(size=(17, 2)) * noise * np.sqrt(entry["area"])
            results.append({"image_id": entry["image_id"], "category_id": 1,
                            "keypoints": points.ravel().tolist(), "score": rng.random()})  # fmt: skip
    return results


@needs_people
@pytest.mark.parametrize("noise", [0, 0.04, 0.1])
def test_coco_files_score_what_the_package_says(tmp_path, noise):
    (tmp_path / "r.json").write_text(json.dumps(coco_results(noise)))
    found = scores(tmp_path / "r.json", PEOPLE)
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(PEOPLE))
        theirs = COCOeval(truth, truth.loadRes(str(tmp_path / "r.json")), "keypoints")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    expected = [None if v < 0 else pytest.approx(100 * v, abs=1e-3) for v in theirs.stats]
    assert list(found["coco"].values()) == expected
    assert found["coco"]["AP"] == 100 if noise == 0 else 5 < found["coco"]["AP"] < 95
    assert found["ci95"]["AP"][0] <= found["coco"]["AP"] <= found["ci95"]["AP"][1]
    shown = run(tmp_path / "r.json", PEOPLE).output
    assert "predictions are 0-based, ground truth is 0-based" in shown
    assert max(map(len, shown.splitlines())) <= 80


@needs_people
@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda r: r.clear(), "holds no results"),
        (lambda r: r[3].update(keypoints=[1.0] * 50), "result 3 needs 51 finite"),
        (lambda r: r[3]["keypoints"].__setitem__(4, float("nan")), "result 3 needs 51 finite"),
        (lambda r: r[0].update(image_id=1), "image 1, which the ground truth does not list"),
        (lambda r: r[0].update(category_id=2), "category 2, not 1"),
        (lambda r: r[0].pop("score"), "result 0 needs a finite score"),
    ],
)
def test_broken_coco_results_are_named(tmp_path, spoil, part):
    results = coco_results(0)
    spoil(results)
    (tmp_path / "r.json").write_text(json.dumps(results))
    result = run(tmp_path / "r.json", PEOPLE)
    assert result.exit_code == 2, result.output
    assert part in result.output


@needs_people
def test_a_skeleton_that_coco_has_no_sigmas_for_is_refused(tmp_path):
    labels = json.loads(PEOPLE.read_text())
    labels["categories"][0]["keypoints"][0] = "snout"
    (tmp_path / "dogs.json").write_text(json.dumps(labels))
    (tmp_path / "r.json").write_text(json.dumps(coco_results(0)))
    result = run(tmp_path / "r.json", tmp_path / "dogs.json")
    assert result.exit_code == 2
    assert "no OKS sigma for snout" in result.output


class Evil:
    def __reduce__(self):
        return print, ("it ran",)


def pickled(path):
    np.savez(path, xy=np.array([Evil()], dtype=object))


TRUE = {
    "xy": np.ones((3, 16, 2)),
    "missing": np.zeros((3, 16), bool),
    "headbox": np.tile([[0.0, 0], [9, 9]], (3, 1, 1)),
    "joint_names": np.array(MPII16.joints),
}


@pytest.mark.parametrize(
    ("write", "parts"),
    [
        (lambda p: np.savez(p, xy=np.ones((3, 16))), ["shape (3, 16), not (people, joints, 2)"]),
        (lambda p: np.savez(p, xy=np.ones((3, 16, 4))), ["(3, 16, 4)"]),
        (lambda p: np.savez(p, joints=np.ones(3)), ["no predictions", "among joints"]),
        (lambda p: np.savez(p, xy=np.full((3, 16, 2), np.nan)), ["48 predicted joints are NaN"]),
        (lambda p: np.savez(p, xy=np.ones((2, 16, 2))), ["2 people", "3"]),
        (lambda p: np.savez(p, xy=np.ones((3, 14, 2))), ["14 joints", "16"]),
        (lambda p: np.savez(p, xy=np.array([["a"]])), ["not numbers"]),
        (pickled, ["pickled Python objects"]),
        (lambda p: p.write_bytes(pickle.dumps(Evil())), ["cannot be read"]),
        (lambda p: p.write_bytes(b"PK\x03\x04 cut"), ["cannot be read"]),
        (lambda p: None, ["no file at"]),
    ],
)
def test_bad_prediction_files(tmp_path, write, parts):
    np.savez(tmp_path / "truth.npz", **TRUE)
    write(tmp_path / "p.npz")
    result = run(tmp_path / "p.npz", tmp_path / "truth.npz")
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    assert "it ran" not in result.output
    for part in parts:
        assert part in result.output


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"xy": None}, "is no known ground truth"),
        ({"joint_names": None}, "does not name its 16 joints"),
        ({"joint_names": np.array(["head"] * 16)}, "names a joint twice"),
        ({"headbox": np.ones((2, 2, 2))}, "headbox has shape (2, 2, 2)"),
        ({"missing": np.ones((3, 16), bool)}, "no joint is labelled"),
        ({"xy": np.full((3, 16, 2), np.nan)}, "48 labelled joints are NaN"),
        ({"missing": np.zeros((3, 15), bool)}, "missing has shape (3, 15)"),
    ],
)
def test_bad_ground_truth(tmp_path, change, part):
    labels = {k: v for k, v in {**TRUE, **change}.items() if v is not None}
    np.savez(tmp_path / "truth.npz", **labels)
    np.savez(tmp_path / "p.npz", xy=np.ones((3, 16, 2)))
    result = run(tmp_path / "p.npz", tmp_path / "truth.npz")
    assert result.exit_code == 2, result.output
    assert part in result.output


@pytest.mark.parametrize("suffix", [".mat", ".h5", ".json", ".txt"])
def test_a_damaged_file_of_any_format(tmp_path, suffix):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"neither this nor that")
    labels = path if suffix == ".json" else tmp_path / "t.npz"
    np.savez(tmp_path / "t.npz", **TRUE)
    result = run(path, labels)
    assert result.exit_code == 2, result.output
    assert "fix:" in result.output
    assert path.name in result.output


def test_kinds_and_options_that_do_not_go_together(tmp_path):
    np.savez(tmp_path / "t.npz", **TRUE)
    (tmp_path / "r.json").write_text("[]")
    assert "are of two kinds" in run(tmp_path / "r.json", tmp_path / "t.npz").output
    coco = run(tmp_path / "r.json", tmp_path / "r.json", "--convention", "hrnet")
    assert coco.exit_code == 2
    assert "scored by OKS" in coco.output
    alone = CliRunner().invoke(main, ["eval", "--predictions", str(tmp_path / "t.npz")])
    assert alone.exit_code == 2
    assert "both --predictions and --ground-truth" in alone.output
    model = CliRunner().invoke(main, ["eval", "model", "--coordinate-base", "1"])
    assert model.exit_code == 2
    assert "belong to --predictions" in model.output
    np.savez(tmp_path / "p.npz", xy=np.ones((3, 16, 2)))
    ap = run(tmp_path / "p.npz", tmp_path / "t.npz", "--metric", "oks_ap")
    assert ap.exit_code == 2
    assert "COCO's sigmas" in ap.output
