"""Keeps coremltools' chatter off the terminal without hiding its errors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import tqdm  # type: ignore[import-untyped]

# coremltools warns that libcoremlpython is absent (it is macOS-only) and that this torch is newer
# than the one it was tested with; torchao that its CUDA libraries do not load. Known, and harmless:
# what is converted is executed and compared afterwards.
_LOGGERS = ("coremltools", "torchao", "torch.utils._pytree")


@contextmanager
def quiet() -> Iterator[None]:
    """Log records below ERROR, Python warnings and progress bars stay silent inside the block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    bar_init = tqdm.tqdm.__init__

    def no_bar(self: tqdm.tqdm, *args: object, **options: object) -> None:
        bar_init(self, *args, **{**options, "disable": True})

    for logger in loggers:
        logger.setLevel(logging.ERROR)
    tqdm.tqdm.__init__ = no_bar
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.tqdm.__init__ = bar_init
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
