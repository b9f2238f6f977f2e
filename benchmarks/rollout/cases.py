"""The cases that are simulated."""

from benchmarks.rollout.traffic import Case

CASES = (
    Case("identical models"),
    Case("1 point more errors", (0.01, 0.02), truth="between"),
    Case("2 points more errors", (0.01, 0.03), truth="between"),
    Case("5 points more errors", (0.01, 0.06), truth="worse"),
    Case("20% slower", slower=1.2, truth="between"),
    Case("100% slower", slower=2.0, truth="worse"),
    Case("identical, bursty traffic, incidents of both", arrivals="bursty", incidents=0.05),
    Case("5 points, bursty traffic, incidents of both", (0.01, 0.06), truth="worse", arrivals="bursty", incidents=0.05),
    Case("identical, weekday-shaped rate and errors", arrivals="weekday"),
    Case("5 points, weekday-shaped rate and errors", (0.01, 0.06), truth="worse", arrivals="weekday"),
    Case("identical, correlated clients, routed by chance", clients=0.3),
    Case("5 points, correlated clients, routed by chance", (0.01, 0.06), truth="worse", clients=0.3),
    Case("identical, correlated clients, sticky", clients=0.3, sticky=True),
    Case("5 points, correlated clients, sticky", (0.01, 0.06), truth="worse", clients=0.3, sticky=True),
    Case("identical, half of the challenger's requests uncounted", lost=0.5),
)
