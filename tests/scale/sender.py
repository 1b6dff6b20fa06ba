"""The sender, a process of its own: signs events as Stripe does, sends each of them until it is answered 2xx, some once more after
that, and keeps a ledger of every answer. Told by lines on stdin, tells in lines on stdout.

    sender.py {"fronts": {"journal": 8080}, "rate": 100, "seed": 1, "name": "a", "secret": "…", "ledger": "FILE"}
    again FROM TO    sends events once more that were answered 2xx in this time (monotonic seconds)
    refused          how many events wait to be sent again, since they were refused
    stop             makes no new events; ends once each is answered 2xx, or PATIENCE is over, with the ledger written
"""

import asyncio
import hashlib
import hmac
import json
import random
import sys
import time

CONNECTIONS = 48
ANSWER_SECONDS = 15
PATIENCE = 60
# Of a hundred events that were answered 2xx, so many are sent once more within two seconds.
COPIES = 8
# More than wait for an answer: nothing new until some are answered.
WAITING_MAX = 3000


class Event:
    def __init__(self, fleet, number, name, pad):
        self.fleet, self.number, self.tries, self.begun = fleet, number, 0, time.monotonic()
        self.body = json.dumps(
            {"id": f"evt_{name}_{fleet}_{number}", "object": "event", "type": "charge.captured", "livemode": True, "pad": pad}
        ).encode()
        self.digest = hashlib.sha256(self.body).hexdigest()


class Sender:
    def __init__(self, plan):
        self.plan, self.rng = plan, random.Random(f"{plan['seed']} {plan['name']}")
        self.pads = ["".join(self.rng.choices("abcdefghij", k=self.rng.randrange(100, 1400))) for _ in range(64)]
        self.queues = {fleet: asyncio.Queue() for fleet in plan["fronts"]}
        # Of each try: fleet, number, whether it is a copy, status (0: none), seconds it took, when it ended.
        self.tries, self.kept, self.open, self.made, self.stopping, self.refused = [], {}, 0, 0, False, set()

    async def produce(self):
        """New events at an even rate for each fleet, unless too many wait."""
        begun, due = time.monotonic(), 0
        while not self.stopping:
            await asyncio.sleep(0.01)
            wanted = int((time.monotonic() - begun) * self.plan["rate"])
            for _ in range(wanted - due):
                if self.open < WAITING_MAX:
                    for fleet, queue in self.queues.items():
                        self.made += 1
                        self.open += 1
                        queue.put_nowait((Event(fleet, self.made, self.plan["name"], self.rng.choice(self.pads)), False))
            due = wanted

    def later(self, seconds, event, copy):
        asyncio.get_running_loop().call_later(seconds, self.queues[event.fleet].put_nowait, (event, copy))

    async def connection(self, fleet):
        """Takes what is due, sends it, notes the answer."""
        queue, ends = self.queues[fleet], None
        while True:
            event, copy = await queue.get()
            begun, status, body = time.monotonic(), 0, b""
            try:
                if ends is None or ends[1].is_closing() or ends[0].at_eof():
                    ends = await asyncio.open_connection("127.0.0.1", self.plan["fronts"][fleet])
                status, body, goes_on = await asyncio.wait_for(self.exchange(ends, event), ANSWER_SECONDS)
            except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                goes_on = False
            if not goes_on and ends:
                ends[1].close()
                ends = None
            self.note(event, copy, status, body, begun)

    async def exchange(self, ends, event):
        at = int(time.time())
        mac = hmac.new(self.plan["secret"].encode(), f"{at}.".encode() + event.body, hashlib.sha256).hexdigest()
        head = (
            f"POST /in/{event.fleet} HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\n"
            f"Stripe-Signature: t={at},v1={mac}\r\nContent-Length: {len(event.body)}\r\n\r\n"
        )
        ends[1].write(head.encode() + event.body)
        head = (await ends[0].readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length:"))
        return int(head[9:12]), await ends[0].readexactly(int(length)), "connection: close" not in head

    def note(self, event, copy, status, body, begun):
        now = time.monotonic()
        self.tries.append((event.fleet, event.number, copy, status, round(now - begun, 4), round(now, 4)))
        if status // 100 != 2:
            event.tries += 1
            self.refused.add(event.number)
            return self.later(min(2.0, 0.2 * 2 ** min(event.tries, 4)) * self.rng.uniform(0.5, 1), event, copy)
        self.refused.discard(event.number)
        first = event.number not in self.kept
        if first:
            self.kept[event.number] = {
                "fleet": event.fleet, "id": json.loads(body)["message_id"], "digest": event.digest, "at": now,
                "waited": round(now - event.begun, 3), "event": event,
            }  # fmt: skip
        if first and self.rng.randrange(100) < COPIES:
            return self.later(self.rng.uniform(0, 2), event, True)
        self.open -= 1
        return None

    def again(self, begin, end):
        """Once more, what was answered in that time."""
        chosen = [kept["event"] for kept in self.kept.values() if begin <= kept["at"] <= end]
        self.open += len(chosen)
        for event in chosen:
            self.later(self.rng.uniform(0, 1), event, True)
        print(json.dumps({"again": len(chosen)}), flush=True)

    async def orders(self):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while words := (await reader.readline()).decode().split():
            if words[0] == "again":
                self.again(float(words[1]), float(words[2]))
            elif words[0] == "refused":
                print(json.dumps({"refused": len(self.refused)}), flush=True)
            elif words[0] == "stop":
                break
        self.stopping = True

    async def run(self):
        tasks = [asyncio.create_task(self.connection(fleet)) for fleet in self.queues for _ in range(CONNECTIONS)]
        tasks.append(asyncio.create_task(self.produce()))
        await self.orders()
        deadline = time.monotonic() + PATIENCE
        while self.open and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        for kept in self.kept.values():
            del kept["event"]
        with open(self.plan["ledger"], "w", encoding="utf-8") as ledger:
            json.dump({"made": self.made, "unanswered": self.open, "kept": list(self.kept.values()), "tries": self.tries}, ledger)
        print(json.dumps({"written": len(self.kept)}), flush=True)


asyncio.run(Sender(json.loads(sys.argv[1])).run())
