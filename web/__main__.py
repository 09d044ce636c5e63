"""`python -m web` is `event-broker`."""

from web.main import main

main()
