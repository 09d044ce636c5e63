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
    events-NNNNNNNNNN.log    a sealed segment, which is never changed any more; N is its number
    events.manifest          says that there is a log, and which segments belong to it
    events.reserve           bytes without meaning that hold space for when the disk is full
    events.snapshot          where every event was some time ago, so that a start need not read the
                             log before that; without it a start takes longer, and that is all
    events.log.torn-OFFSET   bytes cut off from offset OFFSET of a segment after a crash, kept for
                             people; `.2`, `.3`... is added to the name if it is taken
    *.new                    (of the names above) being written; worthless after a crash
    NAME.damaged             a file as it was before a repair wrote it anew, kept for people
    NAME.aside               a file that a repair took out of the log, kept for people; `.2`,
                             `.3`... is added to either name if it is taken

Every file but the lock and the reserve comes into being under a temporary name, is synced, renamed,
and its directory synced, so that it is either whole or absent. Any other file is left alone.

Log positions
=============
A log position is an i64 that counts bytes from the beginning of the log's history: the `base` of a
segment plus the offset in its file. The first segment has base 0; the next one begins where the
last one ended. -1 means no position. Positions are stable: they name a fact for as long as its
segment stands. Segments in which nothing is needed any more are deleted, so that between two
segments there may be a gap, in numbers and in positions.

Segment header, 136 bytes at offset 0
=====================================
::

    offset size  field
         0    8  magic: 89 45 56 4C 4F 47 0D 0A ("\x89EVLOG\r\n": notices text-mode transfers)
         8    2  u16 format version, now 2; a reader refuses a greater one
        10    2  u16 size of this header, now 136; batches begin here
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
       128    8  i64 time at which the newest event before this segment was accepted, -1 if none

Version 1, which release 0.1.0 wrote, ends at offset 128, and its size is 128. It is read, and never
written.

Batches
=======
Batches follow the header without gaps up to the end of the file. A batch is atomic: all of its
facts hold or none. It never spans two segments. ::

    offset size  field
         0    4  magic: FF 42 54 01 (0xFF occurs in no UTF-8 text)
         4    4  u32 CRC of bytes 8 to 47, salted
         8    4  u32 CRC of the body, salted
        12    4  u32 size of the body in bytes
        16    4  u32 number of facts; 0 in a mark: see below, and under "Snapshot"
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
         1    1  u8 flags, see below
         2    4  u32 size of the whole fact, this header included
         6    8  u64 number of the event, 0 if the fact is about none
        14    8  i64 log position of the previous fact about the same event, or -1
        22       by kind:

    kind            fixed part                                        then
    1 opened        u64 boot, i64 time
    2 enqueued      i64 timestamp, i64 due, u16 topic size,           topic, payload, and with
                    u32 payload size                                  flag 02 u16 foreign id
                                                                      size, foreign id
    5 settled
    9 discarded
    10 leased       i64 due, u32 retries, u32 boot, u32 delivery,     consumer
                    i64 deadline, i64 length in ms,
                    u8 consumer kind, u16 consumer size
    11 extended     as leased                                         consumer
    12 returned     i64 due, u32 retries, u32 boot, u32 delivery,     error
                    u8 cause, u32 error size
    13 dead         i64 time, u32 retries, u32 boot, u32 delivery,    reason, error
                    u16 reason size, u32 error size
    14 reprocessed  i64 due, u32 boot, u32 delivery
    15 imported     i64 offset in bytes, u16 source size              source
    16 lost                                                           zeros

Kinds, causes and consumer kinds are in `persistence.facts` and `persistence.entry`. The size of a
fact is exactly that of its parts. An unknown kind or flag means a newer format. The flags are::

    01 copied       kinds 2 and 10 to 15: the fact was copied forward out of a segment that was to
                    be deleted. It says nothing new, and no counter counts it
    02 foreign id   kind 2: the event came from another broker, where it had this id

Kinds 10 to 14 carry the whole delivery state of their event: for everything about an event that is
alive the fact that enqueued it and its newest fact are enough. `boot` and `delivery` are the stamp
of the newest delivery, both 0 before the first. `due` of a leased event is its place in the order,
which it regains if it is released. A consumer is cut to 1,024 bytes, a reason to 255, an error to
1,048,576, at the end of a character; lone surrogates in them are written as `\udcff`. Retries and
stamps beyond 4,294,967,295 are written as that. An imported fact says how far another broker's
file, the source, has been taken over.

A lost fact fills the place of batches that were damaged, so that those behind them keep their log
positions: a batch that holds it alone, with number 0 and previous -1, is as long as they were
together. `persistence.mending` writes it. Facts behind one may follow on facts that were lost.

Release 0.1.0 wrote facts of other kinds, without flags. They are read, and never written. What
they lack is what was known of the event just before: `persistence.legacy`. ::

    kind            fixed part                                        then
    3 leased        u64 boot, u64 delivery, i64 deadline,             consumer
                    i64 length in ms, u8 consumer kind,
                    u32 consumer size
    4 extended      i64 deadline, i64 length in ms
    6 returned      i64 due, u32 retries, u8 cause, u32 error size    error
    7 dead          i64 time, u32 retries, u16 reason size,           reason, error
                    u32 error size
    8 reprocessed   i64 due

What the facts mean together is `persistence.fold`.

Reading after a crash
=====================
Read batches from the end of the header until the file ends or something is no valid batch. In the
second case search every byte after it for batch headers whose salted CRC holds. Let S be the
highest `synced` in any valid batch header, before or after. If the damage lies before S, bytes that
were on disk have changed: that is for people to judge, and a reader stops. At or after S it is the
torn tail of writes that nobody was promised, and it is cut off; a tail of nothing but zeros is the
same.

The newest batch is vouched for by the header of the next one. So when nothing comes for a moment,
and at a clean end, a writer adds an empty batch as a mark.

Bytes that were never synced cannot be believed even where they read back right: after a failed
fsync, Linux file systems mark the pages clean although they never reached the disk, and a second
fsync succeeds without writing. So before anything is built on the bytes from S to the end they are
written again in place and synced.

A sealed segment was synced before it got its name: it is whole, or damaged, and never torn.

Manifest
========
ASCII text, a line each::

    event-broker manifest 2
    key KEY                          32 hexadecimal digits
    next NUMBER                      the least segment number that was never used
    segment NUMBER BASE NAME [END]   for each segment in order; END, the log position after its last
                                     byte, for a sealed one
    crc CRC                          of all bytes before this line, 8 hexadecimal digits

The manifest names what is safely in the directory and nothing else, so that what it names and is
not there was lost. It is replaced after a new segment has its name, before a batch is written to
it, and before a segment's file is removed. A crash on the way leaves one of these, which are no
damage (`persistence.roll` has the order, `persistence.judgement` all the rules):

- a sealed segment that the manifest still calls `events.log`, with or without a new `events.log`
  behind it: that has the number that is next, and no batch;
- a sealed segment that is not listed and has a number below the next: it has been deleted.

Version 1, which release 0.1.0 wrote, has no `next`, and one line `segment 0 events.log`. A log
without a manifest is whole if its segments have all numbers from 0, the newest in `events.log`, and
each begins where the one before ends.

Snapshot
========
A snapshot has the rows of all events in pieces, each as it stood at a log position of its own. It
begins at the position S of its first piece and holds at the position E of its trailer: whoever uses
it reads the log from S on. `persistence.snapshot` says how the pieces come together, and why that
gives what reading the whole log gives. For each piece and for the trailer the writer leaves a mark
in the log, an empty batch with a time; the position of the piece is that behind its mark.

A header of 128 bytes, then the pieces, then the trailer, then nothing. It is used only if all
checksums hold, if the 48 bytes of the log before E are those at offset 80, and if the log from S to
E is all there. ::

    offset size  field
         0    8  magic: 89 45 56 53 4E 50 0D 0A ("\x89EVSNP\r\n")
         8    2  u16 format version, now 1; a reader does without a greater one
        10    2  u16 size of this header, now 128
        12    4  u32 CRC of the header with this field taken as zero
        16    4  u32 flags, now 0; an unknown bit means a newer format
        20    4  u32 number of pieces
        24   16  key: that of the log
        40    8  i64 time at which it was begun
        48    8  i64 S
        56    8  i64 E
        64    8  u64 number of rows in all pieces
        72    8  u64 offset of the trailer
        80   48  header of the batch that ends at E, as it stands in the log

Each piece, and the trailer, is a section: a header of 24 bytes, and the body. ::

    offset size  field
         0    4  FF 50 43 01 for a piece, FF 54 52 01 for the trailer
         4    4  u32 CRC of the section from its byte 8 on, salted: it starts from the CRC of bytes
                 24 to 55 of the snapshot's header
         8    8  u64 size of the body in bytes
        16    8  u64 offset of this section in the file

The body of a piece. The range of the first one begins with 0, that of each other one where the one
before ends; numbers behind the last range were given away after S. ::

    u64 least event number of the range, u64 least number behind it, 0 if it does not end
    i64 log position: what the facts before it made of the events in the range is in the rows
    u32 number of rows, u32 of topics, u32 of foreign ids, u32 0
    for each row          u64 event number, ascending
    for each row again    60 bytes, the fields of persistence.entry.Row in their order:
                          i64 payload_at, i64 last_fact, i64 timestamp, i64 due, u32 payload_size,
                          u32 topic, u32 state_size, u32 retries, u32 boot, u32 delivery,
                          u8 place, u8 receipt_open, u8 kind, u8 named
    for each topic        u32 topic, u16 size, name: of those in the rows that had another name, or
                          none, in the pieces before
    for each row with named 1, in order    u64 event number, u16 size, foreign id

The body of the trailer: what is known at E beside the rows (`persistence.fold`). ::

    u64 boot, u64 least event number not given away, i64 time of the newest event or -1
    seven u64 counters as in a segment's header, u32 number of imports, u32 of segments
    for each import       i64 offset, i64 log position and u32 size of the fact that says so,
                          u16 size, source
    for each segment      u32 number, u32 number of needs, i64 base, i64 size, i64 facts alive in
                          it, i64 their bytes; for each need u32 number of the older segment that
                          has to go first, i64 facts that say so (persistence.holdings)

What is before S is not read at a start from a snapshot, and so damage there is not found then. It
is found by `event-broker log verify`, by compaction, which checks every batch that it reads, and
at the next start that reads the whole log. A payload that is read for a delivery is not checked.
"""
