"""A job of an `AsyncPool`, and how one is submitted: `gpupool.job` for asyncio."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import TypeVar

from gpupool import errors, limits, requests
from gpupool.engine import Engine
from gpupool.job import NAME_S_MAX, JobView
from gpupool.messages import JobRequest, Receipt
from gpupool.progress import Progress, Showing
from gpupool.questions import ClientSubmit, JobDone, LogChunk, ResultChunk
from gpupool.results import Finished, ResultReader, write_whole
from gpupool.track import Event, Track, outcome_of

Answer = TypeVar("Answer")

# Before Python 3.11 asyncio.run() lets Ctrl-C out wherever the task is.
ENDS_OF_A_TASK = (asyncio.CancelledError, KeyboardInterrupt)
ENDS_OF_A_WAIT = (*ENDS_OF_A_TASK, Exception)


async def answer_of(future: Future[Answer]) -> Answer:
    """What an engine's future comes to. Cancelling the task only ends the wait."""
    return await asyncio.wrap_future(future)


class AsyncJob(JobView):
    """As `gpupool.Job`. Cancelling a task that waits leaves the job as it is."""

    async def events(self) -> AsyncIterator[Event]:
        """Every event, from the oldest that is kept (1,000) to the last one before the receipt."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(changed.set)
            except RuntimeError:
                pass  # the loop has ended, and nobody waits

        self._track.listen(tell)
        try:
            place, is_over = 0, False
            while not is_over:
                changed.clear()
                events, place, is_over = self._track.since(place)
                for event in events:
                    yield event
                if not events and not is_over:
                    await changed.wait()
        finally:
            self._track.unlisten(tell)

    async def wait(self, *, progress: Progress = False) -> JobDone:
        """The receipt and the balance after it, however the job ended. NotConnected for a pool
        that was lost for too long."""
        showing = Showing(progress)
        try:
            if showing.show:
                async for event in self.events():
                    showing.show(event)
            return await answer_of(self._track.done)
        finally:
            showing.close()

    async def receipt(self) -> Receipt:
        """Waits for the job's end."""
        return (await self.wait()).receipt

    async def result(
        self, *, progress: Progress = False, bytes_max: int = limits.RESULT_BYTES_MAX
    ) -> bytes:
        """Waits for the job's end and fetches what it made. Errors as `gpupool.Job.result()`."""
        return (await self.finish(progress=progress, bytes_max=bytes_max)).content

    async def finish(
        self, *, progress: Progress = False, bytes_max: int = limits.RESULT_BYTES_MAX
    ) -> Finished:
        """The same as `result()`, with receipt and balance. An app that makes nothing: no bytes."""
        done = outcome_of(await self.wait(progress=progress))
        if not done.receipt.result.hash:
            return Finished(b"", done.receipt, done.balance)
        reader = ResultReader(done.receipt, bytes_max)
        while question := reader.question():
            reader.take(await answer_of(self._engine.ask(question, ResultChunk)))
        return Finished(reader.whole(), done.receipt, done.balance)

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result to a file, which is there whole or not at all."""
        content = await self.result()
        await asyncio.to_thread(write_whole, path, content)

    async def cancel(self) -> JobDone:
        """Cancels the job and waits for its receipt."""
        return await answer_of(self._engine.cancel(self.number))

    async def log(self, offset: int = 0) -> LogChunk:
        """What the run wrote, from that byte on; of a running job what there is. ResultGone."""
        ask = requests.logs(self.number, offset)
        return ask.read(await answer_of(self._engine.ask(ask.message, ask.kind)))

    async def preview(self) -> bytes | None:
        """The picture that the running job draws, as it forms: a PNG. None: there is none, yet or
        any more."""
        ask = requests.preview(self.number)
        return ask.read(await answer_of(self._engine.ask(ask.message, ask.kind)))

    async def cancel_for_task(self) -> None:
        """For a task that ends and has no handle to give: cancels the job, as far as the pool can
        be reached."""
        try:
            taken = asyncio.wrap_future(self._track.taken)
            await asyncio.wait_for(taken, NAME_S_MAX)
            await self.cancel()
        except (errors.PoolError, asyncio.TimeoutError):
            pass


async def submit_async(engine: Engine, body: JobRequest, request: uuid.UUID | None) -> AsyncJob:
    """Waits until the pool has admitted or refused it. Cancelling the task meanwhile cancels the
    job, unless it is detached."""
    track = Track(request or requests.draw_request_id(), 0)
    job = AsyncJob(engine, track)
    try:
        engine.follow(ClientSubmit(request=track.request, body=body), track.tell)
        await answer_of(track.taken)
    except ENDS_OF_A_TASK:
        if not body.detached:
            await job.cancel_for_task()
        raise
    return job
