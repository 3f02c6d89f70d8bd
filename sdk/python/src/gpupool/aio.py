"""The same pool and jobs for asyncio: what waits is awaited, and means what it means in
`gpupool.Pool`.

The connection has a thread of its own here too, so a loop that something blocks loses no place in a
queue.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from gpupool import errors, requests
from gpupool.aio_job import ENDS_OF_A_WAIT, AsyncJob, answer_of, submit_async
from gpupool.aio_lease import AsyncLease
from gpupool.engine import Engine
from gpupool.lease import wish_of
from gpupool.messages import Caller, Change, Happening, Receipt, Table, UsageDay
from gpupool.overview import Overview
from gpupool.progress import Progress, ensure_shows
from gpupool.questions import ClientWatch, JobEvent, QuotaAnswer, QuoteAnswer, SessionWelcome
from gpupool.requests import Ask
from gpupool.results import Finished, Picture
from gpupool.settings import options_of
from gpupool.track import Track
from gpupool.values import NO_REQUEST

Made = TypeVar("Made")


class AsyncPool:
    """As `gpupool.Pool`: `async with AsyncPool() as pool:`, or `connect()` and `close()`."""

    def __init__(
        self,
        endpoint: str | Sequence[str] | None = None,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        server_key: str | None = None,
        connect_timeout_s: float | None = None,
        answer_timeout_s: float | None = None,
        reconnect_for_s: float | None = None,
        announced: Callable[[str], None] | None = None,
    ) -> None:
        """Reads the settings, as `gpupool.Pool`; connect() connects. FileUnreadable; ValueError."""
        self._options = options_of(
            endpoint=endpoint,
            token=token,
            token_file=token_file,
            server_key=server_key,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s,
            reconnect_for_s=reconnect_for_s,
            announced=announced,
        )
        self._opened: Engine | None = None

    async def connect(self) -> None:
        """Connects, and waits for the welcome. NotConnected, Unauthenticated, VersionMismatch,
        Overloaded, RateLimited: then it may be tried again. RuntimeError if it was connected
        before."""
        if self._opened:
            raise RuntimeError("this pool was connected before")
        self._opened = Engine(self._options)
        try:
            await answer_of(self._opened.welcomed)
        except BaseException:
            engine, self._opened = self._opened, None
            await asyncio.to_thread(engine.close)
            raise

    async def close(self) -> None:
        """Says goodbye. Jobs that run, or are detached, go on."""
        if self._opened:
            await asyncio.to_thread(self._opened.close)

    async def __aenter__(self) -> AsyncPool:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def _engine(self) -> Engine:
        if self._opened is None:
            raise errors.NotConnected("connect() comes first, or async with")
        return self._opened

    @property
    def welcome(self) -> SessionWelcome:
        """The latest one: the pool's name and build, what is announced now."""
        return self._engine.welcome

    @property
    def caller(self) -> Caller:
        """Who this client is to the pool, and how it knows."""
        return self.welcome.caller

    @property
    def endpoint(self) -> str:
        """Where the pool is; of a lost one, the endpoint that is tried now."""
        return self._engine.endpoint

    async def generate(
        self,
        prompt: str,
        *,
        app: str = "emoji",
        steps: int | None = None,
        seed: int | None = None,
        guidance: float | None = None,
        pixels: int | None = None,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        progress: Progress = False,
    ) -> Picture:
        """Makes a picture and waits for it. None: the app's own choice; a seed is drawn."""
        drawn = requests.draw_seed() if seed is None else seed
        finished = await self.run(
            app,
            requests.picture_arguments(prompt, drawn, steps, guidance, pixels),
            duration_s=duration_s,
            size=size,
            max_wait_s=max_wait_s,
            progress=progress,
        )
        return Picture(finished.content, finished.receipt, finished.balance, drawn)

    async def run(
        self,
        app: str,
        arguments: Mapping[str, object] | None = None,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        progress: Progress = False,
    ) -> Finished:
        """Submits a job, waits for its end and fetches what it made. Cancelling the task, as
        Ctrl-C does under asyncio.run(), cancels the job and waits for its receipt; what `progress`
        raises cancels it, too."""
        ensure_shows(progress)
        job = await self.submit(
            app, arguments, duration_s=duration_s, size=size, max_wait_s=max_wait_s
        )
        try:
            return await job.finish(progress=progress)
        except ENDS_OF_A_WAIT:
            if not job.is_done:
                await job.cancel_for_task()
            raise

    async def submit(
        self,
        app: str,
        arguments: Mapping[str, object] | None = None,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        detached: bool = False,
        request: uuid.UUID | None = None,
    ) -> AsyncJob:
        """Submits a job and waits until the pool has admitted or refused it. Cancelling the task
        meanwhile cancels the job, unless it is detached. Arguments and errors as
        `gpupool.Pool.submit()`."""
        body = requests.job_request(
            app,
            arguments,
            duration_s=duration_s,
            size=size,
            max_wait_s=max_wait_s,
            detached=detached,
        )
        return await submit_async(self._engine, body, request)

    def lease(
        self,
        app: str | None = None,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        node_http: str | None = None,
        progress: Progress = False,
    ) -> AsyncLease:
        """Lends a slot to this process for the `async with` block, as `gpupool.Pool.lease()`;
        cancelling the task gives it back."""
        wish = wish_of(
            app,
            duration_s=duration_s,
            size=size,
            max_wait_s=max_wait_s,
            node_http=node_http,
            progress=progress,
        )
        return AsyncLease(self._engine, wish)

    async def watch(self, job: int) -> AsyncJob:
        """Follows a job of one's own account from wherever it is. JobUnknown."""
        track = Track(NO_REQUEST, job)
        self._engine.follow(ClientWatch(job=job), track.tell)
        await answer_of(track.taken)
        return AsyncJob(self._engine, track)

    async def quota(self) -> QuotaAnswer:
        """Who the caller is, and used, held and left of the quota, in milliseconds."""
        return await self._ask(requests.quota())

    async def quote(
        self,
        app: str,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
    ) -> QuoteAnswer:
        """What a request would cost and leave, and when it would start; nothing is submitted."""
        return await self._ask(requests.quote(app, duration_s, size, max_wait_s))

    async def receipts(self, limit: int = 20, *, before: int = 0) -> list[Receipt]:
        """What finished jobs cost, newest first; at most 50."""
        return await self._ask(requests.receipts(limit, before))

    async def jobs(self) -> list[JobEvent]:
        """The account's open jobs, oldest first."""
        return await self._ask(requests.jobs())

    async def explain(self, what: int | uuid.UUID) -> list[Happening]:
        """The story of a job (its number), or of a refused request (its id)."""
        return await self._ask(requests.explain(what))

    async def changes(self, since: datetime | None = None, *, limit: int = 50) -> list[Change]:
        """What was changed, by whom, newest first; at most 200."""
        return await self._ask(requests.changes(since, limit))

    async def usage(self, since: datetime | None = None, *, days: int = 31) -> list[UsageDay]:
        """What was charged day by day (UTC), newest first; at most 400 days."""
        return await self._ask(requests.usage(since, days))

    async def operate(self, *words: str) -> Table:
        """An operator's command, word by word. Forbidden for others."""
        return await self._ask(requests.operate(words))

    async def overview(self) -> Overview:
        """The pool as operators see it, at most a second old. Forbidden for others."""
        return await self._ask(requests.overview())

    async def _ask(self, ask: Ask[Any, Made]) -> Made:
        return ask.read(await answer_of(self._engine.ask(ask.message, ask.kind)))
