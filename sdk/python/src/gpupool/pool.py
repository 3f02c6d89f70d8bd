"""A connection to a pool, for programs that wait: the asyncio one is `gpupool.AsyncPool`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from gpupool import requests
from gpupool.engine import Engine
from gpupool.job import Job, submit
from gpupool.lease import Lease, wish_of
from gpupool.messages import Caller, Change, Happening, Receipt, Table, UsageDay
from gpupool.overview import Overview
from gpupool.progress import Progress, ensure_shows
from gpupool.questions import (
    ClientWatch,
    JobEvent,
    QuotaAnswer,
    QuoteAnswer,
    SessionWelcome,
)
from gpupool.requests import Ask
from gpupool.results import Finished, Picture
from gpupool.settings import options_of
from gpupool.track import Track
from gpupool.values import NO_REQUEST

Answer = TypeVar("Answer")
Made = TypeVar("Made")


class Pool:
    """One client of a pool. Safe to use from several threads; close it, or use it in a `with`.

    A thread of its own keeps the connection: it notices a lost pool, tries every endpoint with
    growing, jittered pauses, and asks again for everything that has no answer yet, each request
    under its own id, so that nothing runs twice. It does not go through fork().

    All methods raise `gpupool.PoolError`s: Refused and its kinds for what the pool does not admit,
    TimedOut for a question without an answer in time, NotConnected when the pool is gone for good.
    """

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
        """Connects, and waits for the welcome.

        `endpoint`: one, or one for each broker (a list, or a text with commas); else
        GPUPOOL_ENDPOINT, else tcp://127.0.0.1:7400. `token` or `token_file`; else GPUPOOL_TOKEN; ""
        asks as a network address. `server_key`: the pool's public CURVE key, or @FILE; else
        GPUPOOL_SERVER_KEY; "" does not encrypt. Seconds: until the first welcome (3; 10 with
        several endpoints), for one answer (10; 30), for a lost pool to come back (60). `announced`
        gets each text that the operator announces, in the pool's own thread.

        NotConnected, Unauthenticated, VersionMismatch, Overloaded, RateLimited, FileUnreadable;
        ValueError.
        """
        options = options_of(
            endpoint=endpoint,
            token=token,
            token_file=token_file,
            server_key=server_key,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s,
            reconnect_for_s=reconnect_for_s,
            announced=announced,
        )
        self._engine = Engine(options)
        try:
            self._engine.welcomed.result()
        except BaseException:
            self._engine.close()
            raise

    def __repr__(self) -> str:
        return f"<gpupool.Pool {self.endpoint}>"

    def close(self) -> None:
        """Says goodbye. Jobs that run, or are detached, go on; what still waits here ends with
        NotConnected. May be repeated."""
        self._engine.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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

    @property
    def is_gone(self) -> bool:
        """Whether it was closed, or lost for too long: then all it says is NotConnected."""
        return self._engine.has_failed

    # ---- Jobs ------------------------------------------------------------------------------------

    def generate(
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
        """Makes a picture and waits for it. None: the app's own choice; a seed is drawn.

        Otherwise as `run()`.
        """
        drawn = requests.draw_seed() if seed is None else seed
        arguments = requests.picture_arguments(prompt, drawn, steps, guidance, pixels)
        finished = self.run(
            app,
            arguments,
            duration_s=duration_s,
            size=size,
            max_wait_s=max_wait_s,
            progress=progress,
        )
        return Picture(finished.content, finished.receipt, finished.balance, drawn)

    def run(
        self,
        app: str,
        arguments: Mapping[str, object] | None = None,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        progress: Progress = False,
    ) -> Finished:
        """Submits a job, waits for its end and fetches what it made. Arguments as `submit()`,
        errors as `submit()` and `Job.result()`; `progress`: True for a bar, or a function of each
        event.

        Ctrl-C cancels the job, waits for its receipt, and raises KeyboardInterrupt with a note
        of what was charged; a second Ctrl-C leaves the job to itself. What `progress` raises
        cancels it, too.
        """
        ensure_shows(progress)
        job = self.submit(app, arguments, duration_s=duration_s, size=size, max_wait_s=max_wait_s)
        try:
            return job.finish(progress=progress)
        except BaseException as error:
            # Nobody else has its handle.
            if isinstance(error, KeyboardInterrupt) or not job.is_done:
                job.cancel_for(error)
            raise

    def submit(
        self,
        app: str,
        arguments: Mapping[str, object] | None = None,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        detached: bool = False,
        request: uuid.UUID | None = None,
    ) -> Job:
        """Submits a job and waits until the pool has admitted or refused it.

        `arguments`: the app's own, texts and numbers. `duration_s`: how long it may run, in seconds
        (None: the app's default); `size`: None, the app's; `max_wait_s`: refused if a start within
        so many seconds cannot be promised; `detached`: it keeps its place in the queue without this
        client; `request`: an id of one's own (`new_request_id()`), under which the same request can
        be sent again, by any client of the account, within 48 h.

        Refused and its kinds; NotConnected, OutcomeUnknown, TimedOut: the pool may have it. Ctrl-C
        cancels the job, unless it is detached.
        """
        body = requests.job_request(
            app,
            arguments,
            duration_s=duration_s,
            size=size,
            max_wait_s=max_wait_s,
            detached=detached,
        )
        return submit(self._engine, body, request)

    def lease(
        self,
        app: str | None = None,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
        node_http: str | None = None,
        progress: Progress = False,
    ) -> Lease:
        """Lends a slot to this process for the `with` block, once there is one.

        `app`: one with executor = "external" (None: GPUPOOL_APP, then "gpu"). `node_http`: the
        device API of the node that this process runs on, with a prefix of it; else
        GPUPOOL_NODE_HTTP. `progress`: a bar, or a function of each event, while it waits. The
        others as `submit()`.

        In the block CUDA_VISIBLE_DEVICES is the slot's device. Leaving it gives the slot back, and
        pays what was used; by an exception as failed. At the deadline this process is ended
        (SIGKILL) if it is still in the block. What it keeps on the GPU after the block stays there.

        Refused and its kinds; JobExpired, JobCancelled, JobFailed for a lease that was taken back;
        Forbidden, NotConnected, TimedOut of the node; ValueError. Ctrl-C while it waits cancels it.
        """
        wish = wish_of(
            app,
            duration_s=duration_s,
            size=size,
            max_wait_s=max_wait_s,
            node_http=node_http,
            progress=progress,
        )
        return Lease(self._engine, wish)

    def watch(self, job: int) -> Job:
        """Follows a job of one's own account from wherever it is. JobUnknown."""
        track = Track(NO_REQUEST, job)
        self._engine.follow(ClientWatch(job=job), track.tell)
        track.taken.result()
        return Job(self._engine, track)

    # ---- Questions -------------------------------------------------------------------------------

    def quota(self) -> QuotaAnswer:
        """Who the caller is, and used, held and left of the quota, in milliseconds."""
        return self._ask(requests.quota())

    def quote(
        self,
        app: str,
        *,
        duration_s: float | None = None,
        size: str | None = None,
        max_wait_s: float | None = None,
    ) -> QuoteAnswer:
        """What a request would cost and leave, and when it would start; nothing is submitted.
        Refused and its kinds, if it would be."""
        return self._ask(requests.quote(app, duration_s, size, max_wait_s))

    def receipts(self, limit: int = 20, *, before: int = 0) -> list[Receipt]:
        """What finished jobs cost, newest first; at most 50. `before`: the job to go on before."""
        return self._ask(requests.receipts(limit, before))

    def jobs(self) -> list[JobEvent]:
        """The account's open jobs, oldest first."""
        return self._ask(requests.jobs())

    def explain(self, what: int | uuid.UUID) -> list[Happening]:
        """The story of a job (its number), or of a refused request (its id). JobUnknown."""
        return self._ask(requests.explain(what))

    def changes(self, since: datetime | None = None, *, limit: int = 50) -> list[Change]:
        """What was changed, by whom, newest first; at most 200. None: all that is remembered."""
        return self._ask(requests.changes(since, limit))

    def usage(self, since: datetime | None = None, *, days: int = 31) -> list[UsageDay]:
        """What was charged day by day (UTC), newest first; at most 400 days."""
        return self._ask(requests.usage(since, days))

    def operate(self, *words: str) -> Table:
        """An operator's command, word by word: `operate("drain", "node-2")`; `operate("help")`
        lists them. Forbidden for others."""
        return self._ask(requests.operate(words))

    def overview(self) -> Overview:
        """The pool as operators see it: nodes, queue, counts, the last hour and day; at most a
        second old. Forbidden for others."""
        return self._ask(requests.overview())

    def _ask(self, ask: Ask[Answer, Made]) -> Made:
        return ask.read(self._engine.ask(ask.message, ask.kind).result())
