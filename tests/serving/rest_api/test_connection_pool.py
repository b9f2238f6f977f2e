"""Who makes room when there are too many connections."""

from itertools import pairwise

from slipway.serving.rest_api.connection_pool import ConnectionPool, Standing


class Waiting:
    """A connection as the crowd sees it."""

    dropped = False

    def drop(self) -> None:
        self.dropped = True


def test_room_is_made_by_those_who_have_shown_least_and_never_by_those_at_work() -> None:
    crowd = ConnectionPool(6)
    working = Waiting()
    crowd.enter(working)
    crowd.work(working)
    waiting = {standing: Waiting() for standing in reversed(Standing)}
    for standing, connection in waiting.items():
        crowd.enter(connection)
        crowd.wait(connection, standing)
    order = [waiting[standing] for standing in sorted(Standing)]
    for connection, next_ in pairwise(order):
        busy = Waiting()
        crowd.enter(busy)
        crowd.work(busy)
        assert connection.dropped
        assert not next_.dropped
        assert not busy.dropped
    last = Waiting()
    crowd.enter(last)
    assert order[-1].dropped
    crowd.work(last)
    unlucky = Waiting()
    crowd.enter(unlucky)
    assert unlucky.dropped
    assert not any(connection.dropped for connection in (working, last))


def test_of_two_who_wait_for_the_same_the_older_goes_and_who_has_gone_makes_room() -> None:
    crowd = ConnectionPool(2)
    first, second, third, fourth = [Waiting() for _ in range(4)]
    for connection in (first, second, third):
        crowd.enter(connection)
    assert [first.dropped, second.dropped, third.dropped] == [True, False, False]
    crowd.leave(second)
    crowd.enter(fourth)
    assert [third.dropped, fourth.dropped] == [False, False]
    crowd.wait(first, Standing.IDLE)  # it is closed already
    assert crowd.standing(first) is None
