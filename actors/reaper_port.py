"""What can be asked of the reaper: its messages, and the handle that sends them."""

from typing import TypeAlias

import attrs

from actors.broker import MailboxView
from actors.mailbox import Mailbox


@attrs.define(eq=False)
class WakeAt:
    """Something becomes due or runs out at engine time `at`."""

    at: int


@attrs.define(eq=False)
class Stop:
    """End."""


ReaperMessage: TypeAlias = WakeAt | Stop


class ReaperPort:
    """How to talk to the reaper. Nothing here waits."""

    def __init__(self, mailbox: Mailbox[ReaperMessage]) -> None:
        self._mailbox = mailbox

    def wake_at(self, at: int) -> None:
        """Have leases expired and delayed events promoted at engine time `at`, or before."""
        self._mailbox.put(WakeAt(at))

    def mailbox_view(self) -> MailboxView:
        """Tell how many messages wait."""
        return self._mailbox.view()

    def stop(self) -> None:
        """End."""
        self._mailbox.put(Stop())
