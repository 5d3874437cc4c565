"""Makes the picture of a job larger: by the same steps as ``basicsr upscale``, and views of it for the browser."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from torch.overrides import TorchFunctionMode

from ..inference import files, sources
from ..inference.metadata import origin
from ..utils.errors import UserError
from .limits import Refused
from .networks import Networks, shown
from .views import make_views
from .work import Job, Stopped

TELLING = 64 * 64  # pixels of an image from which the time for it tells of others'


class _AskBeforeEachOperation(TorchFunctionMode):
    """Ends the computing of this thread, in the middle of an image too, once a job is to stop."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.job.stop.is_set():
            raise Stopped
        return func(*args, **(kwargs or {}))


def upscale(job: Job, networks: Networks) -> None:
    """Makes ``job.result`` and ``job.views``.

    Raises:
        Stopped: it was stopped.
        Refused: the picture or the model is such that it cannot be done; the message is the library's.
    """
    with _named_for_the_visitor(job), _AskBeforeEachOperation(job):
        ready = networks.load(job.settings)
        model, settings = ready.model, job.settings
        # an animation stays one, unless it is asked to become what holds one image, which is then said
        format = None if settings.format == "png" else settings.format
        plan = sources.plan([str(job.source)], f"{job.folder / 'result'}/", format, None, "")
        [target] = plan.jobs
        job.expected = target.pixels * ready.seconds_per_pixel
        wish = files.Wish(
            channels=model.channels,
            scale=None if settings.scale == model.scale else settings.scale,
            origin=origin(model.name, settings.scale, settings.denoise) if settings.metadata else None,
        )

        def progress(share: float) -> None:
            job.share = share
            if job.stop.is_set():
                raise Stopped

        began = time.monotonic()
        watch = files.Watch(progress, lambda line: job.notes.append(shown(job.source, job.name, line)))
        outcome = files.upscale_files([ready.upscaler], plan.jobs, wish, watch)
        if outcome.bad:
            raise Refused(422, "picture", message=shown(job.source, job.name, outcome.bad[0]))
        if target.pixels >= TELLING:
            ready.seconds_per_pixel = (time.monotonic() - began) / target.pixels
        if job.stop.is_set():
            raise Stopped
        job.views = make_views(job.source, target.target, job.size, job.folder)
        job.bytes = sum(file.stat().st_size for file in job.folder.rglob("*") if file.is_file())
        job.result, job.share = target.target, 1.0


@contextlib.contextmanager
def _named_for_the_visitor(job: Job) -> Iterator[None]:
    """What a user can mend is told to the visitor, without paths of this machine."""
    try:
        yield
    except UserError as error:
        raise Refused(422, "picture", message=shown(job.source, job.name, str(error))) from error
