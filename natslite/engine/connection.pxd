from libc.stdint cimport int64_t, uint32_t, uint64_t

from .outbound cimport Outbound
from .reader cimport Command
from .receiver cimport Message, Subscription
from .sublist cimport Result, Sublist

cdef enum Stop:
    # why `process` came back before all bytes were read
    STOP_DONE = 0       # everything, or all but an unfinished command
    STOP_CUT = 1        # enough for one slice of a turn
    STOP_HELD = 2       # a subscriber is too far behind
    STOP_CONTROL = 3    # Python has to decide
    STOP_CLOSED = 4

cdef enum:
    RECENT = 4
    SLICE_BYTES = 4 << 20       # queued by one connection before it waits for the flush

cdef class Limits:
    cdef public int64_t payload_bytes_max
    cdef public Py_ssize_t control_line_bytes_max
    cdef public int64_t pending_bytes_max
    cdef public int64_t subscriptions_max
    cdef public Py_ssize_t subscription_tokens_max
    cdef public int pings_outstanding_max
    cdef public double ping_interval_s
    cdef public double write_deadline_s

cdef class Connection(Outbound):
    cdef readonly Sublist sublist
    cdef readonly Limits limits
    cdef readonly uint64_t cid
    cdef public object owner
    # input that was received and not yet read
    cdef char* input
    cdef size_t input_start
    cdef size_t input_end
    cdef size_t input_room
    cdef size_t input_need      # bytes from input_start that the unfinished command takes in all, if known
    cdef size_t keep_max        # of what `process` left, only so much needs to be kept; 0: all
    cdef size_t blanks_from     # and not what lies from here
    cdef size_t blanks_to       # to here; 0: nothing does
    cdef Result* recent[RECENT]
    cdef bint recent_allowed[RECENT]
    # what CONNECT said
    cdef readonly bint verbose
    cdef readonly bint pedantic
    cdef readonly bint echo
    cdef readonly bint no_responders
    cdef readonly bint connected    # a CONNECT was accepted
    cdef readonly bint trusted      # may use other verbs than CONNECT
    cdef bytes after_ping           # INFO that follows the first PONG (P-5)
    cdef readonly bint pinged       # the first PING after CONNECT has come
    cdef bint judged                # the publish that waits for its payload was looked at already (P-23)
    # waiting for Python
    cdef readonly bytes control
    cdef int control_verb
    cdef readonly object reason     # why it was closed, None while open
    cdef readonly bint flush_first  # pending bytes are to be sent before the end
    cdef readonly int64_t lost_bytes  # pending when it was cut
    # counted
    cdef uint64_t in_msgs
    cdef uint64_t in_bytes
    cdef readonly uint64_t stalls
    # timers, times of the loop's clock; 0: none
    cdef public double deadline_at  # for CONNECT
    cdef double ping_at
    cdef double write_at
    cdef uint64_t write_mark        # sent_bytes that must be reached by write_at
    cdef double last_in
    cdef double ping_sent_at
    cdef readonly double rtt_s
    cdef int pings_outstanding
    # the hub's
    cdef readonly int fd
    cdef uint32_t slot
    cdef uint32_t generation
    cdef uint32_t interest          # epoll events asked for
    cdef bint detached              # out of epoll: the peer has ended while nothing was to be read from it
    cdef bint lingering             # closed, and its last bytes are still being sent
    cdef bint attending             # in the list of those that need Python
    cdef bint resuming              # has input that waits for its next slice
    cdef readonly bint should_wait  # what `feed` read went to a subscriber that is too far behind
    cdef readonly bint cut          # `feed_slice` left input that can be read at once
    cdef bint sliced                # its transport reads by `feed_slice`
    cdef bint held
    cdef Py_ssize_t allowance       # bytes that may be read after a hold, whatever its subscribers do
    cdef double held_until
    cdef void* held_by
    cdef double timer_at
    cdef int process(self, const char* data, Py_ssize_t length, Py_ssize_t* used, size_t budget) noexcept
    cdef bint keep(self, const char* data, size_t length) noexcept
    cdef bint drop_subs(self, int limit) noexcept
    cdef void stop(self, object reason, bint flush) noexcept
    cdef void fail(self, const char* text, object reason) noexcept
    cdef double next_due(self) noexcept
    cdef bint write_deadline(self) noexcept
    cdef double on_timer(self, double now) noexcept
    cdef int _publish(self, const char* data, Py_ssize_t length, Command* command, Py_ssize_t* used) noexcept
    cdef int _route(self, Message* message) noexcept
    cdef Py_ssize_t _other(self, const char* data, Py_ssize_t length, Command* command) noexcept
    cdef void _refuse(self, const char* subject, Py_ssize_t length, const char* queue, Py_ssize_t queue_len) noexcept
    cdef void _read_on(self) noexcept
    cdef void _slice(self) noexcept
    cdef void _read(self, const char* data, Py_ssize_t length) noexcept
    cdef bint keep_rest(self, const char* data, size_t length) noexcept
    cdef void _forget_recent(self) noexcept
    cdef int _subscribe(self, Command* command) noexcept
    cdef int _unsubscribe(self, Command* command) noexcept
    cdef Subscription* _find(self, const char* sid, Py_ssize_t length) noexcept
    cdef void _remove(self, Subscription* sub) noexcept
    cdef Result* _resolve(self, const char* subject, Py_ssize_t length, bint* allowed) noexcept
    cdef void _no_responders(self, Message* message) noexcept
    cdef void _quote(self, const char* before, const char* text, Py_ssize_t length, const char* after) noexcept
    cdef int _control(self, Command* command) noexcept
    cdef int _bad_arguments(self, Command* command) noexcept
    cdef void _trace_end(self, const char* sid, Py_ssize_t length) noexcept
    cdef void _trace_in(self, const char* verb, const char* arg, Py_ssize_t length) noexcept
