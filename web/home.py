"""The front page: an index of the endpoints, as JSON or for a browser."""

import base64
import functools
import hashlib
import html

from web.call import Answer, Call, Desk, answer_json
from web.observe import version

__all__ = ["ENDPOINTS", "home"]

ENDPOINTS = (
    ("POST", "/api/events", "Publish one event, a JSON object. Query: topic, durability."),
    (
        "POST",
        "/api/events/batch",
        "Publish a JSON array or NDJSON, all or none. Query: topic, durability.",
    ),
    ("GET", "/api/events/consume", "Take events. Query: maxEvents, timeoutMs, topic."),
    ("POST", "/api/events/acknowledge", 'Settle events for good: {"receiptIds": [...]}.'),
    ("POST", "/api/events/{receiptId}/nack", "Say that one failed. Query: requeue, delayMs."),
    ("POST", "/api/events/{receiptId}/extend", "Hold one longer. Query: visibilityTimeoutMs."),
    ("GET", "/api/events/{id}", "Explain an event: where it is, and how it came there."),
    ("GET", "/api/dlq", "List dead letters. Query: limit, offset, topic."),
    ("POST", "/api/dlq/{receiptId}/reprocess", "Put a dead letter back in the queue."),
    ("DELETE", "/api/dlq/{receiptId}", "Drop a dead letter for good."),
    ("GET", "/api/status", "Where the events are."),
    ("GET", "/api/metrics", "What has happened."),
    ("GET", "/api/health", "Whether the log accepts events."),
    ("GET", "/livez", "Whether the process answers."),
    ("GET", "/readyz", "Whether new work is taken."),
)

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 46rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
dl { margin: 1.5rem 0; }
dt { margin-top: .75rem; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
dt b { display: inline-block; min-width: 4.5rem; }
dd { margin: 0; opacity: .8; }
@media (min-width: 40rem) { dd { margin-left: 4.5rem; } }
"""


async def home(desk: Desk, call: Call) -> Answer:  # noqa: ARG001 - as every handler
    """Answer a browser with a page and everyone else with JSON."""
    vary = (b"vary", b"accept")
    if b"text/html" not in call.headers.get(b"accept", b"").lower():
        index = [{"method": m, "path": p, "description": text} for m, p, text in ENDPOINTS]
        answer = answer_json({"name": "event-broker", "version": version(), "endpoints": index})
        answer.headers = (vary,)
        return answer
    page, policy = _page()
    headers = (vary, (b"content-security-policy", policy), (b"referrer-policy", b"no-referrer"))
    return Answer(200, page, b"text/html; charset=utf-8", headers)


@functools.cache
def _page() -> tuple[bytes, bytes]:
    """Return the page and the policy that lets a browser apply its style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    rows = "\n".join(
        f"<dt><b>{method}</b> {_link(method, path)}</dt><dd>{html.escape(text)}</dd>"
        for method, path, text in ENDPOINTS
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>event-broker</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>event-broker</h1>
<p>Version {html.escape(version())}. It is running; these are its endpoints.</p>
<dl>
{rows}
</dl>
</main>
</body>
</html>
"""
    return page.encode(), policy.encode()


def _link(method: str, path: str) -> str:
    """Return the path, as a link where following it does nothing but show something."""
    if method != "GET" or path.endswith("/consume") or "{" in path:
        return html.escape(path)
    return f'<a href="{html.escape(path)}">{html.escape(path)}</a>'
