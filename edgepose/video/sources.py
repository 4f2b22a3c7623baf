"""What the user names, opened: pictures, folders of them, video files and cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgepose.data.images import IMAGE_SUFFIXES, read_image
from edgepose.errors import EdgeposeError
from edgepose.video.camera import Camera
from edgepose.video.frames import Frame, Source
from edgepose.video.video_file import VIDEO_SUFFIXES, VideoFile


class Pictures:
    """Image files, one frame each; a file that cannot be read ends it."""

    moving, live, fps = False, False, 0.0

    def __init__(self, paths: Sequence[Path], *, name: str) -> None:
        self.paths, self.name, self.count = list(paths), name, len(paths)

    def frames(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            yield Frame(str(path), index, 0.0, read_image(path))


def open_sources(paths: Sequence[Path], *, camera: int | None = None) -> list[Source]:
    """Pictures (those of all folders and files together, in the order given), then videos, then the
    camera. EdgeposeError where something is not there, is of another kind or cannot be opened."""
    pictures: list[Path] = []
    videos: list[Source] = []
    for path in paths:
        kind = path.suffix.lower()
        if path.is_dir():
            pictures += _pictures_in(path)
        elif not path.exists():
            raise EdgeposeError(
                f"there is nothing at {path}", fix="check the path and its spelling"
            )
        elif kind in VIDEO_SUFFIXES:
            videos.append(VideoFile(path))
        elif kind in IMAGE_SUFFIXES:
            pictures.append(path)
        else:
            raise EdgeposeError(
                f"{path} is neither a picture nor a video, by its name",
                fix=f"pictures end in {', '.join(IMAGE_SUFFIXES)}; "
                f"videos in {', '.join(VIDEO_SUFFIXES)}",
            )
    sources: list[Source] = [*videos]
    if pictures:
        name = str(pictures[0]) if len(pictures) == 1 else f"{len(pictures)} pictures"
        sources.insert(0, Pictures(pictures, name=name))
    if camera is not None:
        sources.append(Camera(camera))
    if not sources:
        raise EdgeposeError(
            "nothing to look at was given",
            fix="name pictures, folders or videos, or add --camera 0",
        )
    return sources


def _pictures_in(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if found:
        return found
    films = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    raise EdgeposeError(
        f"{folder} holds no images",
        fix=f"name its videos one by one, e.g. {folder / films[0]}"
        if films
        else f"add pictures ({', '.join(IMAGE_SUFFIXES)}); its subfolders are not looked into",
    )
