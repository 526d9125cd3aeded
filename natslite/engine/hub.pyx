# cython: cdivision=True
"""The hub: all plain TCP sockets of a server behind one epoll descriptor.

`poll(now)` is one turn: it serves ready sockets (receive, read, deliver, send) and returns what needs Python: a
connection with a control verb or an end, a listener with new sockets, a watched descriptor. Called by the server's
pump whenever the epoll descriptor is readable, `next_deadline` has come, or `settle` said so. It knows sockets and time;
it knows no protocol and no subscription.

A turn is limited by the clock (2 ms) and each slice within it by work, and whoever makes work waits for it:

1. What is queued is flushed a few receivers at a time; between them other sockets are served, and whoever was just
   served is flushed at once. So one message to ten thousand receivers delays nobody's PONG.
2. A connection whose slice queued a lot is read on only when everything has been flushed (`resuming`).
3. A connection that sends to a subscriber too far behind is held for at most 10 ms (P-45), then one buffer of it is
   read whatever the subscriber does.
4. Closed sockets leave epoll at once; their subscriptions are taken out a few thousand a turn.

epoll events carry slot and generation, never a pointer: an event for a connection that is gone is ignored.
"""

cimport cython

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EPERM, errno
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from .connection cimport SLICE_BYTES, STOP_CLOSED, STOP_CONTROL, STOP_CUT, STOP_DONE, STOP_HELD
from .linux cimport (AF_INET, AF_INET6, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT,
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK,
    M_MMAP_THRESHOLD, M_MXFAST, M_TRIM_THRESHOLD, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET, SO_KEEPALIVE, TCP_NODELAY,
    accept4, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait, eventfd, inet_ntop, iovec, mallopt,
    monotonic_s, msghdr, ntohs, read, recv, send, sendmsg, setsockopt, sockaddr, sockaddr_in, sockaddr_in6,
    sockaddr_storage, socklen_t, thread_time_s)
from .receiver cimport Chunk, Receiver
from .timers cimport Timer, timers_grow, timers_lift, timers_pop, timers_push

import os

from natslite.engine.connection import CLIENT_CLOSED, FAULT, READ_ERROR, SERVER_SHUTDOWN, WRITE_ERROR

cdef enum:
    BUFFER_BYTES = 256 << 10
    EVENTS_MAX = 8              # a longer list, cut off by the clock, starves its tail: epoll keeps its order
    ATTENTION_MAX = 64          # connections handed to Python in one turn
    ACCEPTS_MAX = 16            # of one listener at a time
    CLOSES_MAX = 16
    FLUSH_BATCH = 16
    IOVECS_MAX = 16
    BACKLOG_BYTES_MAX = 16 << 20  # not yet flushed: above it nothing is read
    RELEASED_BYTES = 64 << 10   # read of a held publisher whatever its subscribers do
    SUBSCRIPTIONS_DROPPED = 1024
    UNTRUSTED_BYTES = 64        # read beyond one control line before authentication (P-53)
    WAKE_SLOT = 0

cdef double TURN_S = 0.002
cdef double SPIN_S = 60e-6
cdef double HOLD_S = 0.010


cdef class Watched:
    """A descriptor that Python serves itself: when it is ready, `owner.attend()` is called with `events` set."""

    def __init__(self, owner, int fd):
        self.owner = owner
        self.fd = fd


cdef class Listener(Watched):
    """A listening socket. `accepted` has the new sockets for its owner, who closes each that it does not want."""

    def __init__(self, owner, int fd):
        self.owner = owner
        self.fd = fd
        self.accepted = []


@cython.no_gc_clear
cdef class Hub:
    def __cinit__(self, Turn turn, bint spin=True):
        self.turn = turn
        self.spin = spin
        self.slots = []
        self.free_slots = []
        self.attention = []
        self.resuming = []
        self.held = []
        self.dying = []
        self.spin_history = 0xFFFF
        self.wake_fd = self.epoll_fd = -1
        self.buffer = <char*>malloc(BUFFER_BYTES)
        if self.buffer == NULL:
            raise MemoryError
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        self.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.epoll_fd < 0 or self.wake_fd < 0:
            raise OSError(errno, os.strerror(errno))
        self._take_slot(None)
        if self._register(self.wake_fd, WAKE_SLOT, EPOLLIN) < 0:
            raise OSError(errno, os.strerror(errno))
        self.base = 0
        turn.wake_fd = self.wake_fd

    def __dealloc__(self):
        if self.epoll_fd >= 0:
            close(self.epoll_fd)
        if self.wake_fd >= 0:
            self.turn.asleep = False
            self.turn.wake_fd = -1
            close(self.wake_fd)
        free(self.buffer)
        free(self.generations)
        free(self.timers.items)

    # ---- what is served

    def add(self, Connection connection, int fd=-1) -> None:
        """Takes a connection, and its non-blocking socket (-1: it has a transport of its own, which feeds it).

        The hub closes the socket at the end. OSError when epoll refuses it: the socket is then still the caller's."""
        cdef uint32_t slot = self._take_slot(connection)
        cdef int one = 1
        connection.slot = slot
        connection.generation = self.generations[slot]
        if fd >= 0:
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int))
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(int))
            if self._register(fd, slot, EPOLLIN) < 0:
                self._free_slot(slot)
                raise OSError(errno, os.strerror(errno))
            connection.fd = fd
            connection.interest = EPOLLIN
        self.schedule(connection)

    def watch(self, Watched watched, *, bint reading=True, bint writing=False) -> None:
        """Serves a descriptor of Python's from now on, or changes what is waited for."""
        cdef uint32_t events = (EPOLLIN if reading else 0) | (EPOLLOUT if writing else 0)
        cdef epoll_event event
        if watched.slot == 0:
            watched.slot = self._take_slot(watched)
            if self._register(watched.fd, watched.slot, events) < 0:
                self._free_slot(watched.slot)
                watched.slot = 0
                raise OSError(errno, os.strerror(errno))
            return
        event.events = events
        event.data.u64 = (<uint64_t>self.generations[watched.slot] << 32) | watched.slot
        if epoll_ctl(self.epoll_fd, EPOLL_CTL_MOD, watched.fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))

    def again(self, Watched watched) -> None:
        """Has `owner.attend()` called in the next turn, ready or not."""
        if not watched.attending:
            watched.attending = True
            self.attention.append(watched)

    @property
    def backlogged(self) -> bool:
        """Whether enough is queued for now: whoever reads should let the hub flush first."""
        return self.turn.queued >= SLICE_BYTES

    def unwatch(self, Watched watched) -> None:
        """Leaves a descriptor alone again; it is the caller's to close."""
        cdef epoll_event event
        if watched.slot:
            epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, watched.fd, &event)
            self._free_slot(watched.slot)
            watched.slot = 0

    def schedule(self, Connection connection) -> None:
        """Looks at a connection's timers again, after Python changed one."""
        cdef double due = connection.next_due()
        if due > 0 and (connection.timer_at == 0 or due < connection.timer_at):
            connection.timer_at = due
            self._push(due, connection.slot)

    def give_up(self) -> None:
        """Closes those whose last bytes nobody takes."""
        for item in self.slots:
            if isinstance(item, Connection) and (<Connection>item).lingering:
                self._end(<Connection>item)

    def forget(self, Connection connection) -> None:
        """A transport of Python's has sent, or thrown away, the last of a connection that has ended."""
        if connection.closed and connection.subs.count == 0:
            self._forget(connection)

    def later(self, Connection connection) -> None:
        """Has `owner.attend()` called in the next turn: there is more for Python to do than others should wait for."""
        self._attend(connection)

    def is_gone(self, Connection connection) -> bool:
        """Whether the peer has ended, and had said nothing more than what is being decided. Asked meanwhile."""
        cdef char byte
        cdef ssize_t got
        if connection.fd < 0 or connection.closed:
            return connection.closed
        if connection.input_end > connection.input_start:
            return False
        got = recv(connection.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT)
        return got == 0 or (got < 0 and errno != EAGAIN and errno != EINTR)

    def kick(self) -> None:
        """Has the pump call `poll` soon: something was queued outside of it."""
        self.turn.kick()

    def close(self) -> None:
        """Closes every socket that is still open and lets go of everything. `poll` does nothing of use after it."""
        cdef Connection connection
        for item in self.slots:
            if isinstance(item, Connection):
                (<Connection>item).stop(SERVER_SHUTDOWN, True)
        while self.turn.closing:
            connection = <Connection>self.turn.closing.pop()
            self._unplug(connection)
            connection.drop_subs(1 << 30)
            connection._forget_recent()
        self.give_up()
        del self.slots[1:]
        del self.free_slots[:]
        del self.attention[:]
        del self.resuming[:]
        del self.held[:]
        del self.dying[:]
        self.timers.count = 0

    @property
    def connections(self) -> list:
        """All that are open."""
        return [item for item in self.slots if isinstance(item, Connection) and not (<Connection>item).closed]

    @property
    def held_publishers(self) -> int:
        return len(self.held)

    @property
    def next_deadline(self) -> float:
        """When `poll` has to be called even if no socket is ready; infinity: never."""
        cdef double due = float("inf")
        cdef Connection connection
        if self.timers.count:
            due = self.timers.items[0].at
        if self.held:
            connection = <Connection>self.held[0]
            if connection.held_until < due:
                due = connection.held_until
        return due

    cdef uint32_t _take_slot(self, object item) except? 0xFFFFFFFF:
        cdef uint32_t slot
        cdef uint32_t* grown
        if self.free_slots:
            slot = self.free_slots.pop()
            self.slots[slot] = item
            return slot
        slot = <uint32_t>len(self.slots)
        if slot >= self.generations_room:
            grown = <uint32_t*>realloc(self.generations, (2 * self.generations_room + 64) * sizeof(uint32_t))
            if grown == NULL:
                raise MemoryError
            self.generations = grown
            self.generations_room = 2 * self.generations_room + 64
        self.generations[slot] = 1
        self.slots.append(item)
        return slot

    cdef void _free_slot(self, uint32_t slot) noexcept:
        self.generations[slot] += 1
        self.slots[slot] = None
        self.free_slots.append(slot)

    cdef int _register(self, int fd, uint32_t slot, uint32_t events) noexcept:
        cdef epoll_event event
        event.events = events
        event.data.u64 = (<uint64_t>self.generations[slot] << 32) | slot
        return epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, fd, &event)

    cdef void _interest(self, Connection connection, uint32_t events) noexcept:
        cdef epoll_event event
        if connection.fd < 0 or (connection.interest == events and not connection.detached):
            return
        connection.interest = events
        if connection.detached:
            connection.detached = False
            self._register(connection.fd, connection.slot, events)
            return
        event.events = events
        event.data.u64 = (<uint64_t>connection.generation << 32) | connection.slot
        epoll_ctl(self.epoll_fd, EPOLL_CTL_MOD, connection.fd, &event)

    cdef void _detach(self, Connection connection) noexcept:
        """The peer is gone while its input waits: epoll would say so without end. It is found out again when all has
        been read that the peer had sent."""
        cdef epoll_event event
        connection.detached = True
        connection.interest &= ~EPOLLOUT
        epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, connection.fd, &event)

    cdef void _attend(self, Connection connection) noexcept:
        if not connection.attending:
            connection.attending = True
            self.attention.append(connection)

    cdef double _now(self) noexcept:
        return self.base + monotonic_s()

    # ---- a turn

    def poll(self, double now) -> list:
        """One turn at loop time `now`; everything whose `owner.attend()` is to be called."""
        cdef double started = monotonic_s()
        cdef double last_work = started
        cdef double clock = started
        cdef bint worked = False
        cdef bint spinning = False
        cdef bint did
        cdef list result
        self.base = now - started
        self.turn.now = now
        self.turn.asleep = False
        self.turns += 1
        while True:
            did = self._flush()
            if self.turn.dirty_first == NULL:
                self.turn.queued = 0
                if self._resume():
                    did = True
            if self.turn.queued < BACKLOG_BYTES_MAX and self._events():
                did = True
            if self._close_some():
                did = True
            while self.turn.drained:
                receiver = self.turn.drained.pop()
                self._release(<void*>receiver)
                self.drained_count += 1
            clock = monotonic_s()
            self.turn.now = self.base + clock
            if self._time():
                did = True
            if self.turn.pending > self.turn.pending_bytes_max:
                self._cut_largest()
            if did:
                if spinning:
                    spinning = False
                    self.spin_history = (self.spin_history << 1) | 1
                worked = True
                last_work = clock
            if clock - started >= TURN_S or len(self.attention) >= ATTENTION_MAX:
                break
            if not did:
                if not worked or not (spinning or self._should_spin()) or len(self.attention):
                    break
                spinning = True
                if clock - last_work >= SPIN_S:
                    self.spin_history <<= 1
                    break
        self.cut = clock - started >= TURN_S
        result = self.attention
        self.attention = []
        for item in result:
            if isinstance(item, Connection):
                (<Connection>item).attending = False
            elif isinstance(item, Watched):
                (<Watched>item).attending = False
        return result

    def settle(self) -> bool:
        """After everything was attended to: sends what that queued; whether the next turn is due at once."""
        cdef bint more
        self._flush()
        more = self.cut or self.turn.dirty_first != NULL or len(self.resuming) > 0 or len(self.dying) > 0 \
            or len(self.turn.closing) > 0 or len(self.turn.drained) > 0 or len(self.attention) > 0
        self.turn.asleep = not more
        return more

    cdef bint _should_spin(self) noexcept:
        """Looking again for a while pays only where it lately found something; else one turn in 64 tries."""
        cdef uint32_t bits = self.spin_history & 0xFFFF
        cdef int found = 0
        if not self.spin:
            return False
        while bits:
            bits &= bits - 1
            found += 1
        return found >= 4 or (self.turns & 63) == 0

    cdef bint _events(self) noexcept:
        """Serves at most EVENTS_MAX sockets; whether there was anything new. A descriptor of Python's stays ready until
        its owner attends to it, after this turn: to ask again would give the same answer until the turn's time is up."""
        cdef epoll_event[EVENTS_MAX] events
        cdef int count = epoll_wait(self.epoll_fd, events, EVENTS_MAX, 0)
        cdef int i
        cdef uint32_t slot, what
        cdef uint64_t number
        cdef object item
        cdef Connection connection
        cdef Watched watched
        cdef bint did = False
        for i in range(count):
            slot = <uint32_t>events[i].data.u64
            what = events[i].events
            if self.generations[slot] != <uint32_t>(events[i].data.u64 >> 32):
                continue
            if slot == WAKE_SLOT:
                read(self.wake_fd, &number, 8)
                did = True
                continue
            item = self.slots[slot]
            if isinstance(item, Connection):
                did = True
                connection = <Connection>item
                if what & EPOLLOUT:
                    connection.interest &= ~EPOLLOUT
                    self._flush_one(connection)
                    if not connection.interest & EPOLLOUT:
                        connection.interest |= EPOLLOUT
                        self._interest(connection, connection.interest & ~EPOLLOUT)
                    if connection.lingering and connection.pending_bytes == 0:
                        self._end(connection)
                        continue
                if what & (EPOLLIN | EPOLLHUP | EPOLLERR):
                    if connection.closed:
                        if connection.lingering and what & (EPOLLHUP | EPOLLERR):
                            self._end(connection)
                        continue
                    if connection.held or connection.resuming or connection.control is not None:
                        if what & (EPOLLHUP | EPOLLERR) and not connection.interest & EPOLLIN:
                            self._detach(connection)
                        else:
                            self._interest(connection, connection.interest & ~EPOLLIN)
                        continue
                    self._receive(connection)
                    if connection.dirty:
                        self._flush_one(connection)
            elif isinstance(item, Listener):
                did = True
                self._accept(<Listener>item)
            else:
                watched = <Watched>item
                watched.events = what
                if not watched.attending:
                    did = True
                    watched.attending = True
                    self.attention.append(watched)
        return did

    cdef void _accept(self, Listener listener) noexcept:
        cdef sockaddr_storage address
        cdef socklen_t length
        cdef char[64] text
        cdef const char* found
        cdef int fd, port, i
        for i in range(ACCEPTS_MAX):
            length = sizeof(sockaddr_storage)
            fd = accept4(listener.fd, <sockaddr*>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if errno == EAGAIN:
                    break
                if errno == EINTR or errno == ECONNABORTED or errno == EPERM:
                    continue
                listener.error = errno
                break
            found = NULL
            port = 0
            if address.ss_family == AF_INET:
                found = inet_ntop(AF_INET, &(<sockaddr_in*>&address).sin_addr, text, 64)
                port = ntohs((<sockaddr_in*>&address).sin_port)
            elif address.ss_family == AF_INET6:
                found = inet_ntop(AF_INET6, &(<sockaddr_in6*>&address).sin6_addr, text, 64)
                port = ntohs((<sockaddr_in6*>&address).sin6_port)
            listener.accepted.append((fd, "" if found == NULL else (<bytes>found).decode("ascii"), port))
        if (listener.accepted or listener.error) and not listener.attending:
            listener.attending = True
            self.attention.append(listener)

    # ---- input

    cdef void _receive(self, Connection connection) noexcept:
        """Takes what a socket has and reads it."""
        cdef size_t kept = connection.input_end - connection.input_start
        cdef size_t wanted
        cdef Py_ssize_t got, used = 0
        cdef size_t queued = self.turn.queued
        cdef int stop
        if connection.input_need > BUFFER_BYTES // 2:
            # a long payload is collected in place
            wanted = connection.input_need - kept
            if wanted > BUFFER_BYTES:
                wanted = BUFFER_BYTES
            got = recv(connection.fd, self.buffer, wanted, MSG_DONTWAIT)
            if got > 0:
                connection.last_in = self.turn.now
                if not connection.keep(self.buffer, got):
                    connection.stop(FAULT, False)
                elif kept + got >= connection.input_need:
                    self._read_kept(connection)
                return
        else:
            if kept:
                memcpy(self.buffer, connection.input + connection.input_start, kept)
            wanted = BUFFER_BYTES - kept
            if not connection.trusted and wanted > <size_t>connection.limits.control_line_bytes_max + UNTRUSTED_BYTES:
                wanted = connection.limits.control_line_bytes_max + UNTRUSTED_BYTES
            got = recv(connection.fd, self.buffer + kept, wanted, MSG_DONTWAIT)
            if got > 0:
                connection.last_in = self.turn.now
                self.turn.blocker = NULL
                stop = connection.process(self.buffer, kept + got, &used, SLICE_BYTES)
                connection.allowance -= used
                if not connection.keep_rest(self.buffer + used, kept + got - used):
                    connection.stop(FAULT, False)
                self._after(connection, stop, queued)
                return
        if got == 0:
            connection.stop(CLIENT_CLOSED, False)
        elif errno != EAGAIN and errno != EINTR:
            connection.stop(READ_ERROR, False)

    cdef void _read_kept(self, Connection connection) noexcept:
        """Reads input that waited."""
        cdef size_t kept = connection.input_end - connection.input_start
        cdef size_t queued = self.turn.queued
        cdef Py_ssize_t used = 0
        cdef char* data = connection.input + connection.input_start
        cdef int stop = STOP_DONE
        self.turn.blocker = NULL
        if kept and not connection.closed:
            stop = connection.process(data, kept, &used, SLICE_BYTES)
            connection.allowance -= used
            if not connection.keep_rest(data + used, kept - used):
                connection.stop(FAULT, False)
        self._after(connection, stop, queued)

    cdef void _after(self, Connection connection, int stop, size_t queued) noexcept:
        """What follows from why the reading stopped."""
        if stop == STOP_CLOSED:
            return
        if stop == STOP_CONTROL:
            self._attend(connection)
        elif stop == STOP_HELD:
            self._hold(connection)
        elif stop == STOP_CUT or self.turn.queued - queued >= SLICE_BYTES:
            connection.resuming = True
            self.resuming.append(connection)
        elif connection.interest & EPOLLIN == 0:
            self._interest(connection, connection.interest | EPOLLIN)
        if connection.allowance < 0:
            connection.allowance = 0

    cdef bint _resume(self) noexcept:
        """Reads on where a slice ended, one connection at a time in turn."""
        cdef Connection connection
        cdef bint did = False
        while self.resuming and not did:
            connection = <Connection>self.resuming.pop(0)
            connection.resuming = False
            if connection.closed:
                continue
            did = True
            self._read_kept(connection)
            if connection.dirty:
                self._flush_one(connection)
        return did

    def resume(self, Connection connection) -> None:
        """Reads on after Python has decided what `control` asked for."""
        connection.resume()
        if connection.fd >= 0 and not connection.closed and not connection.resuming and not connection.held:
            self._read_kept(connection)
        if connection.dirty:
            self._flush_one(connection)

    # ---- holding publishers (P-45)

    cdef void _hold(self, Connection connection) noexcept:
        if self.turn.blocker == NULL:
            return
        connection.held = True
        connection.held_by = self.turn.blocker
        connection.held_until = self.turn.now + HOLD_S
        connection.stalls += 1
        self.turn.stalls += 1
        (<Receiver>self.turn.blocker).waited_for = True
        self.turn.blocker = NULL
        self._interest(connection, connection.interest & ~EPOLLIN)
        self.held.append(connection)

    cdef void _release(self, void* blocker) noexcept:
        """Lets go of everyone who was held for this receiver."""
        cdef Connection connection
        cdef list still = []
        for item in self.held:
            connection = <Connection>item
            if connection.held_by != blocker:
                still.append(connection)
                continue
            connection.held = False
            connection.held_by = NULL
            connection.allowance = 0
            if not connection.closed:
                connection.resuming = True
                self.resuming.append(connection)
        self.held = still

    # ---- output

    cdef bint _flush(self) noexcept:
        """Sends for at most FLUSH_BATCH receivers, in the order in which they got something."""
        cdef int i
        cdef void* first
        for i in range(FLUSH_BATCH):
            first = self.turn.dirty_first
            if first == NULL:
                return i > 0
            if isinstance(<object>first, Connection):
                self._flush_one(<Connection>first)
            else:
                self.turn.unmark(<Receiver>first)
                self.attention.append(<object>first)
        return True

    cdef void _flush_one(self, Connection connection) noexcept:
        cdef iovec[IOVECS_MAX] vectors
        cdef msghdr message
        cdef Chunk* chunk
        cdef size_t asked
        cdef ssize_t sent
        self.turn.unmark(connection)
        if connection.fd < 0:
            self._attend(connection)
            return
        if connection.interest & EPOLLOUT:
            return
        while connection.first != NULL:
            chunk = connection.first
            if chunk.next == NULL:
                asked = chunk.end - chunk.start
                sent = send(connection.fd, chunk.data + chunk.start, asked, MSG_DONTWAIT | MSG_NOSIGNAL)
            else:
                memset(&message, 0, sizeof(msghdr))
                message.msg_iov = vectors
                message.msg_iovlen = 0
                asked = 0
                while chunk != NULL and message.msg_iovlen < IOVECS_MAX:
                    vectors[message.msg_iovlen].iov_base = chunk.data + chunk.start
                    vectors[message.msg_iovlen].iov_len = chunk.end - chunk.start
                    asked += chunk.end - chunk.start
                    message.msg_iovlen += 1
                    chunk = chunk.next
                sent = sendmsg(connection.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent > 0:
                connection.consumed(sent)
                connection.progressed()
            elif sent < 0 and errno == EINTR:
                continue
            elif sent < 0 and errno != EAGAIN:
                connection.discard()
                connection.stop(WRITE_ERROR, False)
                break
            if sent < <ssize_t>asked:
                self._interest(connection, connection.interest | EPOLLOUT)
                break
        if connection.write_deadline() and (connection.timer_at == 0 or connection.write_at < connection.timer_at):
            connection.timer_at = connection.write_at
            self._push(connection.write_at, connection.slot)

    cdef void _cut_largest(self) noexcept:
        """All receivers together have too much pending: the one with the most is cut (P-44)."""
        cdef Connection connection
        cdef Connection largest = None
        for item in self.slots:
            if isinstance(item, Connection):
                connection = <Connection>item
                if largest is None or connection.pending_bytes > largest.pending_bytes:
                    largest = connection
        if largest is None:
            return
        if largest.lingering:
            self._end(largest)
        elif not largest.closed:
            largest.too_slow(NULL)
        largest.discard()  # now, so that the next look does not cut another for the same bytes

    # ---- ends

    cdef bint _close_some(self) noexcept:
        """Unplugs everyone that was closed, then takes out the subscriptions of a few."""
        cdef Connection connection
        cdef list closing
        cdef int i, left = SUBSCRIPTIONS_DROPPED
        if self.turn.closing:
            closing = self.turn.closing
            for i in range(min(CLOSES_MAX, len(closing))):
                connection = <Connection>closing[i]
                self._unplug(connection)
                self.dying.append(connection)
            del closing[:CLOSES_MAX]
        elif not self.dying:
            return False
        for i in range(CLOSES_MAX):
            if not self.dying or left <= 0:
                break
            connection = <Connection>self.dying[len(self.dying) - 1]
            left -= <int>min(connection.subs.count, <uint32_t>left) + 8
            if connection.drop_subs(SUBSCRIPTIONS_DROPPED):
                self.dying.pop()
                self._forget(connection)
        return True

    cdef void _unplug(self, Connection connection) noexcept:
        """Closes the socket, or leaves it open until the peer has taken what is pending and is to have."""
        if connection.held:
            connection.held = False
            self.held.remove(connection)
        if connection.waited_for:
            connection.waited_for = False
            self.turn.drained.append(connection)
        if connection.fd >= 0 and connection.flush_first and not connection.detached:
            self._flush_one(connection)
            if connection.pending_bytes > 0:
                connection.lingering = True
                connection.timer_at = self.turn.now + connection.limits.write_deadline_s
                self._push(connection.timer_at, connection.slot)
                self._interest(connection, EPOLLOUT)
                return
        self._end(connection)

    cdef void _end(self, Connection connection) noexcept:
        cdef epoll_event event
        cdef int i
        connection.lingering = False
        if connection.fd >= 0:
            if connection.flush_first:
                # unread input would turn our close into a reset, which takes the last words from the peer
                for i in range(16):
                    if recv(connection.fd, self.buffer, BUFFER_BYTES, MSG_DONTWAIT) <= 0:
                        break
            epoll_ctl(self.epoll_fd, EPOLL_CTL_DEL, connection.fd, &event)
            close(connection.fd)
            connection.fd = -1
            connection.discard()
        self.turn.unmark(connection)
        self._attend(connection)
        if connection.subs.count == 0:
            self._forget(connection)

    cdef void _forget(self, Connection connection) noexcept:
        """Nothing of it is left: its slot is the next one's. What a transport of Python's still sends is something."""
        connection._forget_recent()
        if connection.slot and not connection.lingering and connection.pending_bytes == 0:
            self._free_slot(connection.slot)
            connection.slot = 0

    # ---- time

    cdef bint _time(self) noexcept:
        """Does what is due."""
        cdef Connection connection
        cdef Timer timer
        cdef double due
        cdef bint did = False
        while self.held and (<Connection>self.held[0]).held_until <= self.turn.now:
            connection = <Connection>self.held.pop(0)
            connection.held = False
            connection.allowance = RELEASED_BYTES
            connection.resuming = True
            self.resuming.append(connection)
            did = True
        while self.timers.count and self.timers.items[0].at <= self.turn.now:
            timer = timers_pop(&self.timers)
            if not self._is_current(&timer):
                continue
            connection = <Connection>self.slots[timer.slot]
            connection.timer_at = 0
            if connection.lingering:
                self._end(connection)
                did = True
                continue
            due = connection.on_timer(self.turn.now)
            if due > 0:
                connection.timer_at = due
                self._push(due, timer.slot)
            did = True
        return did

    cdef bint _is_current(self, Timer* timer) noexcept:
        """Whether its connection is still there, and has not set another since."""
        return self.generations[timer.slot] == timer.generation and isinstance(self.slots[timer.slot], Connection) \
            and (<Connection>self.slots[timer.slot]).timer_at == timer.at

    cdef void _push(self, double at, uint32_t slot) noexcept:
        """Sets a timer; one that is not current any more is recognised when it comes up."""
        cdef Timer timer
        timer.at = at
        timer.slot = slot
        timer.generation = self.generations[slot]
        if self.timers.count == self.timers.room:
            self._sweep()
            if self.timers.count >= self.timers.room - self.timers.room // 4 and not timers_grow(&self.timers):
                return
        timers_push(&self.timers, timer)

    cdef void _sweep(self) noexcept:
        """Throws out what is not current before the heap would grow: a client that comes and goes leaves an entry, and
        its time may be far away."""
        cdef size_t i, kept = 0
        for i in range(self.timers.count):
            if self._is_current(&self.timers.items[i]):
                self.timers.items[kept] = self.timers.items[i]
                timers_lift(&self.timers, kept)
                kept += 1
        self.timers.count = kept


def tune_process() -> None:
    """Sets the C allocator up for a server: called by the command, never by an embedded one.

    Small freed blocks are merged at once: left to collect, a client with a million subscriptions that goes makes one
    later call merge millions of them (350 ms). The heap is trimmed in steps that take well under a millisecond."""
    mallopt(M_MXFAST, 0)
    mallopt(M_MMAP_THRESHOLD, 4 << 20)
    mallopt(M_TRIM_THRESHOLD, 4 << 20)


cdef class TurnClock:
    """A trio instrument: the longest pass of the loop, in CPU time of its thread."""

    cdef double since
    cdef readonly double longest_s
    cdef double recent_s

    def after_io_wait(self, timeout) -> None:
        self.since = thread_time_s()

    def before_io_wait(self, timeout) -> None:
        cdef double passed
        if self.since > 0:
            passed = thread_time_s() - self.since
            if passed > self.longest_s:
                self.longest_s = passed
            if passed > self.recent_s:
                self.recent_s = passed

    def read_recent_s(self) -> float:
        """The longest since this was last called."""
        cdef double recent = self.recent_s
        self.recent_s = 0
        return recent
