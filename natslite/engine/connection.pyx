# cython: cdivision=True
"""One client's engine state: what it said in CONNECT, its subscriptions, permissions, limits, timers and statistics.

`feed(data)` takes what the client sent, in pieces of any size; `take()` gives what it is to be sent. There is no
socket here: the hub reads and writes one, other transports and the tests call feed and take. Verbs that Python decides
(CONNECT, and INFO, whose JSON is checked) stop the reading: `control` then holds the line, and reading goes on with
`resume()`.

Rules: P-10 to P-19 (reading), P-30 to P-38 (delivery), P-40 to P-49 (limits), P-50 to P-55 (before CONNECT).

Invariants: nothing is closed in the middle of a message: `stop` marks, and the owner of the turn takes apart later. A
closed connection delivers nothing more, even while its subscriptions are still being taken out.
"""

cimport cython

from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memmove

from .outbound cimport put_number
from .permissions cimport Permissions
from .reader cimport (CONNECT, ERR, HMSG, HPUB, INFO, OK, PING, PONG, PUB, SCAN_ARGUMENTS, SCAN_MORE, SCAN_TOO_LONG,
                      SCANNED, SUB, UNSUB, NO_VERB, parse_size, scan)
from .receiver cimport SUB_FILTERED, Turn
from .sublist cimport count_tokens, has_wildcard, is_fresh, is_valid_subject, release
from .table cimport hash_bytes, table_any, table_chain, table_insert, table_remove, Link

cdef enum:
    MORE = -1
    GO_ON = -2
    # what a slice of a turn counts beside the bytes it queues: see `process`
    WORK_PUBLISH = 64
    WORK_COLD = 2048    # a subject that was looked up: with a million subscriptions each step misses the cache
    WORK_WALKED = 128   # each subscription or node of the trie that was looked at in vain
    WORK_SUBSCRIBE = 6144
    HOLD_BYTES = 4 << 20
    BLANKS_KEPT = 64    # before the arguments of a line that is not whole: fewer are not worth taking out
    UNTRUSTED_PENDING_BYTES_MAX = 64 << 10  # answers that wait for a peer before it has authenticated (P-53)

cdef double RTT_INTERVAL_S = 3600.0  # even a busy client is measured this often

# Why a connection was closed, as nats-server names it in its monitoring and its log
CLIENT_CLOSED = "Client Closed"
READ_ERROR = "Read Error"
WRITE_ERROR = "Write Error"
PARSE_ERROR = "Parse Error"
PROTOCOL_VIOLATION = "Protocol Violation"
CONTROL_LINE_EXCEEDED = "Maximum Control Line Exceeded"
PAYLOAD_EXCEEDED = "Maximum Message Payload Exceeded"
AUTHENTICATION_VIOLATION = "Authentication Failure"
AUTHENTICATION_TIMEOUT = "Authentication Timeout"
STALE = "Stale Connection"
SLOW_PENDING = "Slow Consumer (Pending Bytes)"
SLOW_WRITE = "Slow Consumer (Write Deadline)"
SERVER_SHUTDOWN = "Server Shutdown"
FAULT = "Internal Fault"        # our own: no memory, or a mistake of ours

# What a person is told about arguments that make no sense, before CONNECT (P-51)
HELP = {
    <int>PUB: b"PUB takes a subject and a payload size: PUB <subject> [reply-to] <size>",
    <int>HPUB: b"HPUB takes a subject and two sizes: HPUB <subject> [reply-to] <header size> <total size>",
    <int>SUB: b"SUB takes a subject and a subscription id: SUB <subject> [queue group] <sid>",
    <int>UNSUB: b"UNSUB takes a subscription id: UNSUB <sid> [max messages]",
    <int>HMSG: b"HMSG is for servers only",
}
NO_HEADERS = b"HPUB needs headers: first send CONNECT {\"headers\":true}"


cdef class Limits:
    """The limits that hold for a connection. See the table in protocol.md; 0 is unlimited where it says so."""

    def __init__(self, *, int64_t payload_bytes_max=1 << 20, Py_ssize_t control_line_bytes_max=4096,
                 int64_t pending_bytes_max=64 << 20, int64_t subscriptions_max=0, Py_ssize_t subscription_tokens_max=0,
                 int pings_outstanding_max=2, double ping_interval_s=120.0, double write_deadline_s=10.0):
        self.payload_bytes_max = payload_bytes_max
        self.control_line_bytes_max = control_line_bytes_max
        self.pending_bytes_max = pending_bytes_max
        self.subscriptions_max = subscriptions_max
        self.subscription_tokens_max = subscription_tokens_max
        self.pings_outstanding_max = pings_outstanding_max
        self.ping_interval_s = ping_interval_s
        self.write_deadline_s = write_deadline_s


@cython.no_gc_clear
cdef class Connection(Outbound):
    def __init__(self, Turn turn, Sublist sublist, Limits limits, uint64_t cid, *, bint trusted=True):
        """`trusted` False: only CONNECT is understood until `accept` (P-50)."""
        self.turn = turn
        self.sublist = sublist
        self.limits = limits
        self.cid = cid
        self.trusted = trusted
        self.verbose = self.pedantic = self.echo = True
        self.fd = -1
        self.pending_bytes_max = limits.pending_bytes_max if trusted else UNTRUSTED_PENDING_BYTES_MAX
        self.hold_bytes = min(HOLD_BYTES, limits.pending_bytes_max * 3 // 4)
        self.progress_at = self.last_in = turn.now
        self.ping_at = turn.now + limits.ping_interval_s

    def __dealloc__(self):
        self.tracer = None
        while not self.drop_subs(1 << 20):
            pass
        self._forget_recent()
        free(self.input)

    cdef void _forget_recent(self) noexcept:
        cdef int i
        for i in range(RECENT):
            if self.recent[i] != NULL:
                release(self.recent[i])
                self.recent[i] = NULL

    # ---- what its owner calls

    def feed(self, data: bytes) -> None:
        """Takes bytes from the client. Reading stops at a verb that Python decides, and at a close.

        `should_wait` then says whether a subscriber is too far behind: a transport holds its client for it (P-45)."""
        cdef const unsigned char[::1] view = data
        self.should_wait = False
        self.last_in = self.turn.now
        if self.closed or len(view) == 0:
            return
        if self.input_end > self.input_start or self.control is not None:
            if not self.keep(<const char*>&view[0], len(view)):
                self.stop(FAULT, False)
            self._read_on()
        else:
            self._read(<const char*>&view[0], len(view))

    def feed_slice(self, bytes data=b"", Py_ssize_t allowance=0) -> int:
        """As `feed`, for a transport whose client shares the loop with others: reads one slice of a turn of all that
        there is, and returns how many bytes it was. `cut` says whether to come again, `should_wait` whether to hold
        the client before; the first `allowance` bytes are read whatever the subscribers do."""
        cdef size_t before = self.input_end - self.input_start + len(data)
        self.sliced = True
        self.should_wait = self.cut = False
        if self.closed:
            return 0
        if data:
            self.last_in = self.turn.now
            if not self.keep(data, len(data)):
                self.stop(FAULT, False)
        self.allowance = allowance
        self._slice()
        self.allowance = 0
        return before - (self.input_end - self.input_start)

    cdef void _slice(self) noexcept:
        cdef Py_ssize_t used = 0
        cdef const char* data = self.input + self.input_start
        cdef Py_ssize_t length = self.input_end - self.input_start
        cdef int stop
        if self.control is not None or length == 0 or self.closed:
            return
        self.turn.blocker = NULL
        stop = self.process(data, length, &used, SLICE_BYTES)
        if not self.keep_rest(data + used, length - used):
            self.stop(FAULT, False)
        self.should_wait = stop == STOP_HELD
        self.cut = stop == STOP_HELD or stop == STOP_CUT

    def resume(self) -> None:
        """Goes on reading after `control` was decided."""
        self.control = None
        if self.sliced:
            self.cut = self.input_end > self.input_start
        elif self.fd < 0:
            self._read_on()

    cdef void _read_on(self) noexcept:
        if self.control is None and self.input_end > self.input_start and not self.closed:
            self._read(self.input + self.input_start, self.input_end - self.input_start)

    cdef void _read(self, const char* data, Py_ssize_t length) noexcept:
        """Reads all that there is, however long it takes: for connections without a hub."""
        cdef Py_ssize_t used = 0, part
        cdef int stop = STOP_CUT
        while stop == STOP_CUT or stop == STOP_HELD:
            part = 0
            self.turn.blocker = NULL
            stop = self.process(data + used, length - used, &part, 1 << 20)
            used += part
            if stop == STOP_HELD:
                self.should_wait = True
        if not self.keep_rest(data + used, length - used):
            self.stop(FAULT, False)

    def accept(self, *, bint verbose, bint pedantic, bint echo, bint headers, bint no_responders,
               bytes after_ping=None, double first_ping_s=0.0) -> None:
        """Applies a CONNECT. `after_ping`: the INFO that follows the first PONG; `first_ping_s`: from now."""
        self.verbose = verbose
        self.pedantic = pedantic
        self.echo = echo
        self.headers = headers
        self.no_responders = no_responders
        self.after_ping = None if self.pinged else after_ping
        self.connected = self.trusted = True
        self.pending_bytes_max = self.limits.pending_bytes_max
        self.deadline_at = 0
        if first_ping_s > 0:
            self.ping_at = self.turn.now + first_ping_s
        if verbose:
            self.put(b"+OK\r\n", 5)

    def set_permissions(self, Permissions permissions) -> None:
        """None: everything is allowed."""
        self.permissions = permissions
        self.responses = {} if permissions is not None and permissions.responses_max else None
        self._forget_recent()

    def set_tracer(self, tracer) -> None:
        """Called for all that is said and heard: `incoming(verb, arguments)`, `payload(bytes)`, `outgoing(frame)` and
        `expired(sid)`. None: nobody is."""
        self.tracer = tracer

    def drop_subscriptions(self, int limit) -> bool:
        """Takes out at most `limit` of them, as a second CONNECT does (P-8); whether none is left."""
        return self.drop_subs(limit)

    def send(self, bytes data) -> None:
        """Queues bytes, for INFO and the like."""
        if not self.closed:
            self.put(data, len(data))

    def error(self, bytes text) -> None:
        """Sends `-ERR 'text'`; the connection stays."""
        self._quote(b"-ERR '", text, len(text), b"'\r\n")

    def close(self, reason: str, *, flush: bool = True, bytes error=None) -> None:
        """Ends the connection, after an -ERR if one is given; `flush` False throws away what is pending."""
        if error is not None and not self.closed:
            self.error(error)
        self.stop(reason, flush)

    @property
    def is_closed(self) -> bool:
        return self.closed

    @property
    def counted_in(self) -> tuple[int, int]:
        """Messages and bytes that it published."""
        return self.in_msgs, self.in_bytes

    @property
    def subscriptions(self) -> int:
        return self.subs.count

    @property
    def unread(self) -> int:
        """Bytes of memory that hold input which is not read yet."""
        return self.input_room

    @property
    def lost(self) -> tuple[bytes | None, int]:
        """When it was cut as too slow: the subject that was too much, and how many bytes it did not get."""
        return self.lost_subject, self.lost_bytes

    def timer(self, double now) -> float:
        """Does what is due at `now`; when to be called again."""
        self.turn.now = now
        return self.on_timer(now)

    # ---- input that waits

    cdef bint keep_rest(self, const char* data, size_t length) noexcept:
        """Keeps what `process` left, as far as it matters; `data` may be part of what is kept already."""
        cdef char* grown
        cdef size_t blanks = self.blanks_to - self.blanks_from
        if self.keep_max and length > self.keep_max:
            length = self.keep_max
        if length == 0 or self.closed:
            self.input_start = self.input_end = self.input_room = 0
            free(self.input)
            self.input = NULL
            return True
        if self.input != NULL and self.input <= data < self.input + self.input_room:
            if blanks:
                # before the blanks stands the verb, which is short
                memmove(<char*>data + blanks, data, self.blanks_from)
                data += blanks
                length -= blanks
            self.input_start = data - self.input
            self.input_end = self.input_start + length
            if self.input_room > 4096 and length < self.input_room // 4:
                memmove(self.input, data, length)
                self.input_start = 0
                self.input_end = self.input_room = length
                grown = <char*>realloc(self.input, length)
                if grown != NULL:
                    self.input = grown
            return True
        self.input_start = self.input_end = 0
        if blanks:
            return self.keep(data, self.blanks_from) and self.keep(data + self.blanks_to, length - self.blanks_to)
        return self.keep(data, length)

    cdef bint keep(self, const char* data, size_t length) noexcept:
        """Keeps bytes for later, behind those already kept. False without memory."""
        cdef size_t held = self.input_end - self.input_start
        cdef size_t room
        cdef char* grown
        if self.input_start and self.input_end + length > self.input_room:
            memmove(self.input, self.input + self.input_start, held)
            self.input_start = 0
            self.input_end = held
        if self.input_end + length > self.input_room:
            room = 2 * self.input_room
            if room < self.input_end + length:
                room = self.input_end + length
            grown = <char*>realloc(self.input, room)
            if grown == NULL:
                return False
            self.input = grown
            self.input_room = room
        memcpy(self.input + self.input_end, data, length)
        self.input_end += length
        return True

    # ---- reading

    cdef int process(self, const char* data, Py_ssize_t length, Py_ssize_t* used, size_t budget) noexcept:
        """Reads commands until the bytes, the slice or the patience with slow subscribers ends; a `Stop`.

        The slice ends when what was queued, with a charge for other work, reaches `budget` bytes. Messages are never
        taken apart: what was begun is delivered to all."""
        cdef Command command
        cdef int status
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t line_max = self.limits.control_line_bytes_max
        cdef const char* p
        cdef size_t queued_max = self.turn.queued + budget
        self.input_need = 0
        self.keep_max = self.blanks_from = self.blanks_to = 0
        while at < length:
            p = data + at
            if not self.connected:
                if p[0] == b'\n':
                    at += 1
                    continue
                if p[0] == b'\r' and (length - at == 1 or p[1] == b'\n'):
                    if length - at == 1:
                        break
                    at += 2
                    continue
            if not self.trusted and p[0] != b'C' and p[0] != b'c':
                self.fail(b"Authorization Violation", AUTHENTICATION_VIOLATION)
                break
            status = scan(p, length - at, line_max, &command)
            if status == SCANNED:
                if command.verb == PUB or command.verb == HPUB:
                    status = self._publish(p, length - at, &command, &at)
                    if status == GO_ON:
                        if self.turn.blocker != NULL and at > self.allowance:
                            used[0] = at
                            return STOP_HELD
                        if self.turn.queued >= queued_max:
                            used[0] = at
                            return STOP_CUT
                        continue
                    if status == MORE:
                        break
                elif command.verb == SUB:
                    at += command.line_len
                    self._subscribe(&command)
                    self.turn.queued += WORK_SUBSCRIBE
                elif command.verb == UNSUB:
                    at += command.line_len
                    self._unsubscribe(&command)
                    self.turn.queued += WORK_SUBSCRIBE
                else:
                    at += self._other(p, length - at, &command)
                if self.closed:
                    break
                if self.control is not None:
                    used[0] = at
                    return STOP_CONTROL
                if self.turn.queued >= queued_max:
                    used[0] = at
                    return STOP_CUT
            elif status == SCAN_MORE:
                if command.keep_len < length - at:
                    self.keep_max = command.keep_len  # nothing else can matter before the line's end (P-16)
                elif command.blanks_to > command.blanks_from + BLANKS_KEPT:
                    self.blanks_from = command.blanks_from
                    self.blanks_to = command.blanks_to
                break
            elif status == SCAN_ARGUMENTS:
                at += command.line_len
                if self.tracer is not None:
                    self._trace_in(_NAMES[<int>command.verb], command.arg, command.arg_len)
                self._bad_arguments(&command)
            elif status == SCAN_TOO_LONG:
                self.fail(b"maximum control line exceeded", CONTROL_LINE_EXCEEDED)
            else:
                self.fail(b"Unknown Protocol Operation", PROTOCOL_VIOLATION)
            if self.closed:
                break
        used[0] = at
        return STOP_CLOSED if self.closed else STOP_DONE

    cdef Py_ssize_t _other(self, const char* data, Py_ssize_t length, Command* command) noexcept:
        """Verbs without a place in the hot loop; how many bytes were read."""
        if self.tracer is not None:
            self._trace_in(_NAMES[<int>command.verb], command.arg, 0 if command.verb == PING else command.arg_len)
        if command.verb == PING:
            self.put(b"PONG\r\n", 6)
            if self.connected and not self.pinged:
                self.pinged = True
                if self.after_ping is not None:
                    self.send(self.after_ping)
                    self.after_ping = None
        elif command.verb == PONG:
            self.pings_outstanding = 0
            self.rtt_s = self.turn.now - self.ping_sent_at
        elif command.verb == CONNECT or command.verb == INFO:
            self._control(command)
        elif command.verb == ERR:
            self.stop(PARSE_ERROR, True)
        elif command.verb == HMSG:
            if self.connected:
                self.fail(b"Unknown Protocol Operation", PROTOCOL_VIOLATION)
            else:
                self._bad_arguments(command)
        return command.line_len

    cdef int _control(self, Command* command) noexcept:
        try:
            self.control = command.arg[:command.arg_len]
            self.control_verb = command.verb
        except MemoryError:
            self.stop(FAULT, False)
        return 0

    @property
    def control_is_connect(self) -> bool:
        """Whether `control` is a CONNECT, else it is an INFO."""
        return self.control_verb == CONNECT

    cdef int _bad_arguments(self, Command* command) noexcept:
        """A person is told what was wrong and stays; a client is closed without a word (P-14, P-51)."""
        cdef bytes text
        if self.connected:
            self.stop(PROTOCOL_VIOLATION, True)
            return 0
        text = HELP[<int>command.verb]
        self._quote(b"-ERR '", text, len(text), b"'\r\n")
        return 0

    # ---- publishing

    cdef int _publish(self, const char* data, Py_ssize_t length, Command* command, Py_ssize_t* at) noexcept:
        """A PUB or HPUB whose line is whole: GO_ON, MORE, or 0 after an error."""
        cdef Message message
        cdef Py_ssize_t total = <Py_ssize_t>command.total_len
        cdef Py_ssize_t end = command.line_len + total
        cdef int size_words = 1
        cdef bytes text
        cdef char[24] sizes
        if self.tracer is not None and not self.judged:
            self._trace_in(_NAMES[<int>command.verb], command.arg, command.arg_len)
        if command.verb == HPUB:
            size_words = 2
            if not self.headers:
                if self.connected:
                    self.stop(PROTOCOL_VIOLATION, True)
                else:
                    text = NO_HEADERS
                    self._quote(b"-ERR '", text, len(text), b"'\r\n")
                    at[0] += command.line_len
                return 0
        if total > self.limits.payload_bytes_max:
            self.fail(b"Maximum Payload Violation", PAYLOAD_EXCEEDED)
            return 0
        if self.pedantic and not self.judged and not is_valid_subject(command.word[0], command.word_len[0], True):
            self._quote(b"-ERR 'Invalid Publish Subject", NULL, 0, b"'\r\n")
        self.judged = False
        message.tail = NULL
        if length < end + 2:
            if length > end and not self.connected and data[end] == b'\n':
                at[0] += end + 1
            elif length > end and data[end] != b'\r':
                self.fail(b"Unknown Protocol Operation", PROTOCOL_VIOLATION)
                return 0
            else:
                self.input_need = end + 2
                self.judged = True
                return MORE
        elif data[end] == b'\r' and data[end + 1] == b'\n':
            at[0] += end + 2
            if command.canonical and (command.header_len or command.verb == PUB):
                message.tail = command.word[1]
                message.tail_len = data + end + 2 - message.tail
        elif not self.connected and data[end] == b'\n':
            at[0] += end + 1
        else:
            self.fail(b"Unknown Protocol Operation", PROTOCOL_VIOLATION)
            return 0
        message.subject = command.word[0]
        message.subject_len = command.word_len[0]
        message.reply = NULL
        message.reply_len = 0
        if command.words == size_words + 2:
            message.reply = command.word[1]
            message.reply_len = command.word_len[1]
        message.size = command.word[command.words - 1]
        message.size_len = command.word_len[command.words - 1]
        message.header_len = <Py_ssize_t>command.header_len
        message.body = data + command.line_len
        message.body_len = total
        message.internal = False
        if command.header_len and message.tail == NULL:
            # the two sizes as they were written, one blank between
            memcpy(sizes, command.word[command.words - 2], command.word_len[command.words - 2])
            sizes[command.word_len[command.words - 2]] = b' '
            memcpy(sizes + command.word_len[command.words - 2] + 1, message.size, message.size_len)
            message.size_len += command.word_len[command.words - 2] + 1
            message.size = sizes
        if self.tracer is not None:
            self._trace_in(NULL, message.body, message.body_len)
        return self._route(&message)

    cdef int _route(self, Message* message) noexcept:
        """Checks that it may be published, answers, and delivers."""
        cdef Result* result
        cdef bint allowed = True
        cdef Py_ssize_t taken
        cdef uint64_t walked = self.sublist.walked
        self.in_msgs += 1
        self.in_bytes += message.body_len
        self.turn.in_msgs += 1
        self.turn.in_bytes += message.body_len
        self.turn.queued += WORK_PUBLISH
        result = self._resolve(message.subject, message.subject_len, &allowed)
        if result == NULL:
            self.stop(FAULT, False)
            return 0
        if not allowed and not self.may_answer(message.subject, message.subject_len):
            self._quote(b"-ERR 'Permissions Violation for Publish to \"", message.subject, message.subject_len, b"\"'\r\n")
            return GO_ON
        if message.reply_len >= 4 and _reserved_reply(message.reply, message.reply_len):
            self._quote(b"-ERR 'Permissions Violation for Publish with Reply of \"", message.reply, message.reply_len,
                        b"\"'\r\n")
            return GO_ON
        if self.verbose:
            self.put(b"+OK\r\n", 5)
        taken = 0
        self.turn.refused = False
        if result.total != 0:
            taken = self.sublist.route(result, message, <void*>self, self.echo)
            if self.turn.expired_count:
                self.sublist.reap(self.turn)
        self.turn.queued += <size_t>(self.sublist.walked - walked) * WORK_WALKED
        if taken == 0 and self.no_responders and message.reply_len != 0 and not self.turn.refused:
            self._no_responders(message)
        return GO_ON

    cdef Result* _resolve(self, const char* subject, Py_ssize_t length, bint* allowed) noexcept:
        """Who gets the subject, and whether it may be published: remembered for the last few subjects."""
        cdef int slot = <int>((length ^ subject[length - 1]) & (RECENT - 1))
        cdef Result* result = self.recent[slot]
        if result != NULL and result.subject_len == length and memcmp(result.subject, subject, length) == 0 \
                and is_fresh(self.sublist, result):
            allowed[0] = self.recent_allowed[slot]
            return result
        if self.permissions is not None and not self.permissions.may_publish(subject, length):
            allowed[0] = False
        elif (subject[0] == b'$' or subject[0] == b'_') and _reserved_subject(subject, length):
            allowed[0] = False
        result = self.sublist.resolve(subject, length)
        if result == NULL:
            return NULL
        if result.refs == 0:
            self.turn.queued += WORK_COLD
            return result
        if self.recent[slot] != NULL:
            release(self.recent[slot])
        result.refs += 1
        self.recent[slot] = result
        self.recent_allowed[slot] = allowed[0]
        return result

    cdef void _no_responders(self, Message* message) noexcept:
        """Nobody got a request: says so on the requestor's own subscription, if it has one (P-38)."""
        cdef Result* result = self.sublist.resolve(message.reply, message.reply_len)
        cdef Subscription* sub
        cdef uint32_t i
        cdef char* start
        cdef char* out
        cdef char* size
        cdef char[20] digits
        cdef Py_ssize_t digits_len
        if result == NULL or self.closed:
            return
        for i in range(result.plain):
            sub = result.subs[i]
            if sub.receiver == <void*>self:
                break
        else:
            return
        digits_len = put_number(digits, 32 + message.subject_len) - digits
        start = self.reserve(96 + message.reply_len + sub.link.length + message.subject_len)
        if start == NULL:
            self.stop(FAULT, False)
            return
        out = _append(start, b"HMSG ", 5)
        out = _append(out, message.reply, message.reply_len)
        out = _append(out, b" ", 1)
        out = _append(out, sub.sid, sub.link.length + 1)
        out = _append(out, digits, digits_len)
        out = _append(out, b" ", 1)
        out = _append(out, digits, digits_len)
        out = _append(out, b"\r\nNATS/1.0 503\r\nNats-Subject: ", 30)
        out = _append(out, message.subject, message.subject_len)
        out = _append(out, b"\r\n\r\n\r\n", 6)
        self.answered(out - start)  # not traced, as in nats-server

    # ---- subscriptions

    cdef Subscription* _find(self, const char* sid, Py_ssize_t length) noexcept:
        cdef uint32_t hash
        cdef Link* item
        if self.subs.count == 0:
            return NULL
        hash = hash_bytes(sid, length, self.sublist.seed)
        item = table_chain(&self.subs, hash)[0]
        while item != NULL:
            if item.hash == hash and item.length == length and memcmp((<Subscription*>item).sid, sid, length) == 0:
                return <Subscription*>item
            item = item.next
        return NULL

    cdef int _subscribe(self, Command* command) noexcept:
        cdef const char* subject = command.word[0]
        cdef Py_ssize_t length = command.word_len[0]
        cdef const char* queue = NULL
        cdef Py_ssize_t queue_len = 0
        cdef const char* sid = command.word[command.words - 1]
        cdef Py_ssize_t sid_len = command.word_len[command.words - 1]
        cdef Subscription* sub
        if self.tracer is not None:
            self._trace_in(b"SUB", command.arg, command.arg_len)
        if command.words == 3:
            queue = command.word[1]
            queue_len = command.word_len[1]
        if (self.permissions is not None and not self.permissions.may_subscribe(subject, length, queue, queue_len)) \
                or (queue_len == 5 and memcmp(queue, <const char*>b"_sys_", 5) == 0):
            self._refuse(subject, length, queue, queue_len)
            return 0
        if self.limits.subscription_tokens_max > 0 \
                and count_tokens(subject, length) > self.limits.subscription_tokens_max:
            self._quote(b"-ERR 'Permissions Violation for Subscription to \"", subject, length, b"\", too many tokens'\r\n")
            return 0
        if self.limits.subscriptions_max > 0 and self.subs.count >= self.limits.subscriptions_max:
            self._quote(b"-ERR 'maximum subscriptions exceeded", NULL, 0, b"'\r\n")
            return 0
        if self._find(sid, sid_len) == NULL:
            if not is_valid_subject(subject, length, False):
                self._quote(b"-ERR 'Invalid Subject", NULL, 0, b"'\r\n")
                return 0
            sub = self.sublist.insert(self, subject, length, queue, queue_len, sid, sid_len)
            if sub == NULL:
                self.stop(FAULT, False)
                return 0
            if self.permissions is not None and self.permissions.subscribe_deny is not None \
                    and has_wildcard(subject, length):
                sub.link.flags |= SUB_FILTERED
            table_insert(&self.subs, &sub.link)
        if self.verbose:
            self.put(b"+OK\r\n", 5)
        return 0

    cdef void _refuse(self, const char* subject, Py_ssize_t length, const char* queue, Py_ssize_t queue_len) noexcept:
        cdef bytes text
        try:
            if queue == NULL:
                text = b"Permissions Violation for Subscription to \"%b\"" % subject[:length]
            else:
                text = b"Permissions Violation for Subscription to \"%b\" using queue \"%b\"" % (
                    subject[:length], queue[:queue_len])
            self._quote(b"-ERR '", text, len(text), b"'\r\n")
        except MemoryError:
            self.stop(FAULT, False)

    cdef int _unsubscribe(self, Command* command) noexcept:
        cdef Subscription* sub = self._find(command.word[0], command.word_len[0])
        cdef int64_t max = -1
        cdef bint removed = False
        if self.tracer is not None:
            self._trace_in(b"UNSUB", command.arg, command.arg_len)
        if command.words == 2:
            max = parse_size(command.word[1], command.word_len[1])
        if sub != NULL:
            if max > 0 and <uint64_t>max > sub.delivered:
                sub.max = <uint32_t>max
            else:
                self._remove(sub)
                removed = True
        if self.verbose:
            self.put(b"+OK\r\n", 5)
        if removed and self.tracer is not None:
            self._trace_end(command.word[0], command.word_len[0])
        return 0

    cdef void _remove(self, Subscription* sub) noexcept:
        table_remove(&self.subs, &sub.link)
        self.sublist.remove(sub)

    cdef void expire(self, Subscription* sub) noexcept:
        if self.tracer is not None:
            self._trace_end(sub.sid, sub.link.length)
        self._remove(sub)

    cdef bint drop_subs(self, int limit) noexcept:
        """Takes out at most `limit` subscriptions; True when none is left."""
        cdef Subscription* sub
        while self.subs.count:
            if limit == 0:
                return False
            limit -= 1
            sub = <Subscription*>table_any(&self.subs, &self.cursor)
            if self.tracer is not None:
                self._trace_end(sub.sid, sub.link.length)
            self._remove(sub)
        return True

    # ---- ending

    cdef void fail(self, const char* text, object reason) noexcept:
        """-ERR, then the end."""
        if not self.closed:
            self._quote(b"-ERR '", text, _length(text), b"'\r\n")
            self.stop(reason, True)

    cdef void stop(self, object reason, bint flush) noexcept:
        """Ends the connection at the end of the turn; nothing is delivered to it any more."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        self.flush_first = flush
        self.lost_bytes = self.pending_bytes
        self.control = None
        try:
            self.turn.closing.append(self)
        except MemoryError:
            pass

    cdef void faulted(self) noexcept:
        self.tracer = None
        self.stop(FAULT, False)

    cdef void too_slow(self, Message* message) noexcept:
        if self.closed:
            return
        try:
            self.lost_subject = None if message == NULL else message.subject[:message.subject_len]
        except MemoryError:
            pass
        self.turn.slow_consumers += 1
        self.stop(SLOW_PENDING, False)

    # ---- time

    cdef double next_due(self) noexcept:
        """When `on_timer` has to be called; 0: never."""
        cdef double due = self.deadline_at
        if self.ping_at > 0 and (due == 0 or self.ping_at < due):
            due = self.ping_at
        if self.write_at > 0 and (due == 0 or self.write_at < due):
            due = self.write_at
        return due

    cdef bint write_deadline(self) noexcept:
        """After a send: sets the deadline for what is pending; True when it is new (P-47).

        It covers what was pending when it was set, and moves on when that has been sent."""
        if self.pending_bytes == 0:
            self.write_at = 0
        elif self.write_at == 0 or self.sent_bytes >= self.write_mark:
            self.write_at = self.turn.now + self.limits.write_deadline_s
            self.write_mark = self.sent_bytes + self.pending_bytes
            return True
        return False

    def blocked(self, bint yes) -> None:
        """For a transport of Python's: whether the peer is taking nothing just now. Then `Hub.schedule`."""
        if not yes:
            self.write_at = 0
        elif self.write_at == 0:
            self.write_at = self.turn.now + self.limits.write_deadline_s
            self.write_mark = self.sent_bytes + 1

    cdef double on_timer(self, double now) noexcept:
        """Does what is due: the deadline for CONNECT, keep-alive, the write deadline. P-46 to P-49."""
        cdef double interval = self.limits.ping_interval_s
        if self.closed:
            return 0
        if self.deadline_at > 0 and now >= self.deadline_at:
            self.deadline_at = 0
            self.fail(b"Authentication Timeout", AUTHENTICATION_TIMEOUT)
            return 0
        if self.write_at > 0 and now >= self.write_at:
            self.write_at = 0
            self.turn.slow_consumers += 1
            self.stop(SLOW_WRITE, False)
            return 0
        if self.ping_at > 0 and now >= self.ping_at:
            self.ping_at = now + interval
            if now - self.last_in < interval and self.rtt_s > 0 and now - self.ping_sent_at < RTT_INTERVAL_S:
                pass  # it is alive and was measured lately
            elif self.pings_outstanding + 1 > self.limits.pings_outstanding_max and self.connected:
                self.turn.stale_connections += 1
                self.fail(b"Stale Connection", STALE)
                return 0
            else:
                self.pings_outstanding += 1
                self.ping_sent_at = now
                self.put(b"PING\r\n", 6)
        return self.next_due()

    # ---- small things

    cdef void _quote(self, const char* before, const char* text, Py_ssize_t length, const char* after) noexcept:
        """Queues a line made of three parts."""
        cdef Py_ssize_t before_len = _length(before)
        cdef Py_ssize_t after_len = _length(after)
        cdef char* start = self.reserve(before_len + length + after_len)
        cdef char* out
        if start == NULL:
            self.stop(FAULT, False)
            return
        out = _append(start, before, before_len)
        if length:
            out = _append(out, text, length)
        out = _append(out, after, after_len)
        self.answered(out - start)
        if self.tracer is not None:
            self._trace_out(start, out - start)

    cdef void _trace_end(self, const char* sid, Py_ssize_t length) noexcept:
        try:
            self.tracer.expired(sid[:length])
        except Exception:
            self.faulted()
            raise

    cdef void _trace_in(self, const char* verb, const char* arg, Py_ssize_t length) noexcept:
        try:
            if verb == NULL:
                self.tracer.payload(arg[:length])
            else:
                self.tracer.incoming(<bytes>verb, arg[:length])
        except Exception:
            self.faulted()
            raise


cdef const char* _NAMES[12]
_NAMES[<int>NO_VERB] = b""
_NAMES[<int>PUB] = b"PUB"
_NAMES[<int>HPUB] = b"HPUB"
_NAMES[<int>SUB] = b"SUB"
_NAMES[<int>UNSUB] = b"UNSUB"
_NAMES[<int>PING] = b"PING"
_NAMES[<int>PONG] = b"PONG"
_NAMES[<int>CONNECT] = b"CONNECT"
_NAMES[<int>INFO] = b"INFO"
_NAMES[<int>OK] = b"+OK"
_NAMES[<int>ERR] = b"-ERR"
_NAMES[<int>HMSG] = b"HMSG"


cdef inline char* _append(char* out, const char* text, Py_ssize_t length) noexcept:
    memcpy(out, text, length)
    return out + length


cdef inline Py_ssize_t _length(const char* text) noexcept:
    cdef Py_ssize_t length = 0
    while text[length]:
        length += 1
    return length


cdef bint _reserved_subject(const char* subject, Py_ssize_t length) noexcept:
    """Subjects that only servers publish to (P-26)."""
    return (length > 5 and memcmp(subject, <const char*>b"_GR_.", 5) == 0) \
        or (length > 4 and memcmp(subject, <const char*>b"$GR.", 4) == 0) \
        or (length >= 5 and memcmp(subject, <const char*>b"$NRG.", 5) == 0)


cdef bint _reserved_reply(const char* reply, Py_ssize_t length) noexcept:
    """Replies that only servers send (P-27)."""
    return memcmp(reply, <const char*>b"_R_.", 4) == 0 \
        or (length > 8 and memcmp(reply, <const char*>b"$JS.ACK.", 8) == 0) \
        or (length > 5 and memcmp(reply, <const char*>b"_GR_.", 5) == 0) \
        or (length > 4 and memcmp(reply, <const char*>b"$GR.", 4) == 0)
