"""The actors that run the broker, and the pure state machines beneath them.

Each place where an event can be is owned by one actor: `queue` (ready or delayed), `inflight`
(leased), `dead_letters` (dead); `wal_writer` owns the log. Moving an event is sending a message.
What an event is lies packed in the log's register, which all may read and only the submission of
facts changes (`wal_port`). `compactor` and `snapshots` keep the log small and its start fast. An
actor is one task that reads one bounded mailbox; its rules live in a module without trio
(`backlog`, `polls`, `leases`, `graveyard`), which takes `now` and returns what to do.

Nobody inside waits for anybody inside: every message between actors is covered by a credit taken
where the request came in (`credits`), so each mailbox has room for all that can be on its way.
Only requests from outside are refused.

Start at `engine.open_broker`; callers see `broker.Broker` and nothing else.
"""
