# SPDX-License-Identifier: Apache-2.0
"""How much one HTTP/2 connection may ask for; docs/reference/limits.md has the same numbers."""

from typing import Final

# RFC 9113, section 6.5.2 asks for no fewer than 100.
MAX_STREAMS: Final = 100
# A request's header fields, as HTTP/1.1 has them (process.bounds): decoded bytes, and how many.
MAX_FIELD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 128
MAX_TRAILERS: Final = 32
# A field block as it is sent, before it is decoded: HEADERS and what continues it.
MAX_BLOCK_BYTES: Final = 64 * 1024
# What a caller may send of a body before it was passed on; and of all bodies on its connection.
STREAM_WINDOW: Final = 64 * 1024
CONNECTION_WINDOW: Final = 512 * 1024
# How much of an answer waits for its caller before the app is not read any more.
HIGH_WATER: Final = 32 * 1024
# Frames that carry nothing (PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, empty DATA): so many at
# once, and so many a second and for each frame of an answer.
CONTROL_BURST: Final = 1000
CONTROL_A_SECOND: Final = 100
CONTROL_A_FRAME: Final = 2
# What a stream that is reset before its answer costs of them: it was decided and perhaps passed on.
RESET_COST: Final = 5
# So many frames of one connection are taken before other connections have their turn: one read may bring
# thousands of requests.
FRAMES_A_TURN: Final = 32
# Of a block of fields, so many bytes count as one frame more: reading them is most of what one costs.
BLOCK_BYTES_A_FRAME: Final = 512
# The table of the fields that we sent, however large a one the other side allows: it is searched for each.
MAX_ENCODER_TABLE_BYTES: Final = 4096
# So many streams that are over are remembered, to tell late frames from those that break the protocol.
MAX_CLOSED_STREAMS: Final = 1024
# What the library's state takes for a connection and for a stream, as measured.
HTTP2_BYTES: Final = 16 * 1024
STREAM_BYTES: Final = 8 * 1024
# Streams on one connection to an app that speaks HTTP/2, and what they may send before it is taken.
MAX_APP_STREAMS: Final = 32
APP_STREAM_WINDOW: Final = 64 * 1024
# So much of a body is kept until the answer begins: an app that goes may not have begun with it.
KEPT_BODY_BYTES: Final = 16 * 1024
APP_FIELD_BYTES: Final = 128 * 1024
