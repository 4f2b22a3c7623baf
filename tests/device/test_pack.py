"""The evaluation pack comes back as it went, without pickle, and nothing else is taken for one."""

import io

import numpy as np
import pytest

from edgepose.device.errors import DeviceError
from edgepose.device.pack import Pack, pack_bytes, read_pack


def make(people=3):
    rng = np.random.default_rng(1)
    return Pack(
        crops=rng.integers(0, 256, (people, 8, 6, 3), dtype=np.uint8),
        matrices=rng.normal(size=(people, 2, 3)),
        true_xy=rng.normal(size=(people, 5, 2)).astype(np.float32),
        annotated=rng.random((people, 5)) < 0.5,
        head_px=np.array([10.0, np.nan, 3.0], np.float32)[:people],
    )


def test_there_and_back(tmp_path):
    pack = make()
    (tmp_path / "pack").write_bytes(pack_bytes(pack))
    back = read_pack(str(tmp_path / "pack"))
    for name, array in vars(pack).items():
        np.testing.assert_array_equal(getattr(back, name), array)
        assert getattr(back, name).dtype == array.dtype
    assert pack_bytes(pack) == pack_bytes(make())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "pack"
    stream = io.BytesIO()
    np.savez(stream, crops=np.array([{"a": 1}], dtype=object))
    whole = pack_bytes(make())
    old = io.BytesIO()
    with np.load(io.BytesIO(whole)) as arrays:
        np.savez(old, **{**arrays, "version": np.array(99)})
    for data in (b"", b"hello", stream.getvalue(), whole[:-40], old.getvalue()):
        path.write_bytes(data)
        with pytest.raises(DeviceError, match="evaluation pack"):
            read_pack(str(path))
    with pytest.raises(DeviceError, match="evaluation pack"):
        read_pack(str(tmp_path / "absent"))
