"""The few calls of the CUDA runtime that are needed, through ctypes: no wheel has to be there."""

from __future__ import annotations

import ctypes
from typing import Any, List, Optional, Tuple

from .errors import DeviceError

LIBRARIES = (
    "libcudart.so",
    "libcudart.so.11.0",
    "libcudart.so.12",
    "libcudart.so.13",
    "libcudart.so.10.2",
    "/usr/local/cuda/lib64/libcudart.so",
)
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, -Minor
_MULTIPROCESSORS = 16  # cudaDevAttrMultiProcessorCount
_NAME_BYTES = 256  # cudaDeviceProp begins with char name[256]
_PROPERTIES_BYTES = 8192  # more than any version of the struct


def _load() -> Any:
    tried: List[str] = []
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            tried.append(name)
    raise DeviceError(
        "the CUDA runtime was not found: tried {}".format(", ".join(tried)),
        fix="install CUDA's runtime library, or put its folder into LD_LIBRARY_PATH",
    )


class Cuda:
    """One stream on the current GPU. Memory stays until `close`; nothing is set on the GPU.

    library: the loaded libcudart; a test gives its own
    """

    def __init__(self, library: Any = None) -> None:
        self._lib = _load() if library is None else library
        self._device: List[ctypes.c_void_p] = []
        self._pinned: List[ctypes.c_void_p] = []
        self._lib.cudaGetErrorString.restype = ctypes.c_char_p
        self.stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(self.stream))

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._lib, name)(*arguments))
        if code != 0:
            said = self._lib.cudaGetErrorString(code)
            text = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
            raise DeviceError(
                "{} failed on the board: {} (CUDA error {})".format(name, text, code),
                fix="free the GPU's memory of other programs"
                if code == 2
                else "check that the GPU is visible to this user, e.g. with deviceQuery",
            )

    def malloc(self, size_bytes: int) -> int:
        """Address of memory on the GPU."""
        pointer = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size_bytes))
        self._device.append(pointer)
        return int(pointer.value or 0)

    def pinned(self, size_bytes: int) -> Any:
        """Page-locked memory of the host as a ctypes array: what copies run from asynchronously."""
        pointer = ctypes.c_void_p()
        self._call("cudaMallocHost", ctypes.byref(pointer), ctypes.c_size_t(size_bytes))
        self._pinned.append(pointer)
        return (ctypes.c_uint8 * size_bytes).from_address(int(pointer.value or 0))

    def to_device(self, device: int, host: int, size_bytes: int) -> None:
        """Queue a copy; it has happened after `synchronise`."""
        self._copy(device, host, size_bytes, _TO_DEVICE)

    def to_host(self, host: int, device: int, size_bytes: int) -> None:
        """Queue a copy; it has happened after `synchronise`."""
        self._copy(host, device, size_bytes, _TO_HOST)

    def _copy(self, target: int, source: int, size_bytes: int, kind: int) -> None:
        self._call(
            "cudaMemcpyAsync", ctypes.c_void_p(target), ctypes.c_void_p(source),
            ctypes.c_size_t(size_bytes), ctypes.c_int(kind), self.stream,
        )  # fmt: skip

    def synchronise(self) -> None:
        """Wait until everything that was queued has happened."""
        self._call("cudaStreamSynchronize", self.stream)

    def gpu(self) -> Tuple[str, Tuple[int, int]]:
        """The GPU's name and compute capability."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, ctypes.c_int(0))
        name = properties.raw[:_NAME_BYTES].split(b"\0")[0].decode("ascii", "replace")
        return name, (self._attribute(_MAJOR), self._attribute(_MINOR))

    def multiprocessors(self) -> int:
        """Xavier and Xavier NX have one name and one capability; these tell them apart."""
        return self._attribute(_MULTIPROCESSORS)

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._call(
            "cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(which), ctypes.c_int(0)
        )
        return int(value.value)

    def version(self) -> str:
        """Of the runtime library, e.g. "11.4"."""
        value = ctypes.c_int()
        self._call("cudaRuntimeGetVersion", ctypes.byref(value))
        return "{}.{}".format(value.value // 1000, value.value % 1000 // 10)

    def used_bytes(self) -> Optional[int]:
        """GPU memory in use by all programs (a Jetson's is the board's own memory)."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return int(total.value - free.value)

    def close(self) -> None:
        """Give everything back; to be called once, after the last use of the memory."""
        for name, pointers in (("cudaFree", self._device), ("cudaFreeHost", self._pinned)):
            while pointers:
                self._call(name, pointers.pop())
        if self.stream.value is not None:
            self._call("cudaStreamDestroy", self.stream)
            self.stream = ctypes.c_void_p()
