"""Checks everything under deploy/; a line for each check, and at the end what failed."""

import argparse
import shutil
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))
import files  # noqa: E402, F401
import kubernetes  # noqa: E402, F401
import migration  # noqa: E402, F401
import names  # noqa: E402, F401
import proxies  # noqa: E402, F401
import running  # noqa: E402, F401
import stores  # noqa: E402, F401
from asking import Failed  # noqa: E402
from common import CHECKS, LeftOut  # noqa: E402

# Most of them wait for a server to start.
AT_ONCE = 3
WITH_SERVERS = ("migration", "proxies", "running", "stores")


class Context:
    """What a check may use: the gateway's binary, and a folder of its own."""

    def __init__(self, hookgate, folder):
        self.hookgate, self.base = hookgate, folder

    def folder(self, name):
        made = self.base / name
        made.mkdir(parents=True)
        return made


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--hookgate", required=True)
    arguments.add_argument("--only", help="checks whose title has these words")
    given = arguments.parse_args()
    hookgate = Path(given.hookgate).resolve()
    if not hookgate.is_file():
        raise SystemExit(f"{hookgate} is not there: build it, or name another with --hookgate")
    chosen = [(title, body) for title, body in CHECKS if not given.only or given.only in title]
    # The longest first, so that none is waited for alone.
    chosen.sort(key=lambda each: (each[1].__module__ not in WITH_SERVERS, not each[0].startswith("full")))
    base = Path(tempfile.mkdtemp(prefix="hookgate-deploy-"))
    printing, count = threading.Lock(), {"passed": 0, "failed": 0, "left out": 0}

    def carry_out(number):
        title, body = chosen[number]
        began, outcome, why = time.monotonic(), "passed", ""
        try:
            said = body(Context(hookgate, base / str(number)))
            why = f" ({said})" if said else ""
        except LeftOut as left:
            outcome, why = "left out", f": {left}"
        except (Failed, SystemExit) as failed:
            outcome, why = "failed", f": {failed}"
        except Exception:
            outcome, why = "failed", f":\n{traceback.format_exc()}"
        with printing:
            count[outcome] += 1
            word = {"passed": "ok      ", "failed": "FAILED  ", "left out": "left out"}[outcome]
            print(f"{word} {title}{why}, {time.monotonic() - began:.1f} s", flush=True)

    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(carry_out, range(len(chosen))))
    finally:
        if count["failed"]:
            print(f"what the servers said is in {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
    print(f"{count['passed']} passed, {count['failed']} failed, {count['left out']} skipped")
    raise SystemExit(0 if count["passed"] and not count["failed"] else 1)


main()
