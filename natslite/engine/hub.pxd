from libc.stdint cimport uint32_t, uint64_t

from .connection cimport Connection
from .receiver cimport Turn
from .timers cimport Timer, Timers

cdef class Watched:
    cdef public object owner
    cdef readonly int fd
    cdef public uint32_t events
    cdef uint32_t slot
    cdef bint attending

cdef class Listener(Watched):
    cdef readonly list accepted     # (fd, address, port)
    cdef public int error           # errno of the accept that failed, 0: none

cdef class Hub:
    cdef readonly Turn turn
    cdef readonly int epoll_fd
    cdef int wake_fd
    cdef char* buffer
    cdef list slots
    cdef list free_slots
    cdef uint32_t* generations
    cdef size_t generations_room
    cdef list attention
    cdef list resuming
    cdef list held
    cdef list dying                 # closed, out of epoll, subscriptions still being taken out
    cdef Timers timers
    cdef bint spin
    cdef readonly uint64_t drained_count    # receivers that somebody waited for and that have room again
    cdef uint32_t spin_history
    cdef uint32_t turns
    cdef bint cut                   # the last turn ended by the clock
    cdef double base

    cdef double _now(self) noexcept
    cdef int _register(self, int fd, uint32_t slot, uint32_t events) noexcept
    cdef uint32_t _take_slot(self, object item) except? 0xFFFFFFFF
    cdef void _free_slot(self, uint32_t slot) noexcept
    cdef void _interest(self, Connection connection, uint32_t events) noexcept
    cdef void _attend(self, Connection connection) noexcept
    cdef bint _events(self) noexcept
    cdef void _accept(self, Listener listener) noexcept
    cdef void _receive(self, Connection connection) noexcept
    cdef void _read_kept(self, Connection connection) noexcept
    cdef void _after(self, Connection connection, int stop, size_t queued) noexcept
    cdef void _hold(self, Connection connection) noexcept
    cdef void _release(self, void* blocker) noexcept
    cdef bint _flush(self) noexcept
    cdef void _flush_one(self, Connection connection) noexcept
    cdef bint _resume(self) noexcept
    cdef bint _close_some(self) noexcept
    cdef void _unplug(self, Connection connection) noexcept
    cdef void _end(self, Connection connection) noexcept
    cdef void _forget(self, Connection connection) noexcept
    cdef void _detach(self, Connection connection) noexcept
    cdef bint _time(self) noexcept
    cdef bint _is_current(self, Timer* timer) noexcept
    cdef void _push(self, double at, uint32_t slot) noexcept
    cdef void _sweep(self) noexcept
    cdef void _cut_largest(self) noexcept
    cdef bint _should_spin(self) noexcept
