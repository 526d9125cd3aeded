from libc.stdint cimport uint32_t, uint64_t

from .receiver cimport Message, Receiver, Subscription
from .sublist cimport Sublist

cdef struct Record:
    # One message as it lies in the buffer: this, then subject, reply, headers, payload; the next starts `size` further
    uint64_t tag            # of the subscription that got it
    uint32_t size
    uint32_t subject_len
    uint32_t reply_len      # 0: none
    uint32_t header_len
    uint32_t payload_len

cdef class Inbox(Receiver):
    cdef readonly Sublist sublist
    cdef public object owner
    cdef char* buffer
    cdef size_t used
    cdef size_t room
    cdef readonly size_t bytes_max
    cdef double since               # when the first message came that is still there
    cdef readonly size_t count          # messages in the buffer
    cdef public uint64_t refused        # messages not taken because it was full
    cdef readonly list unanswered       # reply subjects of those, for the owner to answer
    cdef inline Record* first(self) noexcept:
        """The first record, or NULL. Valid until the next message, so not across an await."""
        return <Record*>self.buffer if self.used else NULL
    cdef inline Record* following(self, Record* record) noexcept:
        cdef char* end = <char*>record + record.size
        return <Record*>end if end < self.buffer + self.used else NULL
    cdef void emptied(self) noexcept
    cdef void _wake(self) noexcept
    cdef Subscription* _find(self, uint64_t tag) noexcept
    cdef void _drop_all(self) noexcept
    cdef void _remove(self, Subscription* sub) noexcept
    cdef int _full(self, Message* message) noexcept
    cdef void _hold(self) noexcept

cdef inline char* record_subject(Record* record) noexcept:
    return <char*>record + sizeof(Record)

cdef inline char* record_reply(Record* record) noexcept:
    return <char*>record + sizeof(Record) + record.subject_len

cdef inline char* record_header(Record* record) noexcept:
    return <char*>record + sizeof(Record) + record.subject_len + record.reply_len

cdef inline char* record_payload(Record* record) noexcept:
    return record_header(record) + record.header_len
