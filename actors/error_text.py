"""What went wrong, as a text that can be kept and sent."""

CHARACTERS_MAX = 1000


def error_text(text: str) -> str:
    """Return a text of bounded length that every encoding of ours can carry.

    An exception may speak of anything, for instance of a file name that is not UTF-8: its half
    surrogates are shown as escapes.
    """
    return text[:CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()[:CHARACTERS_MAX]
