#!/usr/bin/env python3
"""own-edges.py BINARY FOLDER: of the new edges that libFuzzer tells with -print_pcs=1 on standard input, those in a line of a file
in FOLDER, or in what became part of one; a line each. What generics make of a library's code for this project is left out."""

import re
import subprocess
import sys


class Lines:
    """Where an address of the binary stands: what was made part of what, the innermost first. One process answers all."""

    def __init__(self, binary):
        self.child = subprocess.Popen(
            ["addr2line", "-a", "-i", "-e", binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )

    def of(self, address):
        # What is asked behind it has an answer that is known, and so ends the one before.
        self.child.stdin.write(f"{address:#x}\n0\n")
        self.child.stdin.flush()
        found = []
        for line in self.child.stdout:
            if re.fullmatch(r"0x0+\n", line):
                self.child.stdout.readline()
                return found[1:]
            found.append(line.strip())
        sys.exit("own-edges.py: addr2line ended")


def table_of(binary):
    """Where the table of edges begins in the binary; in the process it begins where the log says."""
    sections = subprocess.run(["readelf", "-SW", binary], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"\b__sancov_pcs\s+\w+\s+([0-9a-f]+)", sections)[1], 16)


def main():
    binary, folder = sys.argv[1:]
    lines, loaded = Lines(binary), None
    for line in sys.stdin:
        if begins := re.search(r"PC tables .*\[0x([0-9a-f]+)", line):
            loaded = int(begins[1], 16) - table_of(binary)
        elif (found := re.search(r"NEW_PC: 0x([0-9a-f]+)", line)) and loaded is not None:
            own = [place for place in lines.of(int(found[1], 16) - loaded) if place.startswith(folder)]
            if own:
                print(own[0].removeprefix(folder), flush=True)


main()
