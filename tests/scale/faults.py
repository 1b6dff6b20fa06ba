"""What befalls the replicas and what they share, each under load, in turn. A fault that does not come about is a failure too."""

import time
from concurrent.futures import ThreadPoolExecutor

from asking import until
from cluster import TICK_TIME

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
        until("the minority has stopped", lambda: world.cluster.is_stopped(victim), 40)
        stopped = time.monotonic() - begun
        time.sleep(world.rng.uniform(0.5, 1.5))
    finally:
        world.cluster.join()
    world.until_well()
    return f"another led after {led:.1f} s, who was cut off stopped after {stopped:.1f} s"


def master_killed(world):
    """Redis's master is killed after some moments in which its replica got nothing; then events of these moments are sent again."""
    world.pair.until_whole()
    begin = time.monotonic()
    old, lost = world.pair.kill_master(HELD)
    took = time.monotonic() - begin - HELD
    if not lost:
        raise AssertionError("Redis lost nothing, and so the copies of what it loses were not tried")
    world.forgotten |= lost
    world.until_well()
    copies = world.sender.again(begin - 0.2, begin + HELD + 0.5)
    # As a unit that is restarted: it takes itself for the master, until a Sentinel tells it otherwise, some ten seconds later.
    old.start()
    time.sleep(2.5)
    world.until_well()
    return f"another named after {took:.1f} s; {len(lost)} events' claims lost, {copies} events sent again"


def master_cut_off(world):
    """Redis's master is cut off from its replica and the Sentinels, and not from the gateways: what it goes on answering is lost."""
    world.pair.until_whole()
    begin = time.monotonic()
    lost = world.pair.cut_off_master()
    took = time.monotonic() - begin
    world.forgotten |= lost
    world.until_well()
    copies = world.sender.again(begin - 0.2, begin + took)
    time.sleep(2.5)
    world.until_well()
    return f"all asked the other after {took:.1f} s; {len(lost)} events' claims lost, {copies} events sent again"


def node_frozen(world):
    """A node that stops in the midst of it all, and goes on before the others give her up."""
    victim = world.cluster.leader(world.rng.choice(world.queues))
    frozen(world, victim, TICK_TIME / 2)
    world.until_well()
    return ""


def node_suspended(world):
    """As a virtual machine that is moved: longer than the others wait. RabbitMQ 3.10 sees a partition of its tables then, and no
    minority that could pause, so its operator has to restart the node."""
    victim = world.cluster.leader(world.rng.choice(world.queues))
    frozen(world, victim, TICK_TIME + 4)
    time.sleep(1)
    world.cluster.nodes[victim].node.stop()
    world.cluster.nodes[victim].start()
    world.until_well()
    return ""


def frozen(world, victim, seconds):
    world.cluster.freeze(victim)
    try:
        time.sleep(seconds)
    finally:
        world.cluster.thaw(victim)


def rolling_upgrade(world):
    """One replica of each fleet after the other: no more requests, SIGTERM, a new process, and requests again once it says that it is
    ready. Nobody may be refused."""
    until_accepted(world)
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
            until(f"{server} of {fleet} is ready", lambda: replica.get("/readyz")[0] == 200)
            world.front.ready(fleet, server)

    with ThreadPoolExecutor() as threads:
        list(threads.map(upgrade, world.replicas.fleets))
    end = time.monotonic()
    world.unrefused.append((begin, end))
    world.until_well()
    time.sleep(1)  # each of the new ones gets its share
    return f"{end - begin:.1f} s for {len(stops)} replicas, the slowest stop took {max(stops):.1f} s"


def until_accepted(world):
    """A copy that met a claim whose end was lost with the master waits for two seconds, and is refused until that claim's lease has run
    out: so nobody may be refused for longer than that."""
    calm = time.monotonic()

    def is_calm():
        nonlocal calm
        if world.sender.refused():
            calm = time.monotonic()
        return time.monotonic() - calm > 2.5

    until("all that was refused before has come again", is_calm)


FAULTS = {
    "no fault": nothing,
    # First, since it takes Sentinels ten seconds to tell who comes back what he is now.
    "Redis's master killed": master_killed,
    "a replica killed": replica_killed,
    "the queues' lead moved": lead_moved,
    "a RabbitMQ node killed": node_killed,
    "a RabbitMQ node cut off": node_cut_off,
    "a RabbitMQ node frozen": node_frozen,
    "a RabbitMQ node suspended": node_suspended,
    "Redis's master cut off": master_cut_off,
    "a rolling upgrade": rolling_upgrade,
}
# In the long form alone: what takes long, and is not the gateway's.
LONG_ONLY = {"a RabbitMQ node suspended"}
