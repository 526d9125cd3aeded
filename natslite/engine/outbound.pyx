# cython: cdivision=True
"""A receiver whose messages leave as bytes: MSG and HMSG frames, queued in chunks until they are sent.

Base of `connection`. Knows the frames of rules P-30 to P-34 and the limits on what may be pending (P-44, P-45), no
socket and no verb that a client sends. Chunks come from the turn and go back when they are empty, so an idle receiver
holds no memory for output.
"""

cimport cython

from libc.string cimport memcpy

from .receiver cimport EXEMPT_AFTER_MS, SID_ROOM, SUB_FILTERED

cdef enum:
    CHUNK_BYTES_MAX = (256 << 10) - 64
    CHUNK_BYTES_MIN = 448
    HOLD_ENDS_BYTES = 1 << 20
    RESPONSES_MAX = 64 << 10    # requests that a client with `responses_max` may still answer


@cython.no_gc_clear
cdef class Outbound(Receiver):
    def __dealloc__(self):
        self.discard()

    # ---- bytes

    cdef char* reserve(self, size_t room) noexcept:
        """Where the next `room` bytes go, or NULL without memory. The caller then adds to `last.end`."""
        cdef Chunk* chunk = self.last
        cdef size_t wanted
        if chunk != NULL and chunk.capacity - chunk.end >= room:
            return chunk.data + chunk.end
        wanted = self.typical if chunk == NULL else 2 * <size_t>chunk.capacity
        if wanted > CHUNK_BYTES_MAX:
            wanted = CHUNK_BYTES_MAX
        if wanted < CHUNK_BYTES_MIN:
            wanted = CHUNK_BYTES_MIN
        chunk = self.turn.new_chunk(wanted if wanted > room else room)
        if chunk == NULL:
            return NULL
        if self.last == NULL:
            self.first = chunk
        else:
            self.last.next = chunk
        self.last = chunk
        return chunk.data

    cdef void added(self, size_t length) noexcept:
        """`length` bytes were written where `reserve` said."""
        self.last.end += <uint32_t>length
        self.pending_bytes += length
        self.turn.queued += length
        self.turn.pending += length
        if not self.dirty:
            if self.pending_bytes == <int64_t>length:
                self.progress_at = self.turn.now  # it had taken everything: its patience begins now
            self.turn.mark(self)

    cdef void answered(self, size_t length) noexcept:
        """As `added`, for what is no message: a peer that asks and never reads is cut too (P-44)."""
        self.added(length)
        if self.pending_bytes > self.pending_bytes_max:
            self.too_slow(NULL)

    cdef void put(self, const char* data, Py_ssize_t length) noexcept:
        """Queues bytes as they are; a peer that there is no memory for is cut."""
        cdef char* out = self.reserve(length)
        if out == NULL:
            self.too_slow(NULL)
            return
        memcpy(out, data, length)
        self.answered(length)
        if self.tracer is not None:
            self._trace_out(data, length)

    cdef void consumed(self, size_t length) noexcept:
        """The first `length` pending bytes have been sent."""
        cdef Chunk* chunk
        cdef size_t part
        self.pending_bytes -= length
        self.turn.pending -= length
        self.sent_bytes += length
        self.typical = <uint32_t>(length if length < CHUNK_BYTES_MAX else CHUNK_BYTES_MAX)
        while length:
            chunk = self.first
            part = chunk.end - chunk.start
            if part > length:
                chunk.start += <uint32_t>length
                return
            length -= part
            self.first = chunk.next
            self.turn.free_chunk(chunk)
        if self.first == NULL:
            self.last = NULL

    cdef void discard(self) noexcept:
        """Throws away what is pending."""
        cdef Chunk* chunk
        while self.first != NULL:
            chunk = self.first
            self.first = chunk.next
            self.turn.free_chunk(chunk)
        self.last = NULL
        if self.turn is not None:
            self.turn.pending -= self.pending_bytes
        self.pending_bytes = 0

    def take(self, Py_ssize_t limit=-1) -> bytes:
        """The next bytes, at most about `limit` of them (-1: all); they then count as sent."""
        cdef Chunk* chunk
        cdef Py_ssize_t part, wanted = limit if limit >= 0 else self.pending_bytes
        cdef list parts = []
        while self.first != NULL and wanted > 0:
            chunk = self.first
            part = chunk.end - chunk.start
            if part > wanted:
                part = wanted
            parts.append(chunk.data[chunk.start:chunk.start + part])
            wanted -= part
            self.consumed(part)
        self.progressed()
        if self.pending_bytes == 0:
            self.turn.unmark(self)
        return b"".join(parts)

    def drop_pending(self) -> None:
        """Throws away what is pending: nobody will take it."""
        self.discard()

    cdef void progressed(self) noexcept:
        """The peer took something: who waited for it may go on once it has caught up (P-45)."""
        self.progress_at = self.turn.now
        if self.pending_bytes < HOLD_ENDS_BYTES:
            self.exempt = False
            if self.waited_for:
                self.waited_for = False
                try:
                    self.turn.drained.append(self)
                except MemoryError:
                    pass

    @property
    def pending(self) -> int:
        """Bytes not yet sent."""
        return self.pending_bytes

    @property
    def counted_out(self) -> tuple[int, int]:
        """Messages and bytes delivered to it."""
        return self.out_msgs, self.out_bytes

    # ---- frames

    cdef int deliver(self, Subscription* sub, Message* message) noexcept:
        """Queues one message as MSG or HMSG."""
        cdef char* start
        cdef char* out
        cdef size_t sid_len = sub.link.length
        cdef size_t room
        if self.closed:
            return 0
        if sub.link.flags & SUB_FILTERED and not self.permissions.may_receive(
                message.subject, message.subject_len,
                NULL if sub.group == NULL else sub.group.name, 0 if sub.group == NULL else sub.group.link.length):
            return 0
        if message.header_len and not self.headers:
            return self._deliver_stripped(sub, message)
        room = 5 + message.subject_len + 1 + sid_len + SID_ROOM + 1
        if message.tail != NULL:
            room += message.tail_len
        else:
            room += message.reply_len + 1 + message.size_len + 2 + message.body_len + 2
        start = self.reserve(room)
        if start == NULL:
            self.too_slow(message)
            return 0
        out = start
        if message.header_len:
            out[0] = b'H'
            out += 1
        memcpy(out, <const char*>b"MSG ", 4)
        out += 4
        memcpy(out, message.subject, message.subject_len)
        out += message.subject_len
        out[0] = b' '
        out += 1
        if sid_len < SID_ROOM:
            memcpy(out, sub.sid, SID_ROOM)
        else:
            memcpy(out, sub.sid, sid_len + 1)
        out += sid_len + 1
        if message.tail != NULL:
            memcpy(out, message.tail, message.tail_len)
            out += message.tail_len
        else:
            if message.reply_len:
                memcpy(out, message.reply, message.reply_len)
                out += message.reply_len
            if message.reply_len or message.internal:
                out[0] = b' '
                out += 1
            memcpy(out, message.size, message.size_len)
            out += message.size_len
            out[0] = b'\r'
            out[1] = b'\n'
            out += 2
            memcpy(out, message.body, message.body_len)
            out += message.body_len
            out[0] = b'\r'
            out[1] = b'\n'
            out += 2
        self.added(out - start)
        self.out_msgs += 1
        self.out_bytes += message.body_len
        self.turn.out_msgs += 1
        self.turn.out_bytes += message.body_len
        if self.responses is not None and message.reply_len:
            self._note_reply(message.reply, message.reply_len)
        if self.tracer is not None:
            self._trace_out(start, out - start)
        if self.pending_bytes > self.hold_bytes:
            self._over(message)
        return 1

    cdef int _deliver_stripped(self, Subscription* sub, Message* message) noexcept:
        """For a client that takes no headers: the payload alone, as MSG (P-32)."""
        cdef Message plain = message[0]
        cdef char[20] digits
        plain.body += plain.header_len
        plain.body_len -= plain.header_len
        plain.header_len = 0
        plain.tail = NULL
        plain.size = digits
        plain.size_len = put_number(digits, plain.body_len) - digits
        return self.deliver(sub, &plain)

    # ---- too much

    cdef void _over(self, Message* message) noexcept:
        """More is pending than holds publishers: cut it, or have the publisher wait."""
        if self.pending_bytes > self.pending_bytes_max:
            self.too_slow(message)
        elif not self.exempt:
            if self.turn.now - self.progress_at > EXEMPT_AFTER_MS * 0.001:
                self.exempt = True
            else:
                self.turn.blocker = <void*>self

    cdef void too_slow(self, Message* message) noexcept:
        """The peer is too far behind: subclasses close it."""
        pass

    cdef void faulted(self) noexcept:
        """A mistake of ours, which whoever calls this reports: it costs this one."""
        pass

    # ---- special cases

    cdef void _note_reply(self, const char* reply, Py_ssize_t length) noexcept:
        """It may now answer this request, unless it may publish there anyway. As in nats-server the question costs one
        of the answers left when the same reply subject comes again (P-66)."""
        cdef bytes subject
        if self.permissions.may_publish(reply, length) or self.may_answer(reply, length):
            return
        try:
            subject = reply[:length]
            while self.responses:
                # the oldest come first, and expire first
                oldest = next(iter(self.responses))
                if self.responses[oldest][1] >= self.turn.now and len(self.responses) < RESPONSES_MAX:
                    break
                del self.responses[oldest]
            self.responses[subject] = [
                self.permissions.responses_max, self.turn.now + self.permissions.responses_expire_s]
        except MemoryError:
            pass

    cdef bint may_answer(self, const char* subject, Py_ssize_t length) noexcept:
        """Whether this is an answer to a request that it received; takes one of the answers left (P-66)."""
        cdef list left
        if self.responses is None:
            return False
        try:
            left = self.responses.get(subject[:length])
            if left is None:
                return False
            left[0] -= 1
            if left[0] < 0 or left[1] < self.turn.now:
                del self.responses[subject[:length]]
                return False
            return True
        except MemoryError:
            return False

    cdef void _trace_out(self, const char* frame, Py_ssize_t length) noexcept:
        try:
            self.tracer.outgoing(frame[:length])
        except Exception:
            self.faulted()
            raise
