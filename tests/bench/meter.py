"""What a process tree costs: memory and CPU from /proc, system calls by perf, allocations by a preloaded counter."""

import os
import re
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
TICK = os.sysconf("SC_CLK_TCK")
SYSCALLS = "raw_syscalls:sys_enter"


def tree(root):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for each in found:
        found.extend(children.get(each, []))
    return found


def stat(pid):
    """The fields of /proc/PID/stat from the state on; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_micros(root):
    """CPU time of the tree so far, in microseconds; exact to a tick of the kernel's clock for each process."""
    found = [fields for fields in map(stat, tree(root)) if fields]
    return sum(int(fields[11]) + int(fields[12]) for fields in found) * 1_000_000 / TICK


def memory_kib(root, key):
    """`VmRSS` or `VmHWM` (the highest so far) of the tree, summed."""
    total = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(key + ":"))
    return total


def counted_syscalls(root, command, timeout, folder):
    """Runs the command; its output, and the system calls and context switches of the tree meanwhile, or none."""
    out = folder / "perf.csv"
    pids = ",".join(map(str, tree(root)))
    perf = ["perf", "stat", "-x", ";", "-o", str(out), "-e", f"{SYSCALLS},context-switches", "-p", pids, "--"]
    done = subprocess.run(perf + command, stdout=subprocess.PIPE, check=True, timeout=timeout)
    counts = {}
    for line in out.read_text().splitlines():
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit():
            counts[fields[2]] = int(fields[0])
    return done.stdout, counts.get(SYSCALLS), counts.get("context-switches")


def can_count_syscalls():
    probe = ["perf", "stat", "-x", ";", "-e", SYSCALLS, "true"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "<not" not in done.stderr


class Allocations:
    """Counts of a program that is started with this environment."""

    def __init__(self, folder):
        self.file = folder / "allocations"
        self.file.write_bytes(bytes(16))
        library = folder / "allocations.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "allocations.c"], check=True, timeout=60)
        self.environment = {"LD_PRELOAD": str(library), "ALLOCATIONS": str(self.file)}

    def read(self):
        """Calls and bytes so far."""
        return struct.unpack("=QQ", self.file.read_bytes())


ENTRY = re.compile(r"mi_(theap_|heap_)?(malloc|zalloc|calloc|realloc)(_aligned)?(_at)?")


def calls_of_allocator(profile):
    """Calls from outside into the allocator that is linked into the gateway, as callgrind counted them."""
    names, caller, callee, count = {}, "", "", 0

    def name(text):
        number, _, written = text.partition(") ")
        if written:
            names[number] = written
        return names.get(number.rstrip(")"), "")

    with open(profile, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                caller = name(line[3:].rstrip("\n"))
            elif line.startswith("cfn="):
                callee = name(line[4:].rstrip("\n"))
            elif line.startswith("calls=") and ENTRY.fullmatch(callee) and not re.match("_?mi_", caller):
                count += int(line[6:].split()[0])
    return count
