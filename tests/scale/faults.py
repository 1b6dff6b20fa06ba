"""What befalls the replicas and what they share, each under load, in turn. A fault that does not come about is a failure too."""

import time
from concurrent.futures import ThreadPoolExecutor

from lines import until

# Long enough for events to be claimed, published and said to be done, too short for the Sentinels to miss anybody.
HELD = 0.7


def nothing(world):
    """Load and no fault, to compare with."""
    time.sleep(3)
    return ""


def replica_killed(world):
    """A replica of each fleet, amid its requests; started again a second later."""
    victims = [world.rng.choice(replicas) for replicas in world.replicas.fleets.values()]
    for victim in victims:
        victim.kill()
    time.sleep(1)
    for victim in victims:
        victim.start()
    world.until_well()
    return f"{len(victims)} replicas, one of each mode"


def lead_moved(world):
    """Each queue's lead to another node, and then to where RabbitMQ would have it."""
    moves = 0
    for queue in world.queues:
        old = world.cluster.leader(queue)
        to = world.rng.choice([name for name in world.cluster.names if name != old])
        said = world.cluster.move(queue, to)
        until(f"{queue} is led by {to} ({said})", lambda: world.cluster.leader(queue) == to, 20)
        moves += 1
        time.sleep(0.5)
    said = world.cluster.rebalance()
    if not said.startswith("{ok"):
        raise AssertionError(f"rebalance: {said}")
    world.until_well()
    return f"{moves} moves and a rebalance"


def node_killed(world):
    """The node that leads one of the queues, by SIGKILL; started again once another leads."""
    queue = world.rng.choice(world.queues)
    victim = world.cluster.leader(queue)
    begun = time.monotonic()
    world.cluster.nodes[victim].node.kill()
    others = [name for name in world.cluster.names if name != victim]
    until(f"{queue} is led by another", lambda: any(world.cluster.leader(queue, name) in others for name in others), 30)
    took = time.monotonic() - begun
    time.sleep(1)
    world.cluster.nodes[victim].start()
    world.until_well()
    return f"another led after {took:.1f} s"


def node_cut_off(world):
    """The node that leads one of the queues hears nothing of the others, nor they of her; clients reach all of them."""
    queue = world.rng.choice(world.queues)
    victim = world.cluster.leader(queue)
    others = [name for name in world.cluster.names if name != victim]
    begun = time.monotonic()
    world.cluster.isolate(victim)
    try:
        until(f"{queue} is led by another", lambda: any(world.cluster.leader(queue, name) in others for name in others), 40)
        led = time.monotonic() - begun
        until("the minority has stopped", lambda: world.cluster.running(victim) == 0, 40)
        stopped = time.monotonic() - begun
        time.sleep(world.rng.uniform(0.5, 1.5))
    finally:
        world.cluster.join()
    world.until_well()
    return f"another led after {led:.1f} s, who was cut off stopped after {stopped:.1f} s"


def master_killed(world):
    """Redis's master is killed after some moments in which its replica got nothing; then events of these moments are sent again."""
    begin = time.monotonic()
    old, lost = world.pair.fail_over(HELD)
    took = time.monotonic() - begin - HELD
    if not lost:
        raise AssertionError("Redis lost nothing, and so the copies of what it loses were not tried")
    world.forgotten |= lost
    world.until_well()
    copies = world.sender.again(begin - 0.2, begin + HELD + 0.5)
    time.sleep(2.5)
    world.pair.come_back(old)
    world.until_well()
    return f"another named after {took:.1f} s; {len(lost)} events' claims lost, {copies} events sent again"


def rolling_upgrade(world):
    """One replica of each fleet after the other: no more requests, SIGTERM, a new process, requests again. Nobody may be refused."""
    time.sleep(2)  # those who were refused before have come again
    begin, stops = time.monotonic(), []

    def upgrade(fleet):
        for number, replica in enumerate(world.replicas.fleets[fleet], 1):
            server = f"gateway-{number}"
            world.front.drain(fleet, server)
            took, code = replica.terminate()
            stops.append(took)
            if code:
                raise AssertionError(f"{server} of {fleet} ended with {code} at SIGTERM")
            replica.start()
            world.front.ready(fleet, server)

    with ThreadPoolExecutor() as threads:
        list(threads.map(upgrade, world.replicas.fleets))
    world.unrefused.append((begin, time.monotonic()))
    world.until_well()
    return f"{len(stops)} replicas, the slowest stop took {max(stops):.1f} s"


FAULTS = {
    "no fault": nothing,
    "a replica killed": replica_killed,
    "the queues' lead moved": lead_moved,
    "a RabbitMQ node killed": node_killed,
    "a RabbitMQ node cut off": node_cut_off,
    "Redis's master killed": master_killed,
    "a rolling upgrade": rolling_upgrade,
}
