"""Node's libraries: one process, asked by lines of JSON."""

import json
import subprocess
import threading
from pathlib import Path


class Node:
    def __init__(self, folder):
        """`folder` holds node_modules."""
        self.turn = threading.Lock()
        self.folder = Path(folder)
        (self.folder / "sdk.mjs").write_bytes(Path(__file__).with_name("sdk.mjs").read_bytes())
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(["node", "sdk.mjs"], cwd=folder, text=True, **pipes)

    def ask(self, **request):
        with self.turn:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise OSError("node ended; see its message above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def version(self, library):
        return json.loads((self.folder / "node_modules" / library / "package.json").read_text())["version"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
