# cython: cdivision=True
"""What one user may publish, subscribe to and receive: rules P-60 to P-67.

Built once per user from the entries of `Options`, shared by that user's connections. The answer for a publish is
kept by the connection beside the match result of the subject, so that it costs nothing on the next message.

An entry is matched the way a subscription is: the subject asked about is taken as text, its own `*` and `>` are plain
tokens (P-62). Entries may name a queue pattern behind the subject (P-64).
"""

cimport cython

from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp

from .sublist cimport Result, has_wildcard, is_valid_subject
from .receiver cimport Subscription
from .table cimport table_any, table_insert, table_remove


@cython.no_gc_clear
cdef class Patterns(Receiver):
    """A set of subject patterns, some with a queue pattern."""

    def __init__(self, entries):
        """`entries`: subjects, or "subject queue" pairs, as bytes. ValueError names the bad one."""
        cdef bytes subject, queue
        cdef list words
        cdef const char* queue_text
        cdef Subscription* sub
        self.sublist = Sublist(cache_bytes_max=1 << 20)
        for entry in entries:
            words = entry.split()
            if not 1 <= len(words) <= 2 or not is_valid_subject(<bytes>words[0], len(words[0]), False):
                raise ValueError(f"{entry.decode(errors='replace')!r} is not a valid subject")
            subject = words[0]
            queue = words[1] if len(words) == 2 else b""
            queue_text = queue
            sub = self.sublist.insert(self, subject, len(subject), queue_text if queue else NULL, len(queue), b"", 0)
            if sub == NULL:
                raise MemoryError
            table_insert(&self.subs, &sub.link)

    def __dealloc__(self):
        cdef Subscription* sub
        while True:
            sub = <Subscription*>table_any(&self.subs, &self.cursor)
            if sub == NULL:
                break
            table_remove(&self.subs, &sub.link)
            self.sublist.remove(sub)

    cdef bint any_plain(self, const char* subject, Py_ssize_t length) noexcept:
        """Whether an entry without a queue matches."""
        cdef Result* result = self.sublist.resolve(subject, length)
        return result != NULL and result.plain > 0

    cdef bint any_queue(self, const char* subject, Py_ssize_t length,
                        const char* queue, Py_ssize_t queue_len, bint* named) noexcept:
        """Whether an entry with a queue matches both; `named`: whether one matches the subject."""
        cdef Result* result = self.sublist.resolve(subject, length)
        cdef uint32_t group, start
        cdef Subscription* sub
        named[0] = False
        if result == NULL:
            return False
        start = result.plain
        for group in range(result.groups):
            named[0] = True
            sub = result.subs[start]
            if _queue_matches(sub.group.name, sub.group.link.length, queue, queue_len):
                return True
            start = result.group_ends[group]
        return False


cdef bint _queue_matches(const char* pattern, Py_ssize_t pattern_len, const char* queue, Py_ssize_t length) noexcept:
    """Whether a queue name is the pattern itself, or what its wildcard tokens stand for."""
    cdef const char* pattern_dot
    cdef const char* dot
    cdef Py_ssize_t token, pattern_token
    if pattern_len == length and memcmp(pattern, queue, length) == 0:
        return True
    if not has_wildcard(pattern, pattern_len):
        return False
    while True:
        pattern_dot = <const char*>memchr(pattern, b'.', pattern_len)
        pattern_token = pattern_len if pattern_dot == NULL else pattern_dot - pattern
        if pattern_token == 1 and pattern[0] == b'>' and pattern_dot == NULL:
            return length > 0
        dot = <const char*>memchr(queue, b'.', length)
        token = length if dot == NULL else dot - queue
        if not (pattern_token == 1 and pattern[0] == b'*' and not (token == 1 and queue[0] == b'>')):
            if token != pattern_token or memcmp(pattern, queue, token) != 0:
                return False
        if pattern_dot == NULL or dot == NULL:
            return pattern_dot == NULL and dot == NULL
        pattern += pattern_token + 1
        pattern_len -= pattern_token + 1
        queue += token + 1
        length -= token + 1


@cython.no_gc_clear
cdef class Permissions:
    def __init__(self, *, publish_allow=(), publish_deny=(), subscribe_allow=(), subscribe_deny=(),
                 Py_ssize_t responses_max=0, double responses_expire_s=120.0):
        """Entries as bytes; an empty `*_allow` allows everything, except that with `responses_max` an empty
        `publish_allow` allows nothing but answers (P-66)."""
        if publish_allow or responses_max:
            self.publish_allow = Patterns(publish_allow)
        if publish_deny:
            self.publish_deny = Patterns(publish_deny)
        if subscribe_allow:
            self.subscribe_allow = Patterns(subscribe_allow)
        if subscribe_deny:
            self.subscribe_deny = Patterns(subscribe_deny)
        self.responses_max = responses_max
        self.responses_expire_s = responses_expire_s

    cdef bint may_publish(self, const char* subject, Py_ssize_t length) noexcept:
        if self.publish_allow is not None and not self.publish_allow.any_plain(subject, length):
            return False
        return self.publish_deny is None or not self.publish_deny.any_plain(subject, length)

    cdef bint may_subscribe(self, const char* subject, Py_ssize_t length,
                            const char* queue, Py_ssize_t queue_len) noexcept:
        """`queue` NULL: a plain subscription."""
        cdef bint allowed = True
        cdef bint named = False
        cdef bint matched
        if self.subscribe_allow is not None:
            allowed = self.subscribe_allow.any_plain(subject, length)
            if queue != NULL:
                matched = self.subscribe_allow.any_queue(subject, length, queue, queue_len, &named)
                if named:
                    allowed = matched
        return allowed and self.may_receive(subject, length, queue, queue_len)

    cdef bint may_receive(self, const char* subject, Py_ssize_t length,
                          const char* queue, Py_ssize_t queue_len) noexcept:
        """Whether no deny entry forbids it: asked at the SUB and for each message of a wildcard subscription."""
        cdef bint named = False
        if self.subscribe_deny is None:
            return True
        if self.subscribe_deny.any_plain(subject, length):
            return False
        return queue == NULL or not self.subscribe_deny.any_queue(subject, length, queue, queue_len, &named)
