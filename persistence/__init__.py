r"""What survives a crash: the log, its records, its repair, and the disks that it lies on.

Plain synchronous code. `persistence.log.EventLog` is the door; `persistence.entry` and
`persistence.facts` hold the values that pass through it. This page describes every byte, well
enough to write a reader in another language. All integers are little-endian; `i64` is two's
complement; text is UTF-8 without a terminator; times are wall time in milliseconds since the
epoch (1970-01-01 UTC); CRC means CRC-32 as in zlib, gzip and PNG.

The data directory
==================
::

    lock                     held with flock(2) by the one process that writes; its pid is inside
    events.log               the active segment: facts are appended here
    events.manifest          says that there is a log, and which segments belong to it
    events.log.torn-OFFSET   bytes cut off from offset OFFSET of a segment after a crash, kept for
                             people; `.2`, `.3`... is added to the name if it is taken
    *.new                    (of the names above) being written; worthless after a crash

Every file comes into being under a temporary name, is synced, renamed, and its directory synced,
so that it is either whole or absent. Any other file is left alone.

Log positions
=============
A log position is an i64 that counts bytes from the beginning of the log's history: the `base` of a
segment plus the offset in its file. The first segment has base 0; the next one begins where the
last one ended. -1 means no position. Positions are stable: they name a fact for as long as its
segment stands.

Segment header, 128 bytes at offset 0
=====================================
::

    offset size  field
         0    8  magic: 89 45 56 4C 4F 47 0D 0A ("\x89EVLOG\r\n": notices text-mode transfers)
         8    2  u16 format version, now 1; a reader refuses a greater one
        10    2  u16 size of this header, now 128; batches begin here
        12    4  u32 CRC of the header with this field taken as zero
        16    4  u32 segment number, 0 for the first
        20    4  u32 flags, now 0; an unknown bit means a newer format
        24    8  i64 base: log position of offset 0
        32    8  i64 time of creation
        40   16  key: random bytes, the same in every segment of a log; salts the CRCs below and
                 keys event ids and receipts
        56    8  u64 boot number of the process that created the segment, 0 in the first
        64    8  u64 least event number not yet given away when the segment was created
        72   56  seven u64 counters as they stood at creation: enqueued, consumed, acknowledged,
                 failed, dead, reprocessed, discarded (persistence.counters)

Batches
=======
Batches follow the header without gaps up to the end of the file. A batch is atomic: all of its
facts hold or none. It never spans two segments. ::

    offset size  field
         0    4  magic: FF 42 54 01 (0xFF occurs in no UTF-8 text)
         4    4  u32 CRC of bytes 8 to 47, salted
         8    4  u32 CRC of the body, salted
        12    4  u32 size of the body in bytes
        16    4  u32 number of facts; 0 in the mark that a clean shutdown leaves
        20    4  u32 flags, now 0; an unknown bit means a newer format
        24    8  i64 position: log position of this header (so a stale copy is no batch)
        32    8  i64 synced: everything before this log position was known to be on disk
        40    8  i64 time of writing, 0 if unknown
        48       the body: facts without gaps

A salted CRC starts from the CRC of the key instead of from zero: `crc32(data, crc32(key))`. Whoever
publishes events does not know the key and so cannot plant a payload that looks like a batch.

Facts
=====
::

    offset size  field
         0    1  u8 kind
         1    1  u8 flags: each bit announces an optional field of later versions; now 0
         2    4  u32 size of the whole fact, this header included
         6    8  u64 number of the event, 0 if the fact is about none
        14    8  i64 log position of the previous fact about the same event, or -1
        22       by kind:

    kind            fixed part                                        then
    1 opened        u64 boot, i64 time
    2 enqueued      i64 timestamp, i64 due, u16 topic size,           topic, payload
                    u32 payload size
    3 leased        u64 boot, u64 delivery, i64 deadline,             consumer
                    i64 length in ms, u8 consumer kind,
                    u32 consumer size
    4 extended      i64 deadline, i64 length in ms
    5 settled
    6 returned      i64 due, u32 retries, u8 cause, u32 error size    error
    7 dead          i64 time, u32 retries, u16 reason size,           reason, error
                    u32 error size
    8 reprocessed   i64 due
    9 discarded

Kinds, causes and consumer kinds are in `persistence.facts` and `persistence.entry`. An unknown kind
or flag means a newer format. What the facts mean together is `persistence.replay`.

Reading after a crash
=====================
Read batches from offset 128 until the file ends or something is no valid batch. In the second case
search every byte after it for batch headers whose salted CRC holds. Let S be the highest `synced`
in any valid batch header, before or after. If the damage lies before S, bytes that were on disk
have changed: that is for people to judge, and a reader stops. At or after S it is the torn tail of
writes that nobody was promised, and it is cut off; a tail of nothing but zeros is the same.

The newest batch is vouched for by the header of the next one. So when nothing comes for a moment,
and at a clean end, a writer adds an empty batch as a mark.

Bytes that were never synced cannot be believed even where they read back right: after a failed
fsync, Linux file systems mark the pages clean although they never reached the disk, and a second
fsync succeeds without writing. So before anything is built on the bytes from S to the end they are
written again in place and synced.

Manifest
========
ASCII text, a line each: `event-broker manifest 1`, `key` and 32 hexadecimal digits,
`segment NUMBER FILENAME` for each segment in order, and last `crc` and the CRC of all bytes before
that line as 8 hexadecimal digits. It is written once the log's own name is safely in the directory,
so a manifest without its log means that the log was lost.
"""
