"""TensorBoard's event files.

A process that goes on with a run writes a file of its own, which begins with a mark of the step where it goes on (SessionLog
START): readers drop what an earlier file has from that step on. So nothing stands twice.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ganrun.ground.registry import register
from ganrun.ground.spell import shown
from ganrun.trackers.base import About, Entry, Tracker, as_text


@register("tracker", "tensorboard")
class TensorBoard(Tracker):
    """Scalars, pictures and the config, as torch's SummaryWriter writes them, without torch."""

    needs = ("tensorboard",)
    extra = "tensorboard"

    def __init__(self, *, dir: str | None = None, wait: float = 30.0) -> None:
        super().__init__(wait=wait)
        self.dir = dir

    def open(self, about: About) -> tuple[str, str]:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        if self.dir is None:
            folder = about.folder / "trackers" / "tensorboard"
        else:
            folder = Path(os.path.expanduser(self.dir)).absolute() / about.group / about.name
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))
        if about.held is None:
            self._add(0, None, Summary(value=[self._text("config", _table(about))]))
        else:
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(step=about.sent + 1, session_log=start))
        self._writer.flush()
        return str(about.held or folder.name), f"tensorboard --logdir {shown(folder)}"

    def log(self, entry: Entry) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in entry.values.items()]
        values += [self._picture(name, path) for name, path in entry.pictures.items()]
        self._add(entry.step, entry.time, self._summary(value=values))

    def flush(self) -> None:
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()

    def _add(self, step: int, time: float | None, summary: Any) -> None:
        event = self._event(step=step, summary=summary)
        if time is not None:
            event.wall_time = time
        self._writer.add_event(event)

    def _picture(self, name: str, path: Path) -> Any:
        from PIL import Image

        with Image.open(path) as picture:
            width, height, channels = picture.width, picture.height, len(picture.getbands())
        encoded = path.read_bytes()
        image = self._summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encoded)
        return self._summary.Value(tag=name, image=image)

    def _text(self, name: str, text: str) -> Any:
        from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        held = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape)
        return self._summary.Value(tag=name, metadata=about, tensor=held)


def _table(about: About) -> str:
    """The config as a Markdown table."""
    rows = [f"| {key} | {value} |" for key, value in as_text(about.settings())]
    return "\n".join(["| key | value |", "|---|---|", *rows])
