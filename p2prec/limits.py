"""Every bound on what a stranger, or a file, can make a peer hold: unit, reason, worst case."""

from __future__ import annotations

from typing import Final

# --- catalogue and payload shapes ------------------------------------------------------------
MAX_ITEMS: Final = 2_000_000  # items of one realm; ids travel as u16 or u32, table rows too
MAX_UPDATE_ROWS: Final = 20_000  # rows of one update; 20,000 x 64 x 2 B = 2.4 MiB decoded
MAX_BOOKS: Final = 8  # codes of an item, of a byte each at most; 20,000 x 8 B = 160 KiB
MAX_HELD_TABLES: Final = 32  # tables of codes of others, 256 + 320 KiB; 18 MiB, 12 in the store
LARGEST_VALUE: Final = 1_000.0  # no sane parameter is larger; float16 would still carry 65,504
MAX_DENSE_VALUES: Final = 65_536  # shared dense parameters of one update, 128 KiB as float16
MAX_REFERENCES: Final = 256  # reference sequences that soft predictions of one message speak about
MAX_REFERENCE_LENGTH: Final = 64  # interactions of one reference sequence
MAX_SOFT_ITEMS: Final = 256  # items kept of one soft prediction; 256 x 256 x 6 B = 384 KiB
MAX_SESSIONS: Final = 1_024  # sessions of one message; 1,024 x 64 x 4 B = 256 KiB
MAX_SESSION_ITEMS: Final = 64  # items of one session, made-up ones among them
MAX_HELD_SESSIONS: Final = 65_536  # sessions of others, as an owner may ask for; 20 MiB at most
MAX_PROFILE_BITS: Final = 64  # bits of one category sketch

# --- messages ---------------------------------------------------------------------------------
MAX_CHUNK_BYTES: Final = 65_536  # padded plaintext of one envelope; 64 KiB suits asyncio best
MAX_CHUNKS: Final = 64  # chunks of one message: 4 MiB, the largest body a peer reassembles
MAX_BODY_BYTES: Final = 4 << 20  # one message body; two per sender in flight
MAX_ENVELOPE_BYTES: Final = MAX_CHUNK_BYTES + 4_096  # one sealed chunk with header and KEM part
MAX_OPEN_REASSEMBLIES: Final = 2  # unfinished messages per sender; 8 MiB worst case a sender
MAX_OPEN_REASSEMBLIES_TOTAL: Final = 32  # of all senders
MAX_REASSEMBLY_BYTES: Final = 16 << 20  # chunks held of all senders; identities cost nothing
REASSEMBLY_TIMEOUT_S: Final = 60.0  # an unfinished message is dropped after this
MAX_MESSAGE_LIFETIME_S: Final = 7 * 86_400.0  # created..expires; store-and-forward by a broker
MAX_CLOCK_SKEW_S: Final = 300.0  # how far in the future `created` may lie
REPLAY_IDS_PER_SENDER: Final = 4_096  # remembered message ids; 128 KiB a sender
MAX_REMEMBERED_SENDERS: Final = 512  # senders with a replay memory in RAM (LRU)
MAX_REMEMBERED_IDS: Final = 65_536  # message ids of all senders on disk; 8 MiB
MAX_KEPT_PREKEYS: Final = 256  # prekeys of this peer that still open messages; 8 are usual

# --- adverts and neighbours -------------------------------------------------------------------
MAX_ADVERT_BYTES: Final = 4_096  # one signed advert with its prekey bundle
MAX_KNOWN_ADVERTS: Final = 512  # adverts kept (LRU); 2 MiB
MAX_ADVERTS_PER_SHUFFLE: Final = 8  # adverts in one gossip exchange; 32 KiB
MAX_ADVERT_LIFETIME_S: Final = 3_600.0  # an advert that promises to live longer is refused
MAX_INBOX_MESSAGES: Final = 32  # payloads that wait for a merge; the oldest is dropped
MAX_GREETINGS_PER_MINUTE: Final = 60  # introductions of strangers that are answered

# --- connections ------------------------------------------------------------------------------
MAX_CONNECTIONS: Final = 64  # inbound TCP connections at once
MAX_CONNECTIONS_PER_ADDRESS: Final = 32  # per remote address; hundreds of local peers share one
FIRST_FRAME_TIMEOUT_S: Final = 5.0  # a connection that says nothing is closed
IDLE_CONNECTION_S: Final = 120.0  # a silent connection is closed
MAX_BAD_ENVELOPES_PER_CONNECTION: Final = 3  # then the connection is closed
MAX_MESSAGES_PER_MINUTE_PER_SENDER: Final = 120  # authenticated; more are dropped and counted
SEND_QUEUE_MESSAGES: Final = 64  # outbound messages that wait; the oldest is dropped
MAX_CONTROL_REQUEST_BYTES: Final = 65_536  # one request on the owner's local control socket

# --- files of the owner -----------------------------------------------------------------------
MAX_CSV_FIELD_CHARS: Final = 1_024  # one CSV field; longer is a broken quote, not a name
