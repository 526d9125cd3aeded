# cython: cdivision=True
"""The protocol reader: what the next control line says. Rules P-10 to P-19.

`scan` is a pure function over the bytes at the start of a command. It keeps no state: a line that is not whole yet is
scanned again from its start when more has come, which costs little because a line is short by rule, and makes every
way of cutting a stream into pieces read the same. Payloads are the caller's: `scan` says how long one is, and the
caller looks at its end.

Called by `connection` only. Knows no subscription, no limit but the line's, and no error text.
"""

from libc.string cimport memchr

cdef struct Form:
    const char* name
    int length
    bint blank          # a blank must follow
    bint free           # what follows is ignored up to the line's end
    int words_min
    int words_max

cdef Form[12] FORMS
FORMS[<int>NO_VERB] = Form(b"", 0, False, False, 0, 0)
FORMS[<int>PUB] = Form(b"PUB", 3, True, False, 2, 3)
FORMS[<int>HPUB] = Form(b"HPUB", 4, True, False, 3, 4)
FORMS[<int>SUB] = Form(b"SUB", 3, True, False, 2, 3)
FORMS[<int>UNSUB] = Form(b"UNSUB", 5, True, False, 1, 2)
FORMS[<int>PING] = Form(b"PING", 4, False, True, 0, 0)
FORMS[<int>PONG] = Form(b"PONG", 4, False, True, 0, 0)
FORMS[<int>CONNECT] = Form(b"CONNECT", 7, False, False, -1, -1)
FORMS[<int>INFO] = Form(b"INFO", 4, False, False, -1, -1)
FORMS[<int>OK] = Form(b"+OK", 3, False, True, 0, 0)
FORMS[<int>ERR] = Form(b"-ERR", 4, True, False, -1, -1)
FORMS[<int>HMSG] = Form(b"HMSG", 4, True, False, -1, -1)


cdef int64_t parse_size(const char* text, Py_ssize_t length) noexcept nogil:
    """1 to 9 decimal digits, or -1 (P-15)."""
    cdef int64_t value = 0
    cdef Py_ssize_t i
    if length < 1 or length > 9:
        return -1
    for i in range(length):
        if text[i] < b'0' or text[i] > b'9':
            return -1
        value = value * 10 + (text[i] - 48)
    return value


cdef int scan(const char* data, Py_ssize_t length, Py_ssize_t line_max, Command* command) noexcept nogil:
    """Reads the control line at the start of `data`; fills `command` as far as it was understood."""
    if length >= 10 and _quick(data, length, line_max, command):
        return SCANNED
    return _thorough(data, length, line_max, command)


cdef inline bint _quick(const char* data, Py_ssize_t length, Py_ssize_t line_max, Command* command) noexcept nogil:
    """A whole PUB or HPUB in the form that clients send; anything else is left to `_thorough`."""
    cdef Py_ssize_t i, start
    cdef int words = 0
    cdef int words_min
    cdef unsigned char c
    if data[0] == b'P' and data[1] == b'U' and data[2] == b'B' and data[3] == b' ':
        command.verb = PUB
        words_min = 2
        start = i = 4
    elif data[0] == b'H' and data[1] == b'P' and data[2] == b'U' and data[3] == b'B' and data[4] == b' ':
        command.verb = HPUB
        words_min = 3
        start = i = 5
    else:
        return False
    while True:
        if i >= length:
            return False
        c = <unsigned char>data[i]
        if c > 32:
            i += 1
            continue
        if i == start or words == 4:
            return False
        command.word[words] = data + start
        command.word_len[words] = i - start
        words += 1
        i += 1
        if c == b' ':
            while words == 1 and i < length and data[i] == b' ':
                i += 1  # several clients leave a blank for the reply that is not there
            start = i
            continue
        if c != b'\r' or i >= length or data[i] != b'\n':
            return False
        i += 1
        break
    command.words = words
    command.line_len = i
    command.arg = command.word[0]
    command.arg_len = data + i - 2 - command.arg
    command.canonical = True
    if command.arg_len > line_max:
        return False
    if words < words_min or words > words_min + 1:
        return False
    command.total_len = parse_size(command.word[words - 1], command.word_len[words - 1])
    command.header_len = 0
    if command.verb == HPUB:
        command.header_len = parse_size(command.word[words - 2], command.word_len[words - 2])
    return 0 <= command.header_len <= command.total_len


cdef int _thorough(const char* data, Py_ssize_t length, Py_ssize_t line_max, Command* command) noexcept nogil:
    cdef int verb = _verb(data, length)
    cdef Form* form
    cdef Py_ssize_t i
    cdef const char* newline
    cdef const char* end
    command.verb = NO_VERB
    command.canonical = False
    command.header_len = command.total_len = 0
    command.words = 0
    command.arg_len = 0
    if verb < 0:
        return SCAN_UNKNOWN
    command.keep_len = length
    command.blanks_from = command.blanks_to = 0
    if verb == NO_VERB:
        return SCAN_MORE
    form = &FORMS[verb]
    command.verb = <Verb>verb
    i = form.length
    if form.free:
        newline = <const char*>memchr(data + i, b'\n', length - i)
        command.arg = data + i
        if newline == NULL:
            command.keep_len = i
            return SCAN_MORE
        command.line_len = newline - data + 1
        return SCANNED
    if i < length and form.blank and data[i] != b' ' and data[i] != b'\t':
        return SCAN_UNKNOWN
    while i < length and (data[i] == b' ' or data[i] == b'\t'):
        i += 1
    if i == length:
        command.keep_len = form.length + 1 if length > form.length else length
        return SCAN_MORE
    command.arg = data + i
    newline = <const char*>memchr(data + i, b'\n', length - i)
    end = data + length if newline == NULL else newline
    # One byte before the line's end is dropped when a CR stands in the line, the way nats-server reads it (P-12)
    if end > command.arg and ((end - 1)[0] == b'\r' or memchr(command.arg, b'\r', end - command.arg) != NULL):
        end -= 1
    command.arg_len = end - command.arg
    if command.arg_len > line_max:
        return SCAN_TOO_LONG
    if newline == NULL:
        command.blanks_from = form.length + 1
        command.blanks_to = i
        return SCAN_MORE
    command.line_len = newline - data + 1
    if form.words_min < 0:
        return SCANNED
    _split(command, verb == SUB or verb == UNSUB)
    if command.words < form.words_min or command.words > form.words_max:
        return SCAN_ARGUMENTS
    if verb == PUB or verb == HPUB:
        command.total_len = parse_size(command.word[command.words - 1], command.word_len[command.words - 1])
        if command.total_len < 0:
            return SCAN_ARGUMENTS
        if verb != PUB:
            command.header_len = parse_size(command.word[command.words - 2], command.word_len[command.words - 2])
            if command.header_len < 0 or command.header_len > command.total_len:
                return SCAN_ARGUMENTS
    return SCANNED


cdef int _verb(const char* data, Py_ssize_t length) noexcept nogil:
    """Which verb the bytes start with; NO_VERB while several are possible; -1 when none is."""
    cdef int verb
    cdef Py_ssize_t i
    cdef char c
    for verb in range(1, 12):
        i = 0
        while i < length and i < FORMS[verb].length:
            c = data[i]
            if b'a' <= c <= b'z':
                c -= 32
            if c != FORMS[verb].name[i]:
                break
            i += 1
        if i == FORMS[verb].length:
            return verb
        if i == length:
            return NO_VERB
    return -1


cdef void _split(Command* command, bint at_cr) noexcept nogil:
    """Cuts the arguments at blanks into words, at most one more than any verb takes; `at_cr`: also at CR (P-12)."""
    cdef Py_ssize_t i, start = -1
    cdef int words = 0
    for i in range(command.arg_len + 1):
        if i == command.arg_len or command.arg[i] == b' ' or command.arg[i] == b'\t' \
                or (at_cr and command.arg[i] == b'\r'):
            if start >= 0:
                command.word[words] = command.arg + start
                command.word_len[words] = i - start
                words += 1
                start = -1
                if words == WORDS_MAX:
                    break
        elif start < 0:
            start = i
    command.words = words
