"""Receivers and turns: the ground of the engine.

A `Receiver` is whatever a message can be delivered to (a connection, an inbox, an in-process client). A `Turn` is
what one pass of the loop collects for all receivers of one server: who has bytes to flush, which subscriptions
ended, what was counted, and the free memory of outgoing bytes. There is no module-level state, so two servers run in
one process.

Called by every other engine module; knows no subject, no protocol and no socket.

Classes that hold C pointers to others are `no_gc_clear`: the collector must not null a field that C code of another
object still needs; the Python objects of a cycle (lists, sessions) are cleared instead.

Invariants: a receiver is in the dirty list at most once and never after it is gone; a subscription that ended in the
middle of a fan-out is freed only after it (`expired_subs`).
"""

cimport cython

from libc.stdlib cimport free, malloc, realloc

cdef extern from "unistd.h" nogil:
    ssize_t write(int fd, const void* data, size_t length)

cdef enum:
    SMALLEST_CHUNK = 512
    FREE_CHUNK_BYTES_MAX = 16 << 20  # kept for reuse by one server


@cython.no_gc_clear
cdef class Turn:
    def __cinit__(self):
        cdef int i
        self.closing = []
        self.drained = []
        self.pending_bytes_max = 1 << 62
        self.wake_fd = -1
        for i in range(CHUNK_CLASSES):
            self.free_chunks[i] = NULL

    def __dealloc__(self):
        cdef int i
        cdef Chunk* chunk
        for i in range(CHUNK_CLASSES):
            while self.free_chunks[i] != NULL:
                chunk = self.free_chunks[i]
                self.free_chunks[i] = chunk.next
                free(chunk)
        free(self.expired_subs)

    @property
    def counted(self) -> tuple[int, int, int, int]:
        """Messages and bytes in, messages and bytes out, since start."""
        return self.in_msgs, self.in_bytes, self.out_msgs, self.out_bytes

    @property
    def pending_bytes(self) -> int:
        return self.pending

    cdef Chunk* new_chunk(self, size_t room) noexcept:
        """A chunk with room for at least `room` bytes, or NULL."""
        cdef size_t capacity = SMALLEST_CHUNK
        cdef uint32_t size_class = 0
        cdef Chunk* chunk
        while capacity - sizeof(Chunk) < room and size_class < CHUNK_CLASSES:
            capacity <<= 1
            size_class += 1
        if size_class < CHUNK_CLASSES and self.free_chunks[size_class] != NULL:
            chunk = self.free_chunks[size_class]
            self.free_chunks[size_class] = chunk.next
            self.free_bytes -= capacity
        else:
            if size_class == CHUNK_CLASSES:
                capacity = room + sizeof(Chunk)
                if capacity > 0xFFFFFFFF:
                    return NULL
            chunk = <Chunk*>malloc(capacity)
            if chunk == NULL:
                return NULL
            chunk.capacity = <uint32_t>(capacity - sizeof(Chunk))
            chunk.size_class = size_class
        chunk.next = NULL
        chunk.start = chunk.end = 0
        return chunk

    cdef void free_chunk(self, Chunk* chunk) noexcept:
        cdef size_t capacity = chunk.capacity + sizeof(Chunk)
        if chunk.size_class == CHUNK_CLASSES or self.free_bytes + capacity > FREE_CHUNK_BYTES_MAX:
            free(chunk)
            return
        chunk.next = self.free_chunks[chunk.size_class]
        self.free_chunks[chunk.size_class] = chunk
        self.free_bytes += capacity

    cdef void mark(self, Receiver receiver) noexcept:
        """Puts a receiver at the end of the dirty list, once."""
        if receiver.dirty:
            return
        if self.asleep:
            self.kick()
        receiver.dirty = True
        receiver.dirty_next = NULL
        receiver.dirty_previous = self.dirty_last
        if self.dirty_last == NULL:
            self.dirty_first = <void*>receiver
        else:
            (<Receiver>self.dirty_last).dirty_next = <void*>receiver
        self.dirty_last = <void*>receiver

    cdef void unmark(self, Receiver receiver) noexcept:
        if not receiver.dirty:
            return
        receiver.dirty = False
        if receiver.dirty_previous == NULL:
            self.dirty_first = receiver.dirty_next
        else:
            (<Receiver>receiver.dirty_previous).dirty_next = receiver.dirty_next
        if receiver.dirty_next == NULL:
            self.dirty_last = receiver.dirty_previous
        else:
            (<Receiver>receiver.dirty_next).dirty_previous = receiver.dirty_previous
        receiver.dirty_next = receiver.dirty_previous = NULL

    cdef void kick(self) noexcept:
        """Wakes the pump, if it waits for sockets and time only."""
        cdef uint64_t one = 1
        if self.asleep:
            self.asleep = False
            write(self.wake_fd, &one, sizeof(one))

    cdef int expire(self, Subscription* sub) noexcept:
        """Remembers a subscription that reached its max; -1 when there is no memory to."""
        cdef size_t room
        cdef Subscription** grown
        if self.expired_count == self.expired_room:
            room = 2 * self.expired_room + 16
            grown = <Subscription**>realloc(self.expired_subs, room * sizeof(Subscription*))
            if grown == NULL:
                return -1
            self.expired_subs = grown
            self.expired_room = room
        self.expired_subs[self.expired_count] = sub
        self.expired_count += 1
        return 0


@cython.no_gc_clear
cdef class Receiver:
    """Base of whatever a message can be delivered to."""

    def __cinit__(self, *args, **kwargs):
        self.subs.buckets = NULL
        self.subs.first = NULL
        self.subs.count = self.subs.size = self.subs.capacity = 0

    def __dealloc__(self):
        if self.dirty and self.turn is not None:
            self.turn.unmark(self)

    cdef int deliver(self, Subscription* sub, Message* message) noexcept:
        """Takes one message for one of its subscriptions. 1: taken; 0: refused, so that another member may get it."""
        return 0

    cdef void expire(self, Subscription* sub) noexcept:
        """Takes out a subscription that reached its max. Called after the fan-out, never within."""
        pass
