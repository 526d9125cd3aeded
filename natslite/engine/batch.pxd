from libc.stdint cimport uint32_t

from .receiver cimport Turn
from .sublist cimport Sublist

cdef class Batch:
    cdef char* buffer
    cdef size_t used
    cdef size_t room
    cdef readonly uint32_t count
    cdef uint32_t* receivers            # per record, after `send`: who took it
    cdef size_t receivers_room
    cdef public bint internal           # made by the server: two blanks before the size (P-33)
    cdef int add(self, const char* route_to, Py_ssize_t route_len, const char* shown, Py_ssize_t shown_len,
                 const char* reply, Py_ssize_t reply_len, const char* header, Py_ssize_t header_len,
                 const char* payload, Py_ssize_t payload_len) noexcept
    cdef int send_all(self, Turn turn, Sublist sublist, void* sender, bint echo) noexcept
    cdef void clear_all(self) noexcept
