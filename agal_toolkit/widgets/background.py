"""A run that can be steered: any generator of records, in one worker thread.

The thread that starts a run stays free, so other cells and buttons of a notebook keep working.
Steering sets events that the worker checks whenever the computation reports something, so a stop
takes effect inside a training and not only between two records. Finished records are on disk and
are read when the run starts again. Subscribers are called in the worker; when one fails, its error
is passed on and the run continues.
"""

from __future__ import annotations

import math
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from traitlets import Enum, HasTraits

from ..events import Progress, Report

T = TypeVar("T")
Call = Callable[[Any], None]
Kinds = tuple[type, ...]
STATES = ("idle", "running", "pausing", "paused", "stopping", "stopped", "done", "failed")
IDLE, RUNNING, PAUSING, PAUSED, STOPPING, STOPPED, DONE, FAILED = STATES
LIVE = (RUNNING, PAUSING, PAUSED, STOPPING)
_SLICE = 0.05  # s; a longer wait would delay the interrupt on some platforms


def wait_for(event: threading.Event, report: Report, progress: Callable[[], Progress]) -> None:
    """Wait in a worker until a person sets `event`; reports progress, so that a stop ends it."""
    while not event.wait(0.2):
        report(progress())


class _Cancelled(BaseException):
    """Ends a computation from its listener; not an Exception, so ``except Exception`` passes it."""


def _ignore(_: Any) -> None:
    pass


@dataclass
class Subscriber:
    """A callable that receives a run's messages, see :meth:`Background.subscribe`.

    Attributes:
        call, kinds, failed: see there.
        period: shortest time between two calls for messages of one kind, seconds.
        error: exception of the last call; None when it succeeded.
    """

    call: Call
    period: float
    kinds: Kinds
    failed: Call
    error: Exception | None = None
    _held: list[Any] = field(default_factory=list)
    _kind: type | None = None
    _next: float = 0.0

    def offer(self, message: Any) -> None:
        """Deliver a message now, or hold it in place of an older one of its kind."""
        wanted, same = isinstance(message, self.kinds), type(message) is self._kind
        if not (wanted and same):
            self.flush()
        if wanted:
            self._held = [message]
            if not same or time.monotonic() >= self._next:
                self.flush()

    def flush(self) -> None:
        """Deliver the message that is held, if any."""
        while self._held:
            message = self._held.pop()
            self._kind = type(message)
            try:
                self.call(message)
                self.error = None
            except Exception as error:
                self.error = error
                try:
                    self.failed(error)
                except Exception as second:
                    self.error = second
            self._next = time.monotonic() + self.period


class Background(HasTraits, Generic[T]):
    """Runs a generator of records in a worker thread.

    Attributes:
        state: one of `STATES`, observable; "pausing" and "stopping" last until the next event.
        error: exception that ended a "failed" run; :meth:`wait` raises it again.

    Args:
        make: function of a listener that returns the records, called in the worker at every start,
            so a loop with a run directory continues where it was: ``lambda report:
            until(loop.generations(data, folder, report), count=6)``.
    """

    state = Enum(STATES, IDLE)

    def __init__(self, make: Callable[[Report], Iterator[T]]) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._make = make
        self._records: list[T] = []
        self._subscribers: list[Subscriber] = []
        self._lock = threading.RLock()
        self._stop, self._go, self._stepping = threading.Event(), threading.Event(), False
        # not the thread's join: in Python 3.11 an interrupted join takes a living thread for dead
        self._ended = threading.Event()
        self._ended.set()
        self._worked, self._since = 0.0, 0.0

    @property
    def records(self) -> tuple[T, ...]:
        """Finished records of this run; a new start clears them."""
        return tuple(self._records)

    @property
    def alive(self) -> bool:
        """Whether the worker is running or paused."""
        return self.state in LIVE

    @property
    def seconds(self) -> float:
        """Time that this run has computed, without pauses."""
        with self._lock:
            working = self.state in (RUNNING, PAUSING, STOPPING)
            return self._worked + (time.monotonic() - self._since if working else 0.0)

    def subscribe(
        self, call: Call, hz: float = math.inf, *, kinds: Kinds = (object,), failed: Call = _ignore
    ) -> Subscriber:
        """Call `call(message)` in the worker for every event and record.

        Args:
            call: function of a message; if it raises, the run continues.
            hz: largest number of calls per second for messages of one kind: later ones are held,
                a newer in place of an older, until another kind, a pause or the end.
            kinds: types of messages to deliver.
            failed: function that receives an exception of `call`.
        """
        subscriber = Subscriber(call, 1.0 / hz, kinds, failed)
        self._subscribers.append(subscriber)
        return subscriber

    # -- steering: from any thread, without waiting

    def start(self) -> Background[T]:
        """Start the run, start it anew after its end, or resume it.

        Raises:
            RuntimeError: the last run is still stopping.
        """
        return self._begin(stepping=False)

    def step(self) -> Background[T]:
        """Run until one more record is finished, then pause; start like :meth:`start`."""
        return self._begin(stepping=True)

    def pause(self) -> Background[T]:
        """Hold the computation at its next event."""
        with self._lock:
            if self.state == RUNNING:
                self._go.clear()
                self._enter(PAUSING)
        return self

    def resume(self) -> Background[T]:
        """Continue after a pause."""
        with self._lock:
            if self.state in (PAUSING, PAUSED):
                self._begin(stepping=False)
        return self

    def stop(self) -> Background[T]:
        """End the computation at its next event."""
        with self._lock:
            if self.state in (RUNNING, PAUSING, PAUSED):
                self._stop.set()
                self._enter(STOPPING)
                self._go.set()
        return self

    def wait(self, timeout: float | None = None) -> Background[T]:
        """Block until the run has ended or is paused, at most `timeout` seconds.

        An interrupt (Ctrl-C, a kernel's interrupt button) stops the run.

        Raises:
            BaseException: the error of a failed run.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        try:
            while self.state != PAUSED and time.monotonic() < end:
                if self._ended.wait(_SLICE):
                    break
        except KeyboardInterrupt:
            self.stop()
            while not self._ended.wait(_SLICE):
                pass
            raise
        if self.error is not None:
            raise self.error
        return self

    def _begin(self, stepping: bool) -> Background[T]:
        with self._lock:
            if self.state == STOPPING:
                raise RuntimeError("the run is still stopping: call wait(), then start again")
            if self.state in LIVE:
                self._stepping = stepping
                if self.state != RUNNING:
                    self._enter(RUNNING)
                    self._go.set()
                return self
            self._records, self.error, self._stepping, self._worked = [], None, stepping, 0.0
            self._stop, self._go = threading.Event(), threading.Event()
            self._go.set()
            self._ended = threading.Event()
            self._enter(RUNNING)
            work = {"target": self._work, "args": (self._ended,)}
            threading.Thread(**work, daemon=True, name="agal background").start()
        return self

    def _enter(self, state: str) -> None:
        """Change the state under the lock, so that observers see states in their order.

        An observer that raises gets a warning, and the run goes on in its new state.
        """
        with self._lock:
            self._worked, self._since = self.seconds, time.monotonic()
            try:
                self.state = state
            except Exception as error:  # of an observer: the state has been set by now
                kind = type(error).__name__
                warnings.warn(
                    f"an observer of the run's state {state!r} failed ({kind}: {error}); the run"
                    " goes on",
                    stacklevel=2,
                )

    # -- the worker

    def _work(self, ended: threading.Event) -> None:
        records, end = None, DONE
        try:
            records = self._make(self._listen)
            for record in records:
                self._records.append(record)
                self._deliver(record)
                if self._stepping:
                    self._stepping = False
                    self.pause()
                self._checkpoint()
        except _Cancelled:
            end = STOPPED
        except BaseException as error:
            self.error, end = error, FAILED
        try:
            if isinstance(records, Generator):
                records.close()  # clean up now, not when the generator is collected
        except BaseException as error:
            self.error, end = error, FAILED
        self._flush()
        try:
            self._enter(end)
        finally:
            ended.set()

    def _listen(self, event: Any) -> None:
        """Deliver an event of the computation, then hold or end it here if requested."""
        if not self._stop.is_set():
            self._deliver(event)
        self._checkpoint()

    def _deliver(self, message: Any) -> None:
        for subscriber in self._subscribers:
            subscriber.offer(message)

    def _flush(self) -> None:
        for subscriber in self._subscribers:
            subscriber.flush()

    def _checkpoint(self) -> None:
        """Wait here during a pause; leave the computation here after a stop."""
        if not self._go.is_set():
            self._flush()
            with self._lock:
                if self.state == PAUSING:
                    self._enter(PAUSED)
            self._go.wait()
        if self._stop.is_set():
            raise _Cancelled
