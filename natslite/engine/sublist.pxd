from libc.stdint cimport uint32_t, uint64_t

from .receiver cimport Group, Message, Receiver, Subscription, Turn
from .table cimport Link, Table

cdef struct Branch

cdef struct Node:
    # One token of a pattern. link.length: bytes of the token; link.flags: NODE_*
    Link link
    Node* parent
    Branch* branch          # NULL: nothing below
    Subscription** subs     # with room for one only: the subscription itself
    uint32_t count
    uint32_t room           # 0: `subs` is the one subscription
    char token[1]

cdef struct Branch:
    Table literals
    Node* star
    Node* rest

cdef struct Result:
    # Who gets a subject: `plain` subscriptions, then the members of each group. Immutable once built.
    Link link               # in the cache, by the subject; link.flags: RESULT_*
    uint32_t refs
    uint32_t token_index    # which generation of first tokens it depends on
    uint64_t token_generation   # 64 bits: one client can touch a token 2**32 times in minutes
    uint64_t generation
    uint32_t plain
    uint32_t groups
    uint32_t total
    uint32_t subject_len
    size_t bytes
    uint32_t* group_ends    # of each group, index behind its last member in `subs`
    Subscription** subs
    char* subject

cdef enum:
    RESULT_DEAD = 1         # out of the cache: never to be used again
    RESULT_USED = 2         # used since the hand of the clock came by
    FIRST_TOKENS = 1024

cdef class Sublist:
    cdef uint64_t seed
    cdef Node root
    cdef Branch top
    cdef Table group_names
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t nodes
    cdef uint64_t walked        # nodes and subscriptions looked at that got nothing: what routing costs beside bytes
    cdef readonly set inboxes   # those with subscriptions: nobody may free them in the middle of a fan-out
    cdef Table cache
    cdef size_t cache_bytes
    cdef size_t cache_bytes_max
    cdef uint32_t hand
    cdef uint32_t* seen
    cdef uint64_t random_state
    cdef uint64_t generation
    cdef uint64_t token_generations[FIRST_TOKENS]
    cdef uint64_t mark
    # scratch of the match under way
    cdef Result scratch
    cdef Subscription** found
    cdef size_t found_count
    cdef size_t found_room
    cdef Subscription** members
    cdef size_t members_count
    cdef size_t members_room
    cdef Group** groups
    cdef size_t groups_count
    cdef size_t groups_room
    cdef uint32_t* ends
    cdef size_t ends_room
    cdef const char** tokens
    cdef uint32_t* token_lens
    cdef size_t tokens_room
    cdef Node** stack_nodes
    cdef uint32_t* stack_levels
    cdef bytearray path
    cdef public list changes    # patterns of each insert and remove, while it is not None

    cdef Subscription* insert(self, Receiver receiver, const char* subject, Py_ssize_t subject_len,
                              const char* queue, Py_ssize_t queue_len,
                              const char* sid, Py_ssize_t sid_len) noexcept
    cdef void remove(self, Subscription* sub) noexcept
    cdef Result* resolve(self, const char* subject, Py_ssize_t subject_len) noexcept
    cdef Py_ssize_t route(self, Result* result, Message* message, void* sender, bint echo) noexcept
    cdef void reap(self, Turn turn) noexcept

    cdef int _room(self, void** array, size_t* room, size_t count, size_t item) noexcept
    cdef Py_ssize_t _split(self, const char* subject, Py_ssize_t subject_len) noexcept
    cdef Node* _child(self, Node* parent, const char* token, uint32_t length, bint make) noexcept
    cdef void _prune(self, Node* node) noexcept
    cdef Group* _group(self, const char* name, Py_ssize_t length) noexcept
    cdef void _drop_group(self, Group* group) noexcept
    cdef void _touch(self, Node* node) noexcept
    cdef Py_ssize_t _pattern(self, Node* node) noexcept
    cdef int _match(self, Py_ssize_t tokens) noexcept
    cdef int _collect(self, Node* node) noexcept
    cdef int _arrange(self) noexcept
    cdef Result* _store(self, uint32_t hash, const char* subject, Py_ssize_t subject_len) noexcept
    cdef bint _admit(self, uint32_t hash) noexcept
    cdef void _kill(self, Result* result) noexcept
    cdef void _evict(self) noexcept

cdef void release(Result* result) noexcept
cdef bint is_valid_subject(const char* subject, Py_ssize_t length, bint literal) noexcept nogil
cdef Py_ssize_t count_tokens(const char* subject, Py_ssize_t length) noexcept nogil
cdef bint has_wildcard(const char* subject, Py_ssize_t length) noexcept nogil


cdef inline bint is_fresh(Sublist sublist, Result* result) noexcept:
    """Whether a cached result still says who gets its subject."""
    return not (result.link.flags & RESULT_DEAD) and result.generation == sublist.generation \
        and result.token_generation == sublist.token_generations[result.token_index]
