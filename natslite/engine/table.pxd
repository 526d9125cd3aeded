"""A hash table of C records that grows one bucket at a time (linear hashing), header only.

Records start with a `Link` and are owned by whoever inserts them. Each insertion splits at most one bucket, so no
insertion ever stops the loop to rehash a million records; small tables (up to 4) are a plain chain without memory of
their own. Callers compare keys themselves: walk `table_chain` and test `hash` first.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef struct Link:
    Link* next
    uint32_t hash
    uint16_t length
    uint16_t flags

cdef struct Table:
    Link** buckets
    Link* first
    uint32_t count
    uint32_t size
    uint32_t capacity

cdef enum:
    SMALL_TABLE_MAX = 4
    FIRST_BUCKETS = 8


cdef inline uint32_t hash_bytes(const char* data, size_t length, uint64_t seed) noexcept nogil:
    """Keyed mixing of 8 bytes at a time; never reads beyond `length`."""
    cdef uint64_t word
    cdef uint64_t mixed = seed ^ (length * <uint64_t>0x9E3779B97F4A7C15)
    cdef uint32_t low, high
    while length >= 8:
        memcpy(&word, data, 8)
        mixed = (mixed ^ word) * <uint64_t>0x9FB21C651E98DF25
        mixed ^= mixed >> 29
        data += 8
        length -= 8
    if length >= 4:
        memcpy(&low, data, 4)
        memcpy(&high, data + length - 4, 4)
        word = (<uint64_t>high << 32) | low
    elif length > 0:
        word = (<uint64_t><unsigned char>data[0]) | (<uint64_t><unsigned char>data[length >> 1] << 8) \
            | (<uint64_t><unsigned char>data[length - 1] << 16)
    else:
        word = 0
    mixed = (mixed ^ word) * <uint64_t>0xC2B2AE3D27D4EB4F
    mixed ^= mixed >> 32
    mixed = mixed * <uint64_t>0x9FB21C651E98DF25
    return <uint32_t>(mixed >> 32)


cdef inline void table_init(Table* table) noexcept nogil:
    table.buckets = NULL
    table.first = NULL
    table.count = table.size = table.capacity = 0


cdef inline Link** table_chain(Table* table, uint32_t hash) noexcept nogil:
    """Where the chain that `hash` belongs to starts."""
    cdef uint32_t index
    if table.buckets == NULL:
        return &table.first
    index = hash & (table.capacity - 1)
    if index >= table.size:
        index -= table.capacity >> 1
    return &table.buckets[index]


cdef inline void table_split(Table* table) noexcept nogil:
    """Adds one bucket; without memory for it the chains just get longer."""
    cdef Link** grown
    cdef Link** source
    cdef Link** target
    cdef Link* item
    cdef uint32_t new = table.size
    if new == table.capacity:
        if table.capacity >= <uint32_t>0x40000000:
            return
        grown = <Link**>realloc(table.buckets, 2 * <size_t>table.capacity * sizeof(Link*))
        if grown == NULL:
            return
        table.buckets = grown
        table.capacity *= 2
    source = &table.buckets[new - (table.capacity >> 1)]
    target = &table.buckets[new]
    target[0] = NULL
    table.size += 1
    while source[0] != NULL:
        item = source[0]
        if (item.hash & (table.capacity - 1)) == new:
            source[0] = item.next
            item.next = target[0]
            target[0] = item
        else:
            source = &item.next


cdef inline void table_insert(Table* table, Link* item) noexcept nogil:
    """Adds a record whose `hash` is set; the caller knows that its key is new."""
    cdef Link** chain
    cdef Link* moved
    cdef uint32_t i
    if table.buckets == NULL and table.count >= SMALL_TABLE_MAX:
        table.buckets = <Link**>malloc(FIRST_BUCKETS * sizeof(Link*))
        if table.buckets != NULL:
            table.size = table.capacity = FIRST_BUCKETS
            for i in range(FIRST_BUCKETS):
                table.buckets[i] = NULL
            while table.first != NULL:
                moved = table.first
                table.first = moved.next
                chain = table_chain(table, moved.hash)
                moved.next = chain[0]
                chain[0] = moved
    elif table.buckets != NULL and table.count >= table.size:
        table_split(table)
    chain = table_chain(table, item.hash)
    item.next = chain[0]
    chain[0] = item
    table.count += 1


cdef inline void table_remove(Table* table, Link* item) noexcept nogil:
    """Takes out a record that is in the table."""
    cdef Link** chain = table_chain(table, item.hash)
    while chain[0] != item:
        chain = &chain[0].next
    chain[0] = item.next
    table.count -= 1
    if table.count == 0:
        table_free(table)


cdef inline Link* table_any(Table* table, uint32_t* cursor) noexcept nogil:
    """Some record, or NULL when there is none. `cursor` starts at 0 and is kept between calls."""
    if table.count == 0:
        return NULL
    if table.buckets == NULL:
        return table.first
    while True:
        if cursor[0] >= table.size:
            cursor[0] = 0
        if table.buckets[cursor[0]] != NULL:
            return table.buckets[cursor[0]]
        cursor[0] += 1


cdef inline void table_free(Table* table) noexcept nogil:
    """Gives back the buckets, not the records."""
    free(table.buckets)
    table_init(table)
