"""Mean and longest time between delivery and acknowledgement."""

from actors.latency import Latency


def test_there_is_nothing_before_the_first_acknowledgement() -> None:
    latency = Latency()
    assert (latency.mean, latency.longest) == (0.0, 0)


def test_mean_and_longest_over_all_deliveries() -> None:
    latency = Latency()
    for since, now in ((100, 110), (100, 130), (200, 205)):
        latency.add(since, now)
    assert (latency.mean, latency.longest) == (15.0, 30)


def test_a_delivery_that_took_no_time_counts() -> None:
    latency = Latency()
    latency.add(5, 5)
    latency.add(5, 15)
    assert (latency.mean, latency.longest) == (5.0, 10)
