"""Two event handlers: the broker's workers call one of them with each event.

Name it when you start the broker:

    EVENT_HANDLER=examples.handler:log_event scripts/run
    EVENT_HANDLER=examples.handler:ship scripts/run

A handler that returns has done its work, and its event is acknowledged. One that raises has failed:
the event is tried again with a growing delay, and after MAX_RETRIES failures it is a dead letter
that carries the exception's message. Handlers run under trio, several at a time, and are cancelled
when their lease ends; what they do must bear being done twice.
"""

import attrs
import trio

from actors.handler import Event


async def log_event(event: Event) -> None:
    """Print what came; the payload is the published JSON object."""
    print(f"{event.topic or '(no topic)'} {event.id}: {event.payload}", flush=True)


@attrs.frozen
class Order:
    """What `ship` wants a payload to look like; one that does not fit is a failed delivery."""

    order: int
    customer: str
    items: list[str] = attrs.field(factory=list)


async def ship(order: Order) -> None:
    """Ship an order, or fail if there is nothing to ship."""
    if not order.items:
        raise ValueError(f"order {order.order} of {order.customer} is empty")
    await trio.sleep(0.1)  # the real work
    print(f"order {order.order}: {len(order.items)} items to {order.customer}", flush=True)
