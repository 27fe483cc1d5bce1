"""The examples for nginx and Caddy, started for real: a browser's way in through the prefix, an app's call, paths that must
arrive byte for byte."""

import http.client
import http.cookies
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

from program import ROOT, Service, environment

HOST, PROXY_HOST = "home.example", "teslascope.home.example"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificate(directory):
    """A certificate of its own for both names, and its key."""
    paths = (directory / "cert.pem", directory / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},DNS:{PROXY_HOST}",
         "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


class Connection(http.client.HTTPSConnection):
    """Goes to this machine whatever the name, and checks the certificate against the name."""

    def connect(self):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.sock = self._context.wrap_socket(raw, server_hostname=self.host)


class Browser:
    """As much of a browser as signing in needs: cookies, and whether they would be kept."""

    def __init__(self, port, trust):
        self.port, self.context, self.cookies = port, ssl.create_default_context(cafile=str(trust)), {}

    def ask(self, method, path, form=None, headers=(), host=HOST):
        connection = Connection(host, self.port, context=self.context)
        headers = dict(headers)
        if self.cookies and host == HOST:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if form is not None:
            body = "&".join(f"{name}={value}" for name, value in form.items())
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{HOST}:{self.port}"}
        connection.putrequest(method, path)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode() if body is not None else None)
        answer = connection.getresponse()
        text = answer.read().decode()
        for line in answer.msg.get_all("Set-Cookie") or []:
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        connection.close()
        return answer, text


class ThroughAReverseProxy:
    """The stories; each subclass starts one server from its example."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="keyfob-proxy-")
        # nginx's workers are another user when it is started by root.
        os.chmod(cls.directory.name, 0o755)
        directory = pathlib.Path(cls.directory.name)
        cls.port = free_port()
        cert, key = certificate(directory)
        cls.service = Service(
            KEYFOB_PUBLIC_URL=f"https://{HOST}:{cls.port}/keyfob",
            KEYFOB_PROXY_PUBLIC_URL=f"https://{PROXY_HOST}:{cls.port}",
            KEYFOB_TRUSTED_PROXIES="127.0.0.1",
        )
        cls.service.run("user", "add", "ann", "--admin", "--password-stdin", given="correct horse battery\n")
        made = cls.service.run("app", "add", "dash", "--user", "ann", "--scope", "vehicles", "--json")
        cls.key = json.loads(made)["key"]
        cls.service.start()
        cls.server = cls.start_server(directory, cert, key)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", cls.port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        cls.trust = cert

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        cls.server.wait(timeout=20)
        cls.service.__exit__()
        cls.directory.cleanup()

    def browser(self):
        return Browser(self.port, self.trust)

    def example(name, directory, replacements):
        text = (ROOT / "packaging" / "proxy" / name).read_text()
        for old, new in replacements.items():
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        path = directory / name
        path.write_text(text)
        return path

    def test_a_person_signs_in_through_the_prefix(self):
        browser = self.browser()
        answer, page = browser.ask("GET", "/keyfob/")
        self.assertEqual(answer.status, 303)
        self.assertEqual(answer.headers["Location"].split("?")[0], "/keyfob/sign-in")
        answer, page = browser.ask("GET", "/keyfob/sign-in")
        self.assertEqual(answer.status, 200)
        self.assertIn('action="/keyfob/sign-in"', page)
        for address in re.findall(r'(?:href|src|action)="([^"]*)"', page):
            self.assertTrue(address.startswith(("/keyfob/", "#")), address)
        style = re.search(r'href="(/keyfob/[^"]*\.css[^"]*)"', page).group(1)
        self.assertEqual(browser.ask("GET", style)[0].status, 200)
        token = re.search(r'name="csrf_token" value="([^"]+)"', page).group(1)
        form = {"csrf_token": token, "username": "ann", "password": "correct+horse+battery"}
        answer, page = browser.ask("POST", "/keyfob/sign-in", form)
        self.assertEqual((answer.status, answer.headers["Location"]), (303, "/keyfob/"), page)
        for line in answer.msg.get_all("Set-Cookie"):
            self.assertRegex(line, r"^__Host-")
            for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
                self.assertIn(attribute, line)
            self.assertNotIn("Domain", line)
        answer, page = browser.ask("GET", "/keyfob/")
        self.assertEqual(answer.status, 200)
        self.assertIn("ann", page)

    def test_the_prefix_without_its_slash_leads_to_the_pages(self):
        answer, _ = self.browser().ask("GET", "/keyfob")
        self.assertIn(answer.status, (301, 303, 308))
        self.assertEqual(re.sub(rf"^https://{HOST}(:{self.port})?", "", answer.headers["Location"]), "/keyfob/")

    def test_nothing_of_keyfob_is_outside_the_prefix(self):
        for path in ("/sign-in", "/api/v1/grants", "/keyfobx/sign-in"):
            answer, page = self.browser().ask("GET", path)
            self.assertFalse(answer.status == 200 and page, path)

    def test_a_form_without_its_token_is_refused(self):
        answer, _ = self.browser().ask("POST", "/keyfob/sign-in", {"username": "ann", "password": "x"})
        self.assertEqual(answer.status, 403)

    def test_a_page_on_loopback_leads_to_the_public_address(self):
        connection = http.client.HTTPConnection(self.service.address("web"))
        connection.request("GET", "/keyfob/sign-in")
        answer = connection.getresponse()
        self.assertEqual(answer.status, 303)
        self.assertEqual(answer.headers["Location"], f"https://{HOST}:{self.port}/keyfob/sign-in")

    def call(self, path, key=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer, text = self.browser().ask("GET", path, headers=headers, host=PROXY_HOST)
        return answer.status, answer.headers.get("Keyfob-Error"), text

    def test_an_app_reaches_the_proxy_under_its_name(self):
        self.assertEqual(self.call("/api/vehicles")[:2], (401, "missing_app_key"))
        status, code, text = self.call("/api/vehicles", self.key)
        self.assertEqual((status, code), (409, "no_grant"))
        self.assertIn(f"https://{HOST}:{self.port}/keyfob/connect", text)
        self.assertEqual(self.call("/api/vehicle/x/wakeup", self.key)[:2], (403, "insufficient_scope"))

    def test_a_path_arrives_byte_for_byte_and_is_judged_by_keyfob(self):
        for path in ("/api//vehicles", "/api/vehicle/a%2fb", "/api/vehicle/%61", "/api/vehicle/x;y/state"):
            self.assertEqual(self.call(path, self.key)[:2], (400, "bad_request_target"), path)


class Nginx(ThroughAReverseProxy, unittest.TestCase):
    @classmethod
    def start_server(cls, directory, cert, key):
        config = ThroughAReverseProxy.example("nginx.conf", directory, {
            "listen 443 ssl": f"listen 127.0.0.1:{cls.port} ssl",
            "/etc/ssl/home.example.pem": str(cert),
            "/etc/ssl/private/home.example.key": str(key),
            "127.0.0.1:8700": cls.service.address("web"),
            "127.0.0.1:8701": cls.service.address("proxy"),
        })  # fmt: skip
        places = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        text = config.read_text().replace("http {", f"http {{ {places}", 1)
        config.write_text(f"daemon off; pid {directory}/pid; error_log {directory}/error.log;\n{text}")
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        return subprocess.Popen([program, "-c", str(config), "-p", str(directory), "-e", f"{directory}/error.log"])


class Caddy(ThroughAReverseProxy, unittest.TestCase):
    @classmethod
    def start_server(cls, directory, cert, key):
        site = "{\n\ttls " + f"{cert} {key}\n"
        config = ThroughAReverseProxy.example("Caddyfile", directory, {
            "\nhome.example {\n": f"\nhome.example:{cls.port} {site}",
            "\nteslascope.home.example {\n": f"\nteslascope.home.example:{cls.port} {site}",
            "127.0.0.1:8700": cls.service.address("web"),
            "127.0.0.1:8701": cls.service.address("proxy"),
        })  # fmt: skip
        config.write_text("{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n" + config.read_text())
        program = pathlib.Path(sys.executable).with_name("caddy")
        return subprocess.Popen(
            [str(program), "run", "--config", str(config), "--adapter", "caddyfile"],
            env=environment(XDG_DATA_HOME=str(directory), XDG_CONFIG_HOME=str(directory)),
            stderr=open(directory / "caddy.log", "w"),
        )


if __name__ == "__main__":
    unittest.main()
