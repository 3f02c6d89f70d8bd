"""What shows a job on its way: a bar of tqdm (`pip install gpupool[progress]`), or any function
of its events."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from gpupool.messages import JobState
from gpupool.pending import LinkLost, LinkRestored
from gpupool.questions import JobEvent
from gpupool.track import Event


class Bar:
    """A bar for one job: its steps while it runs, and in words where it is. Options are tqdm's.

    ModuleNotFoundError without tqdm. Close it, or use it in a `with`.
    """

    def __init__(self, **options: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "a bar needs tqdm: pip install 'gpupool[progress]'", name="tqdm"
            ) from None
        self._bar = tqdm(**{"unit": "step", **options})

    def __call__(self, event: Event) -> None:
        """Shows the event."""
        self._bar.set_description_str(words_of(event), refresh=False)
        if isinstance(event, JobEvent) and event.state is JobState.running and event.of_steps:
            self._bar.total = event.of_steps
            self._bar.n = event.step
        self._bar.refresh()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


Progress = bool | Callable[[Event], None]


class Showing:
    """What `progress=` means: nothing, a bar that closes at the end, or the caller's function."""

    def __init__(self, progress: Progress) -> None:
        self._bar = Bar() if progress is True else None
        self.show: Callable[[Event], None] | None = self._bar
        if callable(progress):
            self.show = progress

    def close(self) -> None:
        if self._bar:
            self._bar.close()


def words_of(event: Event) -> str:
    """One line for people: `"job 3 running: step 11 of 30 on node-1"`."""
    if isinstance(event, LinkLost):
        return f"the pool at {event.endpoint} was lost ({event.reason}); asking again"
    if isinstance(event, LinkRestored):
        return f"connected again, to {event.endpoint}"
    text = f"job {event.job} {event.state.name}"
    if event.state is JobState.queued:
        text += f": position {event.position}" if event.position else ": waiting"
        if event.promise:
            text += f", promised by {event.promise}"
    elif event.state is JobState.starting:
        text += ": loading"
    elif event.state is JobState.running:
        text += f": step {event.step} of {event.of_steps}" if event.of_steps else ": the first step"
    if event.node:
        text += f" on {event.node}"
    return f"{text}; {event.notice}" if event.notice else text
