"""The file name is the registry: words are listed from a folder, and a word imports its file."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from edgepose.errors import EdgeposeError

PACKAGE = Path(__file__).resolve().parent


class Words(Mapping[str, type[BaseModel]]):
    """word -> its file's `Config`, for every file of a room that defines the given function.

    Listing the words imports nothing; looking one up imports its file, errors and all.
    """

    def __init__(self, room: str, *, function: str) -> None:
        self.room = room
        defines = re.compile(rf"^def {function}\(", re.MULTILINE)
        self.names = tuple(
            file.stem
            for file in sorted((PACKAGE / room).glob("[a-z]*.py"))
            if defines.search(file.read_text(encoding="utf-8"))
        )

    def module(self, word: str) -> Any:
        """The module behind a word."""
        if word not in self.names:
            raise KeyError(word)
        return importlib.import_module(f"edgepose.{self.room}.{word}")

    def __getitem__(self, word: str) -> type[BaseModel]:
        config: type[BaseModel] = self.module(word).Config
        return config

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def stages() -> Words:
    """The stage words of a recipe."""
    return Words("stages", function="run")


def sources() -> Words:
    """The data source words of a recipe."""
    return Words("data", function="open_split")


def backend(runtime: str) -> Any:
    """The file of edgepose/backends that runs artifacts of `runtime`; EdgeposeError where none does."""
    words = Words("backends", function="open_executor")
    if runtime not in words.names:
        raise EdgeposeError(
            f"artifact.json says runtime {runtime!r}, which this edgepose does not know",
            fix=f"give an artifact for {', '.join(words.names)}",
        )
    return words.module(runtime)
