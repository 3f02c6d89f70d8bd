"""Leases for asyncio: `gpupool.lease`, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

from gpupool import errors
from gpupool.aio_job import ENDS_OF_A_TASK, ENDS_OF_A_WAIT, AsyncJob, submit_async
from gpupool.engine import Engine
from gpupool.keeper import Keeper
from gpupool.lease import (
    LeaseView,
    T,
    Wish,
    ended_alone,
    ended_ungranted,
    explained,
    is_granted,
)
from gpupool.messages import Grant
from gpupool.node import Node
from gpupool.progress import Showing
from gpupool.questions import JobDone, JobEvent

Own = TypeVar("Own", bound="AsyncLending[Any]")


class AsyncLending(LeaseView[T]):
    def __init__(
        self, engine: Engine, wish: Wish, let_in: Callable[[Node, Grant, int], Awaitable[T]]
    ) -> None:
        super().__init__(engine, wish)
        self._let_in = let_in
        self._job: AsyncJob | None = None

    @property
    def job(self) -> AsyncJob:
        """The job that the pool counts it as."""
        if self._job is None:
            raise RuntimeError("a lease begins with its `async with` block")
        return self._job

    async def __aenter__(self: Own) -> Own:
        """Waits for the slot. Errors as `gpupool.Pool.lease()`; cancelling the task cancels the
        job."""
        if self._job is not None:
            raise RuntimeError("a lease is used once; ask for another one")
        try:
            job = self._job = await submit_async(self._engine, self._wish.body, None)
        except errors.BadRequest as refused:
            raise explained(refused, self._wish.body.app) from None
        try:
            event = await self._wait_for_grant(job)
            grant = self._prepare(event, job)
            self._guest = await self._let_in(self._wish.node, grant, event.job)
        except ENDS_OF_A_WAIT:
            if not job.is_done:
                await job.cancel_for_task()
            raise
        return self

    async def _wait_for_grant(self, job: AsyncJob) -> JobEvent:
        showing = Showing(self._wish.progress)
        try:
            async for event in job.events():
                if showing.show:
                    showing.show(event)
                if is_granted(event, self._wish.body.app):
                    assert isinstance(event, JobEvent)
                    return event
        finally:
            showing.close()
        raise ended_ungranted(await job.wait(), self._wish.body.app)

    async def ended(self) -> errors.PoolError:
        """Why its guest is gone: the error of the job's end, or that nothing is known of it."""
        return ended_alone(await self._end())

    async def _end(self) -> JobDone | errors.PoolError:
        try:
            return await asyncio.wait_for(self.job.wait(), self._answer_s)
        except asyncio.TimeoutError:
            return errors.TimedOut(want=self._engine.times.answer_ms)
        except errors.PoolError as lost:
            return lost

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the slot back, as `gpupool.Lease` does. A task that is cancelled here has given it
        back all the same."""
        if os.getpid() != self._pid:
            return
        await asyncio.to_thread(self._give_back, error)
        self._conclude(error, await self._end())


class AsyncLease(AsyncLending[Keeper]):
    """A slot that is lent to this process: `async with pool.lease("demo") as lease:`. As
    `gpupool.Lease`; cancelling the task gives it back as failed."""

    def __init__(self, engine: Engine, wish: Wish) -> None:
        """For the pool, which makes them."""
        super().__init__(engine, wish, _keeper)


async def _keeper(node: Node, grant: Grant, job: int) -> Keeper:
    made = asyncio.ensure_future(asyncio.to_thread(Keeper, node, grant, job))
    try:
        return await asyncio.shield(made)
    except ENDS_OF_A_TASK:
        # It is let in all the same, and nobody would end it.
        try:
            keeper = await made
            keeper.leave()
            keeper.end()
        except errors.PoolError:
            pass
        raise
