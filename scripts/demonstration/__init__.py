"""The broker's main job on real input, with a crash in the middle and exact books.

`scripts/demo` runs it. GitHub's example webhooks are published, consumed by clients that
sometimes fail or forget, and half way the broker's process is killed. At the end the ledger tells
what became of every single event.
"""
