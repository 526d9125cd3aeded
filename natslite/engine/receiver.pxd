"""What every other part of the engine stands on: messages, receivers, and what one turn of the loop collects."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .table cimport Link, Table

cdef enum:
    # Link.flags of a subscription
    SUB_DEAD = 1        # reached its max, or its receiver is going: delivers nothing more
    SUB_FILTERED = 2    # a deny rule may forbid single subjects: asked at each delivery
    CHUNK_CLASSES = 12  # 512 B to 1 MiB
    SID_ROOM = 16       # bytes that may always be read behind `sid`
    EXEMPT_AFTER_MS = 100   # a receiver that took nothing for this long holds nobody (P-45)

cdef struct Group:
    # A queue group's name, one record for all its members. `mark` and `slot` belong to the match under way.
    Link link
    uint32_t members
    uint32_t slot
    uint64_t mark
    char name[1]

cdef struct Subscription:
    # link.length: bytes of the sid; link.hash: of the sid, in its receiver's table
    Link link
    void* receiver      # borrowed: a Receiver takes its subscriptions out before it goes
    void* node          # sublist's: where it stands
    Group* group        # NULL: plain
    uint64_t delivered
    uint32_t max        # 0: no limit
    uint32_t index      # sublist's: place in the node
    char sid[1]

cdef struct Message:
    # One message on its way. Every pointer is borrowed for the time of the call.
    const char* subject
    Py_ssize_t subject_len
    const char* reply           # NULL: none
    Py_ssize_t reply_len
    const char* size            # as it stands on the wire: "5", or "12 17" with headers
    Py_ssize_t size_len
    const char* body            # headers and payload
    Py_ssize_t body_len
    Py_ssize_t header_len       # 0: no headers
    const char* tail            # "[reply ]size CRLF body CRLF" in one piece, or NULL
    Py_ssize_t tail_len
    bint internal               # made by the server: two blanks before the size (P-33)

cdef struct Chunk:
    # A piece of outgoing bytes: data[start:end] is pending
    Chunk* next
    uint32_t start
    uint32_t end
    uint32_t capacity
    uint32_t size_class     # CHUNK_CLASSES: too large to keep
    char data[1]

cdef class Turn:
    # receivers with something to flush, doubly linked through the receivers
    cdef void* dirty_first
    cdef void* dirty_last
    cdef Chunk* free_chunks[CHUNK_CLASSES]
    cdef size_t free_bytes
    cdef list closing           # connections whose end was asked for in this turn
    cdef list drained           # receivers that somebody waited for and that have room again, or are gone
    cdef Subscription** expired_subs
    cdef size_t expired_count
    cdef size_t expired_room
    cdef bint refused           # a receiver had no room for the message under way: it is there, all the same
    cdef void* blocker          # a receiver that is too far behind to be sent more, borrowed until the next flush
    cdef public double now
    cdef int wake_fd            # lent by the hub, -1: nobody to wake
    cdef bint asleep            # the pump waits: whoever makes work for it wakes it
    cdef size_t queued          # bytes queued since the last flush
    cdef int64_t pending        # bytes queued in all receivers
    cdef public int64_t pending_bytes_max
    cdef uint64_t in_msgs
    cdef uint64_t in_bytes
    cdef uint64_t out_msgs
    cdef uint64_t out_bytes
    cdef public uint64_t slow_consumers
    cdef public uint64_t stale_connections
    cdef public uint64_t stalls
    cdef Chunk* new_chunk(self, size_t room) noexcept
    cdef void free_chunk(self, Chunk* chunk) noexcept
    cdef void mark(self, Receiver receiver) noexcept
    cdef void unmark(self, Receiver receiver) noexcept
    cdef int expire(self, Subscription* sub) noexcept
    cdef void kick(self) noexcept

cdef class Receiver:
    cdef Turn turn
    cdef object __weakref__
    cdef void* dirty_previous
    cdef void* dirty_next
    cdef bint dirty
    cdef bint waited_for        # somebody waits until it has room again: see `Turn.drained`
    cdef bint closed            # delivers nothing more; its subscriptions are going
    cdef Table subs
    cdef uint32_t cursor
    cdef int deliver(self, Subscription* sub, Message* message) noexcept
    cdef void expire(self, Subscription* sub) noexcept
