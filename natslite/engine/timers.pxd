"""A heap of times, header only: the earliest is `items[0]`.

Whoever sets a timer anew leaves the old one where it is; the owner knows which are current.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport realloc

cdef struct Timer:
    double at               # time of the loop's clock
    uint32_t slot           # whose it is
    uint32_t generation

cdef struct Timers:
    Timer* items
    size_t count
    size_t room


cdef inline bint timers_grow(Timers* timers) noexcept nogil:
    """Makes room for twice as many; False without memory."""
    cdef size_t room = 2 * timers.room + 64
    cdef Timer* grown = <Timer*>realloc(timers.items, room * sizeof(Timer))
    if grown == NULL:
        return False
    timers.items = grown
    timers.room = room
    return True


cdef inline void timers_push(Timers* timers, Timer timer) noexcept nogil:
    """Adds one; there is room for it."""
    timers.items[timers.count] = timer
    timers.count += 1
    timers_lift(timers, timers.count - 1)


cdef inline void timers_lift(Timers* timers, size_t i) noexcept nogil:
    """Moves an entry up to its place."""
    cdef Timer timer = timers.items[i]
    cdef size_t parent
    while i:
        parent = (i - 1) >> 1
        if timers.items[parent].at <= timer.at:
            break
        timers.items[i] = timers.items[parent]
        i = parent
    timers.items[i] = timer


cdef inline Timer timers_pop(Timers* timers) noexcept nogil:
    """Takes out the earliest; there is one."""
    cdef Timer first = timers.items[0]
    cdef Timer last
    cdef size_t i = 0, child
    timers.count -= 1
    last = timers.items[timers.count]
    while True:
        child = 2 * i + 1
        if child >= timers.count:
            break
        if child + 1 < timers.count and timers.items[child + 1].at < timers.items[child].at:
            child += 1
        if timers.items[child].at >= last.at:
            break
        timers.items[i] = timers.items[child]
        i = child
    timers.items[i] = last
    return first
