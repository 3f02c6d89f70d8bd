"""What shows a job on its way: a bar of tqdm (`pip install gpupool[progress]`), or any function
of its events."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from gpupool.messages import JobState
from gpupool.questions import JobEvent
from gpupool.track import Event


class Bar:
    """A bar for one job: its steps while it runs, and in words where it is. Options are tqdm's.

    ModuleNotFoundError without tqdm. Close it, or use it in a `with`.
    """

    def __init__(self, **options: Any) -> None:
        self._bar = _tqdm()(**{"unit": "step", **options})

    def __call__(self, event: Event) -> None:
        """Shows the event."""
        self._bar.set_description_str(str(event), refresh=False)
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


def ensure_shows(progress: Progress) -> None:
    """Asked before a job is submitted: afterwards it would go on, and nobody would look at it.
    ModuleNotFoundError without tqdm; TypeError for what is neither a truth value nor callable."""
    if progress is True:
        _tqdm()
    elif progress is not False and not callable(progress):
        raise TypeError(f"progress is True, False or a function of an event, not {progress!r}")


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a bar needs tqdm: pip install 'gpupool[progress]'", name="tqdm"
        ) from None
    return tqdm


class Showing:
    """What `progress=` means: nothing, a bar that closes at the end, or the caller's function."""

    def __init__(self, progress: Progress) -> None:
        ensure_shows(progress)
        self._bar = Bar() if progress is True else None
        self.show: Callable[[Event], None] | None = self._bar
        if callable(progress):
            self.show = progress

    def close(self) -> None:
        if self._bar:
            self._bar.close()
