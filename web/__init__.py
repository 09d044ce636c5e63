"""The doors of the broker: HTTP, settings and the command line.

Handlers are plain functions from a `Call` to an `Answer`; what stands in front of them (Quart, or
anything else that speaks ASGI) only carries these values to and from the socket.
"""
