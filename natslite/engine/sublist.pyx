# cython: cdivision=True
"""The subscriptions of one account: a trie of tokens with `*`, `>` and queue groups, and a cache of match results.

Called by connections, inboxes and batches, which insert and remove subscriptions and route messages through it.
Knows no protocol and no socket. Matching rules: P-20 to P-25; queue groups: P-36.

How a match is found:

1. A literal subject seen before has its `Result` in the cache (bounded by bytes, evicted by a clock hand). A subject
   gets in when it is seen a second time, so subjects that are used once (half of all in some fleets) cost no memory;
   `$JS.ACK.` and `_INBOX.` subjects, which are always used once, never get in.
2. Else the trie is walked without recursion: O(tokens) nodes for each way through the wildcards that exist.

Invariants: a `Result` is never changed once built. A subscription or unsubscription of a literal subject kills the one
result of that subject; one with wildcards raises the generation of its first token (or of everything, when the first
token is a wildcard itself), and results of an older generation are rebuilt when next used. Nothing is ever walked or
cleared. A result must not be used after the turn's subscriptions changed: `is_fresh` tells. The scratch result of an
uncached subject lives until the next `resolve`.
"""

cimport cython

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.stdint cimport uint16_t
from libc.string cimport memchr, memcmp, memcpy

from .receiver cimport SID_ROOM, SUB_DEAD
from .table cimport hash_bytes, table_any, table_chain, table_init, table_insert, table_remove

cdef enum:
    NODE_LITERAL = 0
    NODE_STAR = 1
    NODE_REST = 2
    NODE_WILD = 4           # it or a parent is a wildcard
    SEEN_SLOTS = 1 << 16    # remembers that a subject was seen once
    CACHE_BYTES_MAX = 16 << 20


cdef bint is_valid_subject(const char* subject, Py_ssize_t length, bint literal) noexcept nogil:
    """No empty token, `>` only as the last one (P-21); `literal`: no wildcard tokens either (P-23)."""
    cdef Py_ssize_t i, start = 0
    cdef Py_ssize_t token
    if length == 0:
        return False
    for i in range(length + 1):
        if i == length or subject[i] == b'.':
            token = i - start
            if token == 0:
                return False
            if token == 1:
                if subject[start] == b'>' and (literal or i != length):
                    return False
                if subject[start] == b'*' and literal:
                    return False
            start = i + 1
    return True


cdef bint has_wildcard(const char* subject, Py_ssize_t length) noexcept nogil:
    """Whether some token is `*` or `>`."""
    cdef Py_ssize_t i
    for i in range(length):
        if (subject[i] == b'*' or subject[i] == b'>') and (i == 0 or subject[i - 1] == b'.') \
                and (i == length - 1 or subject[i + 1] == b'.'):
            return True
    return False


cdef Py_ssize_t count_tokens(const char* subject, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i, count = 1
    for i in range(length):
        if subject[i] == b'.':
            count += 1
    return count


cdef void release(Result* result) noexcept:
    """Gives back one reference to a cached result."""
    result.refs -= 1
    if result.refs == 0:
        free(result)


cdef inline bint _used_once(const char* subject, Py_ssize_t length) noexcept nogil:
    if length < 8:
        return False
    if subject[0] == b'_':
        return memcmp(subject, <const char*>b"_INBOX.", 7) == 0
    return subject[0] == b'$' and memcmp(subject, <const char*>b"$JS.ACK.", 8) == 0


@cython.no_gc_clear
cdef class Sublist:
    def __cinit__(self, uint64_t seed=0x243F6A8885A308D3, size_t cache_bytes_max=CACHE_BYTES_MAX):
        self.seed = seed
        self.random_state = seed | 1
        self.cache_bytes_max = cache_bytes_max
        self.root.parent = NULL
        self.root.branch = &self.top
        self.root.subs = NULL
        self.root.count = self.root.room = 0
        self.root.link.flags = NODE_LITERAL
        table_init(&self.top.literals)
        self.top.star = self.top.rest = NULL
        table_init(&self.group_names)
        table_init(&self.cache)
        self.path = bytearray()
        self.inboxes = set()

    def __dealloc__(self):
        cdef uint32_t cursor = 0
        cdef Result* result
        while True:
            result = <Result*>table_any(&self.cache, &cursor)
            if result == NULL:
                break
            table_remove(&self.cache, &result.link)
            result.link.flags |= RESULT_DEAD
            release(result)
        # receivers hold this object and take their subscriptions out first, so the trie and the names are empty
        free(self.seen)
        free(self.found)
        free(self.members)
        free(self.groups)
        free(self.ends)
        free(<void*>self.tokens)
        free(self.token_lens)
        free(self.stack_nodes)
        free(self.stack_levels)

    # ---- changing

    cdef Subscription* insert(self, Receiver receiver, const char* subject, Py_ssize_t subject_len,
                              const char* queue, Py_ssize_t queue_len,
                              const char* sid, Py_ssize_t sid_len) noexcept:
        """Adds a subscription to a valid subject; `queue` NULL: plain. NULL when there is no memory.

        The caller puts it into the receiver's table; `remove` frees it."""
        cdef Py_ssize_t sid_room = sid_len + 1 if sid_len + 1 > SID_ROOM else SID_ROOM
        cdef Subscription* sub = <Subscription*>malloc(sizeof(Subscription) + sid_room)
        cdef Subscription** grown
        cdef Node* node = &self.root
        cdef Node* parent = node
        cdef uint32_t room
        cdef const char* dot
        cdef const char* end = subject + subject_len
        if sub == NULL:
            return NULL
        sub.group = NULL
        if queue != NULL:
            sub.group = self._group(queue, queue_len)
            if sub.group == NULL:
                free(sub)
                return NULL
        while True:
            dot = <const char*>memchr(subject, b'.', end - subject)
            if dot == NULL:
                dot = end
            parent = node
            node = self._child(node, subject, <uint32_t>(dot - subject), True)
            if node == NULL:
                break
            if dot == end:
                break
            subject = dot + 1
        if node != NULL and node.count > 0 and node.count >= node.room:
            room = 4 if node.room == 0 else 2 * node.room
            if node.room == 0:
                grown = <Subscription**>malloc(room * sizeof(Subscription*))
                if grown != NULL:
                    grown[0] = <Subscription*>node.subs
            else:
                grown = <Subscription**>realloc(node.subs, room * sizeof(Subscription*))
            if grown == NULL:
                node = NULL
            else:
                node.subs = grown
                node.room = room
        if node == NULL:
            if parent != &self.root:
                self._prune(parent)
            if sub.group != NULL:
                self._drop_group(sub.group)
            free(sub)
            return NULL
        sub.receiver = <void*>receiver
        sub.node = node
        sub.delivered = 0
        sub.max = 0
        sub.index = node.count
        sub.link.flags = 0
        sub.link.length = <uint16_t>sid_len
        sub.link.hash = hash_bytes(sid, sid_len, self.seed)
        memcpy(sub.sid, sid, sid_len)
        sub.sid[sid_len] = b' '
        if node.room == 0:
            node.subs = <Subscription**>sub
        else:
            node.subs[node.count] = sub
        node.count += 1
        self.count += 1
        self._touch(node)
        return sub

    cdef void remove(self, Subscription* sub) noexcept:
        """Takes out a subscription and frees it."""
        cdef Node* node = <Node*>sub.node
        cdef Subscription* last
        self._touch(node)
        node.count -= 1
        self.count -= 1
        if node.room != 0:
            last = node.subs[node.count]
            node.subs[sub.index] = last
            last.index = sub.index
        if node.count == 0:
            if node.room != 0:
                free(node.subs)
            node.room = 0
            node.subs = NULL
        if sub.group != NULL:
            self._drop_group(sub.group)
        free(sub)
        self._prune(node)

    cdef Node* _child(self, Node* parent, const char* token, uint32_t length, bint make) noexcept:
        cdef Branch* branch = parent.branch
        cdef Node* node
        cdef Link* item
        cdef uint32_t hash = 0
        cdef uint16_t kind = NODE_LITERAL
        if length == 1 and token[0] == b'*':
            kind = NODE_STAR
        elif length == 1 and token[0] == b'>':
            kind = NODE_REST
        if branch != NULL:
            if kind == NODE_STAR:
                if branch.star != NULL:
                    return branch.star
            elif kind == NODE_REST:
                if branch.rest != NULL:
                    return branch.rest
            else:
                hash = hash_bytes(token, length, self.seed)
                item = table_chain(&branch.literals, hash)[0]
                while item != NULL:
                    if item.hash == hash and item.length == length \
                            and memcmp((<Node*>item).token, token, length) == 0:
                        return <Node*>item
                    item = item.next
        elif kind == NODE_LITERAL:
            hash = hash_bytes(token, length, self.seed)
        if not make:
            return NULL
        if branch == NULL:
            branch = <Branch*>malloc(sizeof(Branch))
            if branch == NULL:
                return NULL
            table_init(&branch.literals)
            branch.star = branch.rest = NULL
            parent.branch = branch
        node = <Node*>malloc(sizeof(Node) + length)
        if node == NULL:
            return NULL
        self.nodes += 1
        node.link.hash = hash
        node.link.length = <uint16_t>length
        node.link.flags = kind
        if kind != NODE_LITERAL or (parent.link.flags & NODE_WILD):
            node.link.flags |= NODE_WILD
        node.parent = parent
        node.branch = NULL
        node.subs = NULL
        node.count = node.room = 0
        memcpy(node.token, token, length)
        if kind == NODE_STAR:
            branch.star = node
        elif kind == NODE_REST:
            branch.rest = node
        else:
            table_insert(&branch.literals, &node.link)
        return node

    cdef void _prune(self, Node* node) noexcept:
        """Frees a node that holds nothing, and each parent that then holds nothing."""
        cdef Node* parent
        cdef Branch* branch
        while node.count == 0 and node.parent != NULL:
            branch = node.branch
            if branch != NULL:
                if branch.literals.count != 0 or branch.star != NULL or branch.rest != NULL:
                    return
                free(branch)
                node.branch = NULL
            parent = node.parent
            branch = parent.branch
            if node.link.flags & NODE_STAR:
                branch.star = NULL
            elif node.link.flags & NODE_REST:
                branch.rest = NULL
            else:
                table_remove(&branch.literals, &node.link)
            free(node)
            self.nodes -= 1
            node = parent

    cdef Group* _group(self, const char* name, Py_ssize_t length) noexcept:
        cdef uint32_t hash = hash_bytes(name, length, self.seed)
        cdef Link* item = table_chain(&self.group_names, hash)[0]
        cdef Group* group
        while item != NULL:
            group = <Group*>item
            if item.hash == hash and item.length == length and memcmp(group.name, name, length) == 0:
                group.members += 1
                return group
            item = item.next
        group = <Group*>malloc(sizeof(Group) + length)
        if group == NULL:
            return NULL
        group.link.hash = hash
        group.link.length = <uint16_t>length
        group.link.flags = 0
        group.members = 1
        group.mark = 0
        memcpy(group.name, name, length)
        table_insert(&self.group_names, &group.link)
        return group

    cdef void _drop_group(self, Group* group) noexcept:
        group.members -= 1
        if group.members == 0:
            table_remove(&self.group_names, &group.link)
            free(group)

    cdef void _touch(self, Node* node) noexcept:
        """Makes every cached result stale that the subscriptions of this node are part of, or should be."""
        cdef Node* top
        cdef Py_ssize_t length = 0
        cdef char* path
        cdef uint32_t hash
        cdef Link* item
        if self.changes is not None:
            length = self._pattern(node)
            try:
                path = self.path
                self.changes.append(path[:length] if length >= 0 else b">")
            except MemoryError:
                pass
        if node.link.flags & NODE_WILD:
            top = node
            while top.parent != &self.root:
                top = top.parent
            if top.link.flags & NODE_WILD:
                self.generation += 1
            else:
                self.token_generations[top.link.hash & (FIRST_TOKENS - 1)] += 1
            return
        if self.cache.count == 0:
            return
        length = self._pattern(node)
        if length < 0:
            self.generation += 1
            return
        path = self.path
        hash = hash_bytes(path, length, self.seed)
        item = table_chain(&self.cache, hash)[0]
        while item != NULL:
            if item.hash == hash and (<Result*>item).subject_len == length \
                    and memcmp((<Result*>item).subject, path, length) == 0:
                self._kill(<Result*>item)
                return
            item = item.next

    cdef Py_ssize_t _pattern(self, Node* node) noexcept:
        """Writes the pattern of a node into `path`; its length, -1 without memory."""
        cdef Py_ssize_t length = -1
        cdef Py_ssize_t end
        cdef Node* at = node
        cdef char* path
        while at != &self.root:
            length += at.link.length + 1
            at = at.parent
        if length > len(self.path):
            try:
                self.path.extend(bytes(length))
            except MemoryError:
                return -1
        path = self.path
        end = length
        at = node
        while True:
            end -= at.link.length
            memcpy(path + end, at.token, at.link.length)
            at = at.parent
            if at == &self.root:
                return length
            end -= 1
            path[end] = b'.'

    # ---- matching

    cdef Result* resolve(self, const char* subject, Py_ssize_t subject_len) noexcept:
        """Who gets a message on this subject; NULL without memory. Borrowed: see the invariants above."""
        cdef uint32_t hash = 0
        cdef Link* item
        cdef Result* result
        cdef bint cacheable = not _used_once(subject, subject_len)
        cdef bint was_cached = False
        cdef Py_ssize_t tokens
        if cacheable:
            hash = hash_bytes(subject, subject_len, self.seed)
            item = table_chain(&self.cache, hash)[0]
            while item != NULL:
                result = <Result*>item
                if item.hash == hash and result.subject_len == subject_len \
                        and memcmp(result.subject, subject, subject_len) == 0:
                    if is_fresh(self, result):
                        item.flags |= RESULT_USED
                        return result
                    self._kill(result)
                    was_cached = True
                    break
                item = item.next
        tokens = self._split(subject, subject_len)
        self.found_count = self.members_count = self.groups_count = 0
        self.mark += 1
        if tokens < 0 or (tokens > 0 and self._match(tokens) < 0) or self._arrange() < 0:
            return NULL
        self.scratch.token_index = 0
        if tokens > 0:
            self.scratch.token_index = hash_bytes(self.tokens[0], self.token_lens[0], self.seed) & (FIRST_TOKENS - 1)
        self.scratch.token_generation = self.token_generations[self.scratch.token_index]
        self.scratch.generation = self.generation
        if cacheable and (was_cached or self._admit(hash)):
            result = self._store(hash, subject, subject_len)
            if result != NULL:
                return result
        self.scratch.refs = 0
        return &self.scratch

    cdef int _room(self, void** array, size_t* room, size_t count, size_t item) noexcept:
        """Makes room for `count` items of `item` bytes; -1 without memory."""
        cdef void* grown
        cdef size_t wanted
        if count <= room[0]:
            return 0
        wanted = 2 * room[0] if 2 * room[0] > count else count + 16
        grown = realloc(array[0], wanted * item)
        if grown == NULL:
            return -1
        array[0] = grown
        room[0] = wanted
        return 0

    cdef Py_ssize_t _split(self, const char* subject, Py_ssize_t subject_len) noexcept:
        """Fills `tokens`; their number, 0 when one is empty (such a subject matches nothing, P-22), -1 no memory."""
        cdef Py_ssize_t i, start = 0
        cdef size_t count = 0
        cdef size_t room
        if <size_t>subject_len + 1 > 2 * self.tokens_room:
            room = <size_t>subject_len // 2 + 16
            self.tokens_room = 0
            free(<void*>self.tokens)
            free(self.token_lens)
            free(self.stack_nodes)
            free(self.stack_levels)
            self.tokens = <const char**>malloc(room * sizeof(char*))
            self.token_lens = <uint32_t*>malloc(room * sizeof(uint32_t))
            self.stack_nodes = <Node**>malloc(room * sizeof(Node*))
            self.stack_levels = <uint32_t*>malloc(room * sizeof(uint32_t))
            if self.tokens == NULL or self.token_lens == NULL or self.stack_nodes == NULL or self.stack_levels == NULL:
                return -1
            self.tokens_room = room
        for i in range(subject_len + 1):
            if i == subject_len or subject[i] == b'.':
                if i == start:
                    return 0
                self.tokens[count] = subject + start
                self.token_lens[count] = <uint32_t>(i - start)
                count += 1
                start = i + 1
        return <Py_ssize_t>count

    cdef int _match(self, Py_ssize_t tokens) noexcept:
        """Collects the subscriptions of every node that matches, in the order of nats-server: `>` first, then what
        is below `*`, then the literal way. Each way through pushes at most once a level, so the stack has room."""
        cdef Node* node = &self.root
        cdef Node* child
        cdef Branch* branch
        cdef Py_ssize_t level = 0
        cdef Py_ssize_t depth = 0
        cdef uint32_t hash
        cdef Link* item
        while True:
            self.walked += 1
            branch = node.branch
            if branch != NULL:
                if branch.rest != NULL and self._collect(branch.rest) < 0:
                    return -1
                child = NULL
                if branch.literals.count != 0:
                    hash = hash_bytes(self.tokens[level], self.token_lens[level], self.seed)
                    item = table_chain(&branch.literals, hash)[0]
                    while item != NULL:
                        if item.hash == hash and item.length == self.token_lens[level] \
                                and memcmp((<Node*>item).token, self.tokens[level], item.length) == 0:
                            child = <Node*>item
                            break
                        item = item.next
                if level == tokens - 1:
                    if child != NULL and self._collect(child) < 0:
                        return -1
                    if branch.star != NULL and self._collect(branch.star) < 0:
                        return -1
                elif branch.star != NULL:
                    if child != NULL:
                        self.stack_nodes[depth] = child
                        self.stack_levels[depth] = <uint32_t>(level + 1)
                        depth += 1
                    node = branch.star
                    level += 1
                    continue
                elif child != NULL:
                    node = child
                    level += 1
                    continue
            if depth == 0:
                return 0
            depth -= 1
            node = self.stack_nodes[depth]
            level = self.stack_levels[depth]

    cdef int _collect(self, Node* node) noexcept:
        cdef uint32_t i
        cdef Subscription* sub
        cdef Group* group
        if self._room(<void**>&self.found, &self.found_room, self.found_count + node.count, sizeof(void*)) < 0:
            return -1
        self.walked += node.count
        for i in range(node.count):
            sub = <Subscription*>node.subs if node.room == 0 else node.subs[i]
            group = sub.group
            if group == NULL:
                self.found[self.found_count] = sub
                self.found_count += 1
                continue
            if group.mark != self.mark:
                if self._room(<void**>&self.groups, &self.groups_room, self.groups_count + 1, sizeof(void*)) < 0 \
                        or self._room(<void**>&self.ends, &self.ends_room, self.groups_count + 1, sizeof(uint32_t)) < 0:
                    return -1
                group.mark = self.mark
                group.slot = <uint32_t>self.groups_count
                self.groups[self.groups_count] = group
                self.ends[self.groups_count] = 0
                self.groups_count += 1
            self.ends[group.slot] += 1
            if self._room(<void**>&self.members, &self.members_room, self.members_count + 1, sizeof(void*)) < 0:
                return -1
            self.members[self.members_count] = sub
            self.members_count += 1
        return 0

    cdef int _arrange(self) noexcept:
        """Orders what was collected into `scratch`: plain ones, then group by group."""
        cdef size_t i, total = self.found_count + self.members_count
        cdef uint32_t start, size
        cdef Subscription* sub
        self.scratch.plain = <uint32_t>self.found_count
        self.scratch.groups = <uint32_t>self.groups_count
        self.scratch.total = <uint32_t>total
        self.scratch.link.flags = 0
        self.scratch.subs = self.found
        self.scratch.group_ends = self.ends
        if self.members_count == 0:
            return 0
        if self._room(<void**>&self.found, &self.found_room, total, sizeof(void*)) < 0:
            return -1
        self.scratch.subs = self.found
        start = <uint32_t>self.found_count
        for i in range(self.groups_count):
            size = self.ends[i]
            self.ends[i] = start
            start += size
        for i in range(self.members_count):
            sub = self.members[i]
            self.found[self.ends[sub.group.slot]] = sub
            self.ends[sub.group.slot] += 1  # ends where its last member was put
        return 0

    # ---- the cache

    cdef bint _admit(self, uint32_t hash) noexcept:
        """Whether a subject is worth caching: seen before. One in eight gets in anyway, so that two that share a
        slot do not keep each other out for ever."""
        cdef uint32_t* slot
        if self.cache_bytes_max == 0:
            return False
        if self.seen == NULL:
            self.seen = <uint32_t*>calloc(SEEN_SLOTS, sizeof(uint32_t))
            if self.seen == NULL:
                return False
        slot = &self.seen[hash & (SEEN_SLOTS - 1)]
        if slot[0] == (hash | 1):
            return True
        slot[0] = hash | 1
        self.random_state = self.random_state * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
        return (self.random_state >> 61) == 0

    cdef Result* _store(self, uint32_t hash, const char* subject, Py_ssize_t subject_len) noexcept:
        cdef Result* made = &self.scratch
        cdef size_t bytes = sizeof(Result) + made.total * sizeof(void*) + made.groups * sizeof(uint32_t) + subject_len
        cdef Result* result
        if bytes > self.cache_bytes_max // 2:
            return NULL
        while self.cache_bytes + bytes > self.cache_bytes_max:
            self._evict()
        result = <Result*>malloc(bytes)
        if result == NULL:
            return NULL
        result[0] = made[0]
        result.bytes = bytes
        result.refs = 1
        result.link.hash = hash
        result.link.flags = 0
        result.subject_len = <uint32_t>subject_len
        result.subs = <Subscription**>(<char*>result + sizeof(Result))
        result.group_ends = <uint32_t*>(<char*>result.subs + made.total * sizeof(void*))
        result.subject = <char*>result.group_ends + made.groups * sizeof(uint32_t)
        memcpy(result.subs, made.subs, made.total * sizeof(void*))
        memcpy(result.group_ends, made.group_ends, made.groups * sizeof(uint32_t))
        memcpy(result.subject, subject, subject_len)
        table_insert(&self.cache, &result.link)
        self.cache_bytes += bytes
        return result

    cdef void _kill(self, Result* result) noexcept:
        table_remove(&self.cache, &result.link)
        self.cache_bytes -= result.bytes
        result.link.flags |= RESULT_DEAD
        release(result)

    cdef void _evict(self) noexcept:
        """Moves the hand to the next bucket and throws out what was not used since it last came by."""
        cdef Link** chain
        cdef Link* item
        cdef Link* following
        if self.cache.buckets == NULL:
            chain = &self.cache.first
        else:
            self.hand += 1
            if self.hand >= self.cache.size:
                self.hand = 0
            chain = &self.cache.buckets[self.hand]
        item = chain[0]
        while item != NULL:
            following = item.next
            if item.flags & RESULT_USED:
                item.flags &= <uint16_t>~RESULT_USED
            else:
                self._kill(<Result*>item)
            item = following

    # ---- routing

    cdef Py_ssize_t route(self, Result* result, Message* message, void* sender, bint echo) noexcept:
        """Hands a message to everyone in the result; how many took it. `echo` False leaves the sender out."""
        cdef uint32_t i, start, end, size, at, group
        cdef Subscription* sub
        cdef Py_ssize_t taken = 0
        for i in range(result.plain):
            sub = result.subs[i]
            if sub.receiver == sender and not echo:
                continue
            taken += _hand(sub, message)
        self.walked += result.plain - <uint64_t>taken
        start = result.plain
        for group in range(result.groups):
            end = result.group_ends[group]
            size = end - start
            # xorshift64*: the member to begin with, uniformly (P-36)
            self.random_state ^= self.random_state >> 12
            self.random_state ^= self.random_state << 25
            self.random_state ^= self.random_state >> 27
            at = <uint32_t>(((self.random_state * <uint64_t>0x2545F4914F6CDD1D) >> 32) * size >> 32)
            for i in range(size):
                sub = result.subs[start + at]
                at += 1
                if at == size:
                    at = 0
                self.walked += 1
                if sub.receiver == sender and not echo:
                    continue
                if _hand(sub, message):
                    taken += 1
                    break
            start = end
        return taken

    cdef void reap(self, Turn turn) noexcept:
        """After a fan-out: takes out the subscriptions that reached their max in it."""
        cdef Subscription* sub
        while turn.expired_count:
            turn.expired_count -= 1
            sub = turn.expired_subs[turn.expired_count]
            (<Receiver>sub.receiver).expire(sub)

    # ---- for tests and tools

    def __len__(self) -> int:
        return self.count

    @property
    def size(self) -> int:
        """Nodes of the trie."""
        return self.nodes

    @property
    def cached(self) -> int:
        """Match results in the cache."""
        return self.cache.count

    def has_interest(self, bytes subject) -> bool:
        """Whether somebody would get a message on this subject."""
        cdef Result* result = self.resolve(subject, len(subject))
        return result != NULL and result.total > 0

    def matches(self, bytes subject) -> tuple[list[bytes], list[list[bytes]]]:
        """The sids of the plain subscriptions, and of the members of each group."""
        cdef Result* result = self.resolve(subject, len(subject))
        cdef uint32_t i, group, start
        cdef list plain = []
        cdef list groups = []
        cdef list members
        if result == NULL:
            raise MemoryError
        for i in range(result.plain):
            plain.append(result.subs[i].sid[:result.subs[i].link.length])
        start = result.plain
        for group in range(result.groups):
            members = []
            for i in range(start, result.group_ends[group]):
                members.append(result.subs[i].sid[:result.subs[i].link.length])
            start = result.group_ends[group]
            groups.append(members)
        return plain, groups


cdef inline Py_ssize_t _hand(Subscription* sub, Message* message) noexcept:
    """Delivers to one subscription; 1 when it was taken."""
    cdef Receiver receiver = <Receiver>sub.receiver
    if sub.link.flags & SUB_DEAD or not receiver.deliver(sub, message):
        return 0
    sub.delivered += 1
    if sub.max != 0 and sub.delivered >= sub.max and receiver.turn.expire(sub) == 0:
        sub.link.flags |= SUB_DEAD
    return 1
