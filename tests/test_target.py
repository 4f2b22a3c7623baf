"""Targets: strict YAML, and the built-in ones say what their devices take."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from edgepose.errors import EdgeposeError
from edgepose.strict_files import builtin_folder
from edgepose.target import (
    TRANSPORT_PATTERN,
    Target,
    TargetName,
    list_runtimes,
    list_targets,
    load_target,
)

RUNTIMES = ("coreml", "onnx_mobile", "tensorrt")
BUILT_IN = {
    "coreml-ios15",
    "coreml-ios16",
    "coreml-ios17",
    "host",
    "jetson-xavier",
    "jetson-xavier-fp16",
    "onnx-android",
}


def load(path: Path | str, *overrides: str) -> Target:
    return load_target(path, overrides=overrides, runtimes=RUNTIMES)


def test_the_built_in_targets_are_discovered_and_load() -> None:
    assert set(list_targets()) >= BUILT_IN
    for file in builtin_folder("targets").glob("*.yaml"):
        target = load(file.stem)
        assert target.name == file.stem
        assert target.description
        assert load(file) == target


def test_the_built_in_targets_say_what_was_agreed() -> None:
    xavier, iphone = load("jetson-xavier"), load("coreml-ios17")
    assert (xavier.runtime, xavier.precision, xavier.opset) == ("tensorrt", "int8", 17)
    assert (xavier.channel_multiple.int8, xavier.channel_multiple.fp16) == (32, 8)
    assert xavier.hardware is not None
    assert xavier.hardware.bandwidth_gb_s == 136.5
    assert (iphone.runtime, iphone.precisions) == ("coreml", ("int8", "fp16"))
    assert iphone.minimum_os == "iOS17"
    assert iphone.opset is None
    assert load("onnx-android").runtime == load("host").runtime == "onnx_mobile"
    assert load("host").device == "local"
    assert load("onnx-android").device is None


def test_runtimes_are_the_backends_that_emit() -> None:
    """Listed without importing: every word is a file, and no helper file is one."""
    folder = Path(builtin_folder("targets")).parent / "edgepose" / "backends"
    for word in list_runtimes():
        assert "emit" in (folder / f"{word}.py").read_text(encoding="utf-8")
    assert "executor" not in list_runtimes()
    assert "__init__" not in list_runtimes()


def test_a_new_device_is_one_file_that_extends_another(tmp_path: Path) -> None:
    path = tmp_path / "my-xavier.yaml"
    path.write_text("version: 1\nextends: jetson-xavier\ndevice: ssh://nvidia@10.0.0.7:22\n")
    mine = load(path)
    assert (mine.name, mine.device) == ("my-xavier", "ssh://nvidia@10.0.0.7:22")
    assert mine.hardware == load("jetson-xavier").hardware
    assert load("jetson-xavier", "device=ssh://nvidia@10.0.0.7:22").device == mine.device


def test_all_errors_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.yaml").write_text(
        "version: 1\nname: my target\nruntime: tensort\nprecision: int4\nopsett: 17\n"
        "minimum_os: 17\nchannel_multiple: {int8: 0}\ndevice: ssh://-oProxyCommand=ls\n"
        "hardware: {int8_tops: 22}\nsize_limit_mb: big\n"
    )
    with pytest.raises(EdgeposeError) as error:
        load("t.yaml")
    assert error.value.problem.splitlines() == [
        "target t.yaml has 9 errors",
        "  t.yaml:2: name: the text 'my target' is no name; use letters, digits, '.', '_' and '-'",
        "  t.yaml:3: runtime: unknown runtime 'tensort' (did you mean 'tensorrt'?)",
        "  t.yaml:4: precision: expected one of 'int8', 'fp16', 'fp32', got the text 'int4' "
        "(did you mean 'int8'?)",
        "  t.yaml:5: opsett: unknown key (did you mean 'opset'?)",
        "  t.yaml:6: minimum_os: expected text, got 17",
        "  t.yaml:7: channel_multiple.int8: must be at least 1, got 0",
        "  t.yaml:8: device: the text 'ssh://-oProxyCommand=ls' is no transport; "
        "write local, ssh://user@host, ssh://user@host:22, adb, adb:SERIAL or iphone",
        "  t.yaml:9: hardware.source: missing",
        "  t.yaml:10: size_limit_mb: expected a number, got the text 'big'",
    ]


@pytest.mark.parametrize("text", ["version: 1\n", "version: 1\nprecision: int8\n"])
def test_required_keys_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(EdgeposeError, match=r"t\.yaml:1: runtime: missing"):
        load(tmp_path / "t.yaml")


def test_a_precision_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("version: 1\nruntime: coreml\nprecision: int8\nextra_precisions: [int8]\n")
    with pytest.raises(EdgeposeError, match="names a precision twice"):
        load(path)


def test_unknown_targets_are_answered_with_the_nearest() -> None:
    with pytest.raises(EdgeposeError) as error:
        load("jetson-xaver")
    assert str(error.value) == "no target 'jetson-xaver'\n  fix: did you mean jetson-xavier?"
    with pytest.raises(
        EdgeposeError, match="host, jetson-orin, jetson-xavier, jetson-xavier-fp16, onnx-android"
    ):
        load("zzz")


def test_target_names_in_a_stage_config() -> None:
    class Export(BaseModel):
        targets: tuple[TargetName, ...]

    assert Export(targets=("host", "mine.yaml")).targets == ("host", "mine.yaml")
    with pytest.raises(ValidationError, match="did you mean 'host'"):
        Export(targets=("hots",))


@given(st.text(max_size=20) | st.from_regex(r"(ssh://|adb:).*"))
@settings(max_examples=200, deadline=None)
def test_no_part_of_a_transport_can_be_an_option_or_hold_a_space(text: str) -> None:
    if TRANSPORT_PATTERN.fullmatch(text):
        assert not any(char.isspace() or char in "'\"$`;|&<>\\" for char in text)
        parts = text.replace("://", " ").replace("@", " ").replace(":", " ").split()
        assert not any(part.startswith("-") for part in parts)
