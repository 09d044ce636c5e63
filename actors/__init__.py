"""The actors that run the broker, and the pure state machines beneath them.

Each place where an event can be is owned by one actor: `queue` (ready or delayed), `inflight`
(leased), `dead_letters` (dead); `wal_writer` owns the log. Moving an event is sending a message.
An actor is one task that reads one bounded mailbox; its rules live in a module without trio
(`backlog`, `polls`, `leases`, `graveyard`), which takes `now` and returns what to do.

Nobody inside waits for anybody inside: every message between actors is covered by a credit taken
where the request came in (`credits`), so each mailbox has room for all that can be on its way.
Only requests from outside are refused.

Start at `engine.open_broker`; callers see `broker.Broker` and nothing else.
"""
