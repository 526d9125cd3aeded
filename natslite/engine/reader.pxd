from libc.stdint cimport int64_t

cdef enum Verb:
    NO_VERB = 0
    PUB
    HPUB
    SUB
    UNSUB
    PING
    PONG
    CONNECT
    INFO
    OK
    ERR
    HMSG

cdef enum Scan:
    SCANNED = 0         # a whole control line
    SCAN_MORE = 1       # not yet a whole line
    SCAN_UNKNOWN = 2    # not the protocol
    SCAN_TOO_LONG = 3   # more argument bytes than allowed
    SCAN_ARGUMENTS = 4  # a known verb with arguments that make no sense

cdef enum:
    WORDS_MAX = 6       # one more than any verb takes

cdef struct Command:
    # One control line. Every pointer is into the bytes given to `scan`.
    Verb verb
    Py_ssize_t line_len         # to the next command, or to the payload
    Py_ssize_t keep_len         # SCAN_MORE: only these first bytes need to be kept,
    Py_ssize_t blanks_from      # and of them not those from here
    Py_ssize_t blanks_to        # to here: 0 or less of them, there are none
    const char* arg             # the arguments: without leading blanks and line end
    Py_ssize_t arg_len
    const char* word[WORDS_MAX]
    Py_ssize_t word_len[WORDS_MAX]
    int words
    int64_t header_len          # HPUB; 0 else
    int64_t total_len           # PUB, HPUB: bytes of payload, headers included
    bint canonical              # CRLF, and single blanks behind word[1]: from there it can be copied as it is

cdef int scan(const char* data, Py_ssize_t length, Py_ssize_t line_max, Command* command) noexcept nogil
cdef int64_t parse_size(const char* text, Py_ssize_t length) noexcept nogil
