# cython: cdivision=True
"""Questions about who listens: whether anybody does, and how much the fullest of them can take.

Asked by `natslite.service` for services that read a log: they send at most what there is room for, so a fast replay
never gets its reader cut.
"""

from libc.stdint cimport uint32_t

from .inbox cimport Inbox
from .outbound cimport Outbound
from .receiver cimport Receiver
from .sublist cimport Result, Sublist

cdef enum:
    ROOM_BYTES = 1 << 20    # pending that a receiver may reach before a service waits for it


def interested(Sublist sublist, bytes subject, bytes queue=None) -> bool:
    """Whether anybody, or a member of the queue group, would get a message on the subject."""
    cdef Result* result = sublist.resolve(subject, len(subject))
    cdef uint32_t group, start
    if result == NULL:
        return False
    if queue is None:
        return result.total > 0
    start = result.plain
    for group in range(result.groups):
        if result.subs[start].group.name[:result.subs[start].group.link.length] == queue:
            return True
        start = result.group_ends[group]
    return False


def behind(Sublist sublist, bytes subject) -> bool:
    """Whether a receiver has so much pending that its publishers are held (P-45)."""
    cdef Result* result = sublist.resolve(subject, len(subject))
    cdef uint32_t i
    cdef Receiver receiver
    if result == NULL:
        return False
    for i in range(result.total):
        receiver = <Receiver>result.subs[i].receiver
        if isinstance(receiver, Outbound):
            if (<Outbound>receiver).pending_bytes > (<Outbound>receiver).hold_bytes \
                    and not (<Outbound>receiver).exempt and not receiver.closed:
                return True
        elif isinstance(receiver, Inbox) and (<Inbox>receiver).used > (<Inbox>receiver).bytes_max // 4 * 3:
            return True
    return False


def room(Sublist sublist, bytes subject, bint wait=False) -> int | None:
    """Bytes until the fullest receiver has ROOM_BYTES pending; None: nobody listens.

    Of an inbox it is three quarters. Receivers that hold nobody (too slow for too long, P-45) are left out. `wait`: those without room are marked, and
    turn up in the turn's drained list when they have some."""
    cdef Result* result = sublist.resolve(subject, len(subject))
    cdef Py_ssize_t least = ROOM_BYTES
    cdef Py_ssize_t left
    cdef uint32_t i
    cdef Receiver receiver
    if result == NULL or result.total == 0:
        return None
    for i in range(result.total):
        receiver = <Receiver>result.subs[i].receiver
        if isinstance(receiver, Outbound):
            if receiver.closed or (<Outbound>receiver).exempt:
                continue
            left = ROOM_BYTES - (<Outbound>receiver).pending_bytes
        elif isinstance(receiver, Inbox):
            left = <Py_ssize_t>(<Inbox>receiver).bytes_max // 4 * 3 - <Py_ssize_t>(<Inbox>receiver).used
        else:
            continue
        if left <= 0:
            left = 0
            if wait:
                receiver.waited_for = True
        if left < least:
            least = left
    return least
