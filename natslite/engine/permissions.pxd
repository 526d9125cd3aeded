from .receiver cimport Receiver
from .sublist cimport Sublist

cdef class Patterns(Receiver):
    cdef Sublist sublist
    cdef bint any_plain(self, const char* subject, Py_ssize_t length) noexcept
    cdef bint any_queue(self, const char* subject, Py_ssize_t length,
                        const char* queue, Py_ssize_t queue_len, bint* named) noexcept

cdef class Permissions:
    cdef Patterns publish_allow
    cdef Patterns publish_deny
    cdef Patterns subscribe_allow
    cdef Patterns subscribe_deny
    cdef readonly Py_ssize_t responses_max
    cdef readonly double responses_expire_s
    cdef bint may_publish(self, const char* subject, Py_ssize_t length) noexcept
    cdef bint may_subscribe(self, const char* subject, Py_ssize_t length,
                            const char* queue, Py_ssize_t queue_len) noexcept
    cdef bint may_receive(self, const char* subject, Py_ssize_t length,
                          const char* queue, Py_ssize_t queue_len) noexcept
