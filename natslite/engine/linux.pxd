"""What the hub uses of Linux and of its C library: sockets, epoll, eventfd, clocks, the allocator."""

from libc.stdint cimport uint64_t

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct sockaddr_storage:
        unsigned short ss_family
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void* data, size_t length, int flags)
    ssize_t send(int fd, const void* data, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int accept4(int fd, sockaddr* address, socklen_t* length, int flags)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t length)
    int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, SOCK_NONBLOCK, SOCK_CLOEXEC, AF_INET, AF_INET6, SOL_SOCKET, SO_KEEPALIVE

cdef extern from "sys/uio.h" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "netinet/in.h" nogil:
    cdef struct in_addr:
        pass
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_port
        in6_addr sin6_addr
    int IPPROTO_TCP
    unsigned short ntohs(unsigned short value)

cdef extern from "netinet/tcp.h" nogil:
    int TCP_NODELAY

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)

cdef extern from "sys/epoll.h" nogil:
    cdef union epoll_data:
        uint64_t u64
    cdef struct epoll_event:
        unsigned int events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms)
    unsigned int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int start, int flags)
    int EFD_NONBLOCK, EFD_CLOEXEC

cdef extern from "unistd.h" nogil:
    ssize_t read(int fd, void* data, size_t length)
    int close(int fd)

cdef extern from "time.h" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* time)
    int CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID

cdef extern from "malloc.h" nogil:
    int mallopt(int parameter, int value)
    int M_MXFAST, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


cdef inline double monotonic_s() noexcept nogil:
    """Seconds of the clock that only moves forward."""
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef inline double thread_time_s() noexcept nogil:
    """CPU seconds of the calling thread."""
    cdef timespec time
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec + time.tv_nsec * 1e-9
