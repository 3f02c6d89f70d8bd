"""Hard maxima of the client protocol, as the pool has them (config/limits.h; a test compares).

Names end in the unit: bytes, or a count. What is beyond one of them is refused by the pool with the
numbers; the client checks those that protect itself.
"""

from typing import Final

FRAME_BYTES_MAX: Final = 256 * 1024  # one message, either way
CHUNK_BYTES_MAX: Final = 48 * 1024  # one piece of a result or a log
RESULT_BYTES_MAX: Final = 64 * 1024 * 1024
TOKEN_BYTES_MAX: Final = 4 * 1024
BROKERS_MAX: Final = 8  # endpoints of one pool
SESSION_JOBS_MAX: Final = 1024  # jobs that one client follows at once
SESSION_QUERIES_MAX: Final = 64  # unanswered questions of one client
RECEIPTS_PAGE_MAX: Final = 50
CHANGES_PAGE_MAX: Final = 200
USAGE_DAYS_MAX: Final = 400
DURATION_MS_MAX: Final = 30 * 24 * 3600 * 1000
