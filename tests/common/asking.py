"""What checks ask of servers and texts: that something holds in time, one answer, one number."""

import re
import socket
import time


class Failed(AssertionError):
    """What is wrong, for whoever mends it."""


def until(what, holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def replaced(text, pairs):
    """A text with each of these replaced, each of which has to be there."""
    for found, other in pairs:
        if found not in text:
            raise Failed(f"{found!r} is not there any more, and the check replaces it")
        text = text.replace(found, other)
    return text


def asked(port, *words):
    """One answer of Redis, a line each."""
    with socket.create_connection(("127.0.0.1", port), 2) as to:
        to.settimeout(2)
        to.sendall(f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words))
        return [line for line in to.recv(65536).decode().split("\r\n") if line and line[0] not in "*$"]


def total(metrics, name, **labels):
    """The sum of the samples of that name with these labels, of what a gateway tells at /metrics."""
    samples = re.findall(r"^(\w+)(?:\{(.*?)\})? (\S+)$", metrics, re.M)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(value) for found, own, value in samples if found == name and all(label in own for label in wanted))
