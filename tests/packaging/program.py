"""Starts the program for the checks of what it is packaged with."""

import json
import os
import pathlib
import queue
import re
import subprocess
import tempfile
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("PROGRAM_UNDER_TEST") or str(ROOT / "target" / "debug" / "keyfob")


def environment(**settings):
    """Nothing of the caller's environment but what a program needs to run."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **settings}


def setting_names():
    """The environment variables that the program's help lists, and the one secret that has no flag."""
    text = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True, env=environment()).stdout
    names = set(re.findall(r"\[env: (KEYFOB_[A-Z_]+)\]", text))
    return names | {"KEYFOB_OAUTH_CLIENT_SECRET"}


class Service:
    """A service in a directory of its own, ended with the `with` block."""

    def __init__(self, *arguments, **settings):
        self.directory = tempfile.TemporaryDirectory(prefix="keyfob-check-")
        self.path = pathlib.Path(self.directory.name)
        self.arguments = arguments or ("serve",)
        listeners = {f"KEYFOB_{name}_LISTEN": "127.0.0.1:0" for name in ("WEB", "PROXY", "OPS", "SANDBOX")}
        self.environment = environment(**{**listeners, "KEYFOB_LOG_FORMAT": "json", "KEYFOB_LOG": "info", **settings})

    def run(self, *arguments, given=""):
        """Runs a command beside the service and answers what it printed."""
        done = subprocess.run(
            [PROGRAM, *arguments], input=given, capture_output=True, text=True, env=self.environment, cwd=self.path
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def start(self):
        self.child = subprocess.Popen(
            [PROGRAM, *self.arguments],
            env=self.environment,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed = lines_of(self.child.stdout)
        logged = lines_of(self.child.stderr)
        seen = []
        while True:
            try:
                seen.append(logged.get(timeout=30))
            except queue.Empty:
                raise AssertionError(f"never ready: {seen}") from None
            try:
                line = json.loads(seen[-1])
            except ValueError:
                continue
            if line.get("message") == "Keyfob is ready":
                self.ready = line
                return self

    def address(self, listener):
        return self.ready[f"{listener}.address"]

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.address('ops')}/metrics") as answer:
            return answer.read().decode()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(timeout=30)
        self.directory.cleanup()


def lines_of(stream):
    lines = queue.Queue()

    def read():
        for line in stream:
            lines.put(line.rstrip("\n"))

    threading.Thread(target=read, daemon=True).start()
    return lines
