"""Ends with 0 if the broker in this container is healthy: what the image's HEALTHCHECK runs."""

import os
import sys
import urllib.error
import urllib.request

SECONDS_MAX = 2


def main() -> int:
    """Ask the broker on PORT (3000 unless set); return the exit code."""
    url = f"http://127.0.0.1:{os.environ.get('PORT') or 3000}/api/health"
    # A proxy that the container's environment names is not for its own loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS_MAX) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(errors="replace"))
        return 1
    except OSError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
