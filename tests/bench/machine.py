"""What a run stood on: the machine and the versions of all that took part."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path


def about(plan, folder):
    """For the head of the tables; nothing that names a person or a host."""
    return {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "guided": getattr(plan, "guided", False),
        "bare_workers": getattr(plan, "bare_workers", None),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"),
        "cores": os.cpu_count(),
        "cpu": first_line("/proc/cpuinfo", "model name"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "disk": said("stat", "-f", "-c", "%T", str(folder)),
        "load_before": os.getloadavg()[0],
        "versions": versions(plan),
    }


def versions(plan):
    found = {
        "rustc": said("rustc", "--version"),
        "Redis": said("redis-server", "--version"),
        "RabbitMQ": said("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"),
        "Node": said("node", "--version"),
        "Python": platform.python_version(),
    }
    numbers = {name: re.search(r"\d+(\.\d+)+", text or "") for name, text in found.items()}
    return {name: number.group() for name, number in numbers.items() if number}


def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""


def first_line(path, key):
    lines = (line for line in Path(path).read_text().splitlines() if line.startswith(key))
    return next((line.partition(":")[2].strip() for line in lines), "unknown")
