"""The cases that are simulated."""

from benchmarks.rollout.traffic import Case

WORSE = (0.01, 0.02)
"""Shares of failed requests, with a harm of the margin."""

CASES = (
    Case("identical models"),
    Case("half a point more errors", (0.01, 0.015), truth="between"),
    Case("1 point more errors", WORSE, truth="worse"),
    Case("5 points more errors", (0.01, 0.06), truth="worse"),
    Case("1% errors, 2% from half of the traffic on", under_load=0.02, truth="worse"),
    Case("1% errors, 6% from half of the traffic on", under_load=0.06, truth="worse"),
    Case("1% errors, 11% from half of the traffic on", under_load=0.11, truth="worse"),
    Case("20% slower", slower=1.2, truth="between"),
    Case("100% slower", slower=2.0, truth="worse"),
    Case("identical, each with busy spells of 2.5 to 10 s", spells=(5, 20)),
    Case("identical, bursty traffic, incidents of both", arrivals="bursty", incidents=0.05),
    Case("5 points, bursty traffic, incidents of both", (0.01, 0.06), truth="worse", arrivals="bursty", incidents=0.05),
    Case("identical, weekday-shaped rate and errors", arrivals="weekday"),
    Case("5 points, weekday-shaped rate and errors", (0.01, 0.06), truth="worse", arrivals="weekday"),
    Case("identical, correlated clients, routed by chance", clients=0.3),
    Case("5 points, correlated clients, routed by chance", (0.01, 0.06), truth="worse", clients=0.3),
    Case("identical, sticky, ICC 0.3, 30 requests a client", clients=0.3, session=30, sticky=True, rate=800),
    Case(
        "1 point, sticky, ICC 0.3, 30 requests a client",
        WORSE,
        truth="worse",
        clients=0.3,
        session=30,
        sticky=True,
        rate=800,
    ),
    Case("identical, sticky, ICC 0.6, 100 requests a client", clients=0.6, session=100, sticky=True, rate=800),
    Case(
        "1 point, sticky, ICC 0.6, 100 requests a client",
        WORSE,
        truth="worse",
        clients=0.6,
        session=100,
        sticky=True,
        rate=800,
    ),
    Case(
        "5 points, sticky, ICC 0.6, 100 requests a client",
        (0.01, 0.06),
        truth="worse",
        clients=0.6,
        session=100,
        sticky=True,
        rate=800,
    ),
    Case("accuracy from 55 to 95%", answers=(0.02, 0.42)),
    Case("accuracy 3 points lower", answers=(0.055, 0.025), truth="worse"),
    Case("identical, half of the challenger's requests uncounted", lost=0.5),
)
