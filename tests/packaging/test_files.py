"""What the container, the units and the reverse proxy examples say, read by parsers and held against the program."""

import configparser
import re
import shutil
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

import yaml

from program import PROGRAM, ROOT, environment, setting_names


def variables(text):
    return set(re.findall(r"KEYFOB_[A-Z_]+", text)) - {"KEYFOB_"}


class Compose(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "docker-compose.yml").read_text()
        self.file = yaml.safe_load(self.text)
        self.service = self.file["services"]["keyfob"]

    def test_it_has_only_parts_that_compose_knows(self):
        self.assertLessEqual(set(self.file), {"name", "services", "networks", "volumes", "secrets", "configs"})
        known = {
            "build", "image", "restart", "ports", "environment", "volumes", "networks", "read_only", "cap_drop",
            "security_opt", "pids_limit", "mem_limit", "stop_grace_period", "logging", "tmpfs", "secrets",
        }  # fmt: skip
        self.assertLessEqual(set(self.service), known)

    def test_every_variable_is_a_setting_of_the_program(self):
        self.assertLessEqual(variables(self.text), setting_names())
        self.assertLessEqual(set(self.service["environment"]), setting_names())
        for value in self.service["environment"].values():
            self.assertRegex(str(value), r"^\$\{KEYFOB_[A-Z_]+:-[^}]*\}$")

    def test_its_defaults_start_the_program(self):
        defaults = {name: re.sub(r"^\$\{\w+:-|\}$", "", value) for name, value in self.service["environment"].items()}
        with tempfile.TemporaryDirectory() as directory:
            settings = {**defaults, **image_environment(directory)}
            done = subprocess.run(
                [PROGRAM, "user", "list", "--json"], env=environment(**settings), capture_output=True, text=True
            )
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "[]"), done.stderr)

    def test_ports_are_open_to_this_machine_only(self):
        for port in self.service["ports"]:
            self.assertRegex(port, r"^127\.0\.0\.1:(\d+):\1$")

    def test_it_runs_with_nothing_that_it_does_not_need(self):
        self.assertIs(self.service["read_only"], True)
        self.assertEqual(self.service["cap_drop"], ["ALL"])
        self.assertIn("no-new-privileges:true", self.service["security_opt"])
        self.assertNotIn("privileged", self.service)

    def test_what_it_mounts_exists_in_the_image(self):
        image = (ROOT / "Dockerfile").read_text()
        named = [volume.split(":") for volume in self.service["volumes"] if not volume.startswith(".")]
        self.assertEqual({name for name, _ in named}, set(self.file["volumes"]))
        for _, place in named:
            self.assertIn(f" {place}\n", image)
        self.assertEqual(set(self.service["networks"]), set(self.file["networks"]))


def image_environment(directory):
    """The variables of the image, with its directories moved below one of ours."""
    image = (ROOT / "Dockerfile").read_text()
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", image, re.M).group(1)
    pairs = dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())
    return {name: value.replace("/var/lib", directory) for name, value in pairs.items()}


class Image(unittest.TestCase):
    def setUp(self):
        self.text = (ROOT / "Dockerfile").read_text()

    def test_every_variable_is_a_setting_of_the_program(self):
        self.assertLessEqual(variables(self.text), setting_names())

    def test_what_it_copies_exists_and_is_not_ignored(self):
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
        copied = set()
        for line in re.findall(r"^COPY (?!--from)(.*)$", self.text, re.M):
            copied.update(line.split()[:-1])
        self.assertEqual(copied, allowed)
        for name in copied:
            self.assertTrue((ROOT / name).exists(), name)

    def test_everything_that_the_sources_include_is_copied(self):
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
        for source in (ROOT / "src").rglob("*.rs"):
            for name in re.findall(r"include_(?:str|bytes)!\(\s*\"([^\"]+)\"", source.read_text()):
                below = (source.parent / name).resolve().relative_to(ROOT)
                self.assertIn(below.parts[0], allowed | {"tests"}, f"{source}: {name}")

    def test_what_it_copies_is_a_package_for_cargo(self):
        allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
        with tempfile.TemporaryDirectory() as directory:
            for name in allowed:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, Path(directory) / name)
            # Cargo looks for the program only after it has found every target that the manifest names.
            done = subprocess.run(
                ["cargo", "check", "--offline", "--locked", "--bin", "no-such-program"],
                cwd=directory, capture_output=True, text=True,
            )  # fmt: skip
        self.assertIn("no bin target named `no-such-program`", done.stderr)

    def test_it_runs_as_a_user_without_rights_and_checks_itself(self):
        self.assertRegex(self.text, r"(?m)^USER 65532:65532$")
        check = re.search(r"^HEALTHCHECK .*CMD \[\"/usr/local/bin/keyfob\", \"(\w+)\"\]$", self.text, re.M)
        done = subprocess.run([PROGRAM, check.group(1), "--help"], env=environment(), capture_output=True)
        self.assertEqual(done.returncode, 0)


class Units(unittest.TestCase):
    folder = ROOT / "packaging" / "systemd"

    def read(self, name):
        parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
        parser.optionxform = str
        parser.read_string((self.folder / name).read_text())
        return parser

    def test_sockets_have_the_names_and_addresses_of_the_listeners(self):
        help_text = subprocess.run([PROGRAM, "--help"], env=environment(), capture_output=True, text=True).stdout
        for name in ("web", "proxy", "ops"):
            socket = self.read(f"keyfob-{name}.socket")["Socket"]
            self.assertEqual(socket["FileDescriptorName"], name)
            self.assertEqual(socket["Service"], "keyfob.service")
            self.assertIn(f"[default: {socket['ListenStream']}] [env: KEYFOB_{name.upper()}_LISTEN]", help_text)

    def test_every_variable_is_a_setting_of_the_program(self):
        self.assertLessEqual(variables((self.folder / "keyfob.service").read_text()), setting_names())

    def test_the_settings_file_is_read_by_the_program_also_with_its_examples(self):
        text = (ROOT / "packaging" / "keyfob.toml").read_text()
        examples = re.sub(r"(?m)^#(\w+ = )", r"\1", text)
        names = {f"KEYFOB_{name.upper()}" for name in tomllib.loads(examples)}
        self.assertLessEqual(names, setting_names())
        self.assertEqual(list(tomllib.loads(text)), ["data_dir"])

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_systemd_finds_no_fault_and_little_exposure(self):
        with tempfile.TemporaryDirectory() as directory:
            for unit in self.folder.iterdir():
                text = unit.read_text().replace("ExecStart=/usr/bin/keyfob serve", "ExecStart=/bin/true")
                (Path(directory) / unit.name).write_text(text)
            units = sorted(str(path) for path in Path(directory).iterdir() if path.suffix in (".service", ".socket"))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", "--threshold=20", f"{directory}/keyfob.service"],
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Traefik(unittest.TestCase):
    def test_routers_and_services_fit_together_and_nothing_strips_the_prefix(self):
        http = yaml.safe_load((ROOT / "packaging" / "proxy" / "traefik.yml").read_text())["http"]
        for router in http["routers"].values():
            self.assertIn(router["service"], http["services"])
            self.assertNotIn("middlewares", router)
        urls = [service["loadBalancer"]["servers"][0]["url"] for service in http["services"].values()]
        self.assertEqual(urls, ["http://127.0.0.1:8700", "http://127.0.0.1:8701"])


if __name__ == "__main__":
    unittest.main()
