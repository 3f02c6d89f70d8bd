"""`@gpupool.gpu`: a function each of whose calls gets a slot of the pool, as `spaces.GPU` does it.

A call is a lease (`gpupool.lease`) whose guest is a process of its own (`gpupool.child`). Where no
pool is configured a call is the plain one, and a log says so once.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from datetime import timedelta
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast, overload

from gpupool import errors
from gpupool.aio_lease import AsyncLending
from gpupool.child import LET_IN_S_MAX, Child, Inside, Said, Work
from gpupool.engine import Engine
from gpupool.lease import Lending, wish_of
from gpupool.messages import Grant
from gpupool.node import Node
from gpupool.pool import Pool

P = ParamSpec("P")
R = TypeVar("R")

# Seconds, or a function of the call's arguments that says so; None: the app's default.
Duration: TypeAlias = float | timedelta | Callable[..., float | timedelta] | None

_log = logging.getLogger("gpupool")


class SharedPool:
    """The pool of the environment, which functions without one of their own share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._pid = 0
        self._said_so = False

    def get(self) -> Pool | None:
        """None: none is configured. Errors as `Pool()`; one that was lost for good is made anew."""
        if not os.environ.get("GPUPOOL_ENDPOINT", "").strip():
            if not self._said_so:
                self._said_so = True
                _log.warning(
                    "no pool is configured (GPUPOOL_ENDPOINT): functions of @gpupool.gpu run as "
                    "plain ones, on what this process sees"
                )
            return None
        with self._lock:
            if self._pool is None or self._pid != os.getpid() or self._pool.is_gone:
                self._pool, self._pid = Pool(), os.getpid()
            return self._pool


shared_pool = SharedPool()


class Leasing:
    """What a decorated function asks for, call by call."""

    def __init__(
        self,
        duration: Duration,
        size: str | None,
        app: str | None,
        max_wait_s: float | None,
        pool: Pool | None,
        node_http: str | None,
    ) -> None:
        self._duration = duration
        self._size = size
        self._app = app
        self._max_wait_s = max_wait_s
        self._pool = pool
        self._node_http = node_http

    def pool(self) -> Pool | None:
        """None: the call is a plain one. Blocks while it connects."""
        if Inside.is_child:
            return None  # it has its slot
        return self._pool if self._pool is not None else shared_pool.get()

    def lend(self, pool: Pool, work: Work, args: Any, kwargs: Any) -> Lending[Child]:
        def let_in(node: Node, grant: Grant, job: int) -> Child:
            child = Child(node, grant, work)
            try:
                if not child.has_said(LET_IN_S_MAX):
                    raise _never_came()
                _ensure_let_in(child.read())
            except BaseException:
                child.end()
                raise
            return child

        return Lending(*self._asked(pool, args, kwargs), let_in)

    def lend_async(self, pool: Pool, work: Work, args: Any, kwargs: Any) -> AsyncLending[Child]:
        async def let_in(node: Node, grant: Grant, job: int) -> Child:
            child = Child(node, grant, work)
            try:
                try:
                    await asyncio.wait_for(_until_readable(child), LET_IN_S_MAX)
                except asyncio.TimeoutError:
                    raise _never_came() from None
                _ensure_let_in(child.read())
            except BaseException:
                child.end()
                raise
            return child

        return AsyncLending(*self._asked(pool, args, kwargs), let_in)

    def _asked(self, pool: Pool, args: Any, kwargs: Any) -> tuple[Engine, Any]:
        duration = self._duration
        if callable(duration):
            duration = duration(*args, **kwargs)
        wish = wish_of(
            self._app,
            duration_s=duration.total_seconds() if isinstance(duration, timedelta) else duration,
            size=self._size,
            max_wait_s=self._max_wait_s,
            node_http=self._node_http,
        )
        return pool._engine, wish


@overload
def gpu(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def gpu(
    *,
    duration: Duration = None,
    size: str | None = None,
    app: str | None = None,
    max_wait_s: float | None = None,
    pool: Pool | None = None,
    node_http: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def gpu(
    function: Callable[..., Any] | None = None,
    /,
    *,
    duration: Duration = None,
    size: str | None = None,
    app: str | None = None,
    max_wait_s: float | None = None,
    pool: Pool | None = None,
    node_http: str | None = None,
) -> Any:
    """Runs each call of a function on a slot of the pool: `@gpupool.gpu`, or
    `@gpupool.gpu(duration=60)`.

    `duration`: seconds, a timedelta, or a function of the call's arguments that gives either (None:
    the app's default); `size`: "large" or "xlarge" (None: the app's); `app`: one with executor =
    "external" (None: GPUPOOL_APP, then "gpu"); `pool`: None, the one of GPUPOOL_ENDPOINT, without
    which a call is a plain one; `max_wait_s`, `node_http`: as `Pool.lease()`.

    A function, generator, coroutine function or async generator stays what it is. The call runs in
    a process that is forked for it, with CUDA_VISIBLE_DEVICES set: what it returns, yields and
    raises is pickled, what it changes is lost, and what is sent into a generator does not arrive.
    GPUs are first used inside the function. Past its duration that process is ended, and the call
    raises JobExpired; refusals and all else as `Pool.lease()`.
    """
    leasing = Leasing(duration, size, app, max_wait_s, pool, node_http)
    if function is None:
        return lambda one: _lending(one, leasing)
    return _lending(function, leasing)


def _lending(function: Callable[..., Any], leasing: Leasing) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, leasing)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, leasing)
    if inspect.isgeneratorfunction(function):
        return _generator(function, leasing)
    return _plain(function, leasing)


def _plain(function: Callable[P, R], leasing: Leasing) -> Callable[P, R]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        pool = leasing.pool()
        if pool is None:
            return function(*args, **kwargs)

        def work(give: Callable[[object], None]) -> object:
            return function(*args, **kwargs)

        with leasing.lend(pool, work, args, kwargs) as lease:
            return cast(R, _read(lease)[1])

    return call


def _generator(
    function: Callable[P, Generator[Any, Any, Any]], leasing: Leasing
) -> Callable[P, Iterator[Any]]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        pool = leasing.pool()
        if pool is None:
            return (yield from function(*args, **kwargs))

        def work(give: Callable[[object], None]) -> object:
            values = function(*args, **kwargs)
            while True:
                try:
                    value = next(values)
                except StopIteration as end:
                    return end.value
                give(value)

        with leasing.lend(pool, work, args, kwargs) as lease:
            said, what = _read(lease)
            while said is Said.value:
                yield what
                said, what = _read(lease)
            return what

    return call


def _coroutine(function: Callable[P, Awaitable[R]], leasing: Leasing) -> Callable[P, Awaitable[R]]:
    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        pool = await asyncio.to_thread(leasing.pool)
        if pool is None:
            return await function(*args, **kwargs)

        def work(give: Callable[[object], None]) -> object:
            async def main() -> R:
                return await function(*args, **kwargs)

            return asyncio.run(main())

        async with leasing.lend_async(pool, work, args, kwargs) as lease:
            return cast(R, (await _read_async(lease))[1])

    return call


def _async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], leasing: Leasing
) -> Callable[P, AsyncIterator[Any]]:
    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        pool = await asyncio.to_thread(leasing.pool)
        if pool is None:
            async for value in function(*args, **kwargs):
                yield value
            return

        def work(give: Callable[[object], None]) -> object:
            async def main() -> None:
                async for value in function(*args, **kwargs):
                    give(value)

            return asyncio.run(main())

        async with leasing.lend_async(pool, work, args, kwargs) as lease:
            said, what = await _read_async(lease)
            while said is Said.value:
                yield what
                said, what = await _read_async(lease)

    return call


def _read(lease: Lending[Child]) -> tuple[Said, Any]:
    heard = lease.guest.read()
    if heard is None:
        raise lease.ended()
    return heard


async def _read_async(lease: AsyncLending[Child]) -> tuple[Said, Any]:
    await _until_readable(lease.guest)
    heard = lease.guest.read()
    if heard is None:
        raise await lease.ended()
    return heard


async def _until_readable(child: Child) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(child.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(child.fileno())


def _never_came() -> errors.PoolError:
    waited = int(LET_IN_S_MAX * 1000)
    return errors.TimedOut("the process of the call did not come to its slot", want=waited)


def _ensure_let_in(heard: tuple[Said, Any] | None) -> None:
    if heard is None:
        raise errors.OutcomeUnknown("the process of the call ended before it came to its slot")
