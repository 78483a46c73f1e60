"""A run that stays steerable: any generator of records, in one worker thread.

The thread that starts a run keeps its hands free, so a notebook's other cells and its buttons go on
working. Steering sets events that the worker looks at whenever the computation reports something,
so a stop lands inside a training and not only between two records; what is finished is on disk
already and is read when the run starts again. Views subscribe and are called in the worker; a view
that fails is told so, and the run goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

from traitlets import Enum, HasTraits

from ..events import Report

T = TypeVar("T")
IDLE, RUNNING, PAUSING, PAUSED, STOPPING, STOPPED, DONE, FAILED = STATES = (
    "idle",
    "running",
    "pausing",
    "paused",
    "stopping",
    "stopped",
    "done",
    "failed",
)
LIVE = (RUNNING, PAUSING, PAUSED, STOPPING)
_SLICE = 0.05  # s; a longer wait would keep the interrupt waiting on some platforms


class _Cancelled(BaseException):
    """Ends a computation from inside its listener; no Exception, so that no ``except Exception`` on
    the way keeps it.
    """


class View:
    """One subscriber of a run.

    Attributes:
        error: what its last call raised, None when it went well.
    """

    def __init__(
        self,
        call: Callable[[Any], None],
        hz: float | None,
        kinds: tuple[type, ...],
        failed: Callable[[Exception], None] | None,
    ) -> None:
        self.error: Exception | None = None
        self._call, self._period, self._kinds, self._failed = (
            call,
            0.0 if hz is None else 1.0 / hz,
            kinds,
            failed,
        )
        self._held: list[Any] = []
        self._kind: type | None = None
        self._next = 0.0

    def offer(self, message: Any) -> None:
        """Shows a message now; or keeps it for later, in place of an older one of its kind."""
        if self._kinds and not isinstance(message, self._kinds):
            self.flush()
            return
        if type(message) is not self._kind:
            self.flush()
        elif time.monotonic() < self._next:
            self._held = [message]
            return
        self._held = [message]
        self.flush()

    def flush(self) -> None:
        """Shows what is held."""
        while self._held:
            message = self._held.pop()
            self._kind = type(message)
            try:
                self._call(message)
                self.error = None
            except Exception as error:
                self.error = error
                self._tell(error)
            self._next = time.monotonic() + self._period

    def _tell(self, error: Exception) -> None:
        try:
            if self._failed is not None:
                self._failed(error)
        except Exception as second:
            self.error = second


class Background(HasTraits, Generic[T]):
    """Runs a generator of records in a worker thread.

    Attributes:
        state: "idle", "running", "pausing" (asked to, computing up to the next event), "paused",
            "stopping", "stopped", "done" or "failed"; a trait, so it can be observed.
        error: what ended the run when it is "failed"; :meth:`wait` raises it again.

    Args:
        make: called in the worker with a listener, returns the records; called anew by every start,
            so a loop with a run directory goes on where it was. ``lambda report:
            until(loop.generations(data, folder, report), count=6)``
    """

    state = Enum(STATES, IDLE)

    def __init__(self, make: Callable[[Report], Iterator[T]]) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._make = make
        self._records: list[T] = []
        self._views: list[View] = []
        self._lock = threading.RLock()
        self._stop, self._go, self._stepping = threading.Event(), threading.Event(), False
        # not the thread's join: in Python 3.11 an interrupted join takes a living thread for dead
        self._ended = threading.Event()
        self._ended.set()
        self._worked, self._since = 0.0, 0.0

    @property
    def records(self) -> tuple[T, ...]:
        """The finished records of this run; a new start begins with none."""
        return tuple(self._records)

    @property
    def alive(self) -> bool:
        """Whether the worker is at work or paused."""
        return self.state in LIVE

    @property
    def seconds(self) -> float:
        """How long this run has worked, pauses left out."""
        with self._lock:
            return self._worked + (
                time.monotonic() - self._since
                if self.state in (RUNNING, PAUSING, STOPPING)
                else 0.0
            )

    def subscribe(
        self,
        call: Callable[[Any], None],
        hz: float | None = None,
        *,
        kinds: tuple[type, ...] = (),
        failed: Callable[[Exception], None] | None = None,
    ) -> View:
        """Calls `call(message)` in the worker for every event and record.

        Args:
            call: may raise; the run goes on.
            hz: at most so many calls a second for messages of one kind, the newest counts; a
                message of another kind passes at once, and the last before any other kind, a pause
                or an end is always delivered.
            kinds: only these types of messages.
            failed: told what `call` raised.
        """
        view = View(call, hz, kinds, failed)
        self._views.append(view)
        return view

    # -- steering: from any thread, at once

    def start(self) -> Background[T]:
        """Starts, or starts anew after an end; resumes what is paused.

        Raises:
            RuntimeError: the last run is still stopping.
        """
        return self._begin(stepping=False)

    def step(self) -> Background[T]:
        """Runs until one more record is there, then pauses.

        Raises:
            RuntimeError: the last run is still stopping.
        """
        return self._begin(stepping=True)

    def pause(self) -> Background[T]:
        """Holds the computation at its next event."""
        with self._lock:
            if self.state == RUNNING:
                self._go.clear()
                self._enter(PAUSING)
        return self

    def resume(self) -> Background[T]:
        """Goes on after a pause."""
        with self._lock:
            if self.state in (PAUSING, PAUSED):
                self._begin(stepping=False)
        return self

    def stop(self) -> Background[T]:
        """Ends the computation at its next event; nothing new begins."""
        with self._lock:
            if self.state in (RUNNING, PAUSING, PAUSED):
                self._stop.set()
                self._enter(STOPPING)
                self._go.set()
        return self

    def wait(self, timeout: float | None = None) -> Background[T]:
        """Blocks until the run has ended or is paused; an interrupt (Ctrl-C, a kernel's interrupt
        button) stops the run.

        Args:
            timeout: seconds after which to return all the same.

        Raises:
            BaseException: what made the run fail.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while (
                self.state != PAUSED
                and (end is None or time.monotonic() < end)
                and not self._ended.wait(_SLICE)
            ):
                pass
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
                raise RuntimeError(
                    "the run is still stopping: wait() for its end, then start again"
                )
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
            threading.Thread(
                target=self._work, args=(self._ended,), daemon=True, name="agal background"
            ).start()
        return self

    def _enter(self, state: str) -> None:
        """Changes the state under the lock, so that observers hear of states in their order."""
        with self._lock:
            self._worked, self._since = self.seconds, time.monotonic()
            self.state = state

    # -- the worker

    def _work(self, ended: threading.Event) -> None:
        records, end = None, DONE
        try:
            records = self._make(self._hear)
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
                records.close()  # runs what it has to clean up now, not when it is forgotten
        except BaseException as error:
            self.error, end = error, FAILED
        self._flush()
        try:
            self._enter(end)
        finally:
            ended.set()

    def _hear(self, event: Any) -> None:
        """The listener that the computation gets."""
        if not self._stop.is_set():
            self._deliver(event)
        self._checkpoint()

    def _deliver(self, message: Any) -> None:
        for view in self._views:
            view.offer(message)

    def _flush(self) -> None:
        for view in self._views:
            view.flush()

    def _checkpoint(self) -> None:
        """Where a pause waits and a stop strikes."""
        if not self._go.is_set():
            self._flush()
            with self._lock:
                if self.state == PAUSING:
                    self._enter(PAUSED)
            self._go.wait()
        if self._stop.is_set():
            raise _Cancelled
