#!/usr/bin/env bash
# Counts the instructions of the steps that every call goes through, and fails where one takes more than README.md has down.
#
#   bash benches/instructions.sh
#
# Needs valgrind (Debian); installs the runner of gungraun's version, which takes a minute or two, in target/tools.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v valgrind >/dev/null || { echo "valgrind is not installed: apt-get install valgrind"; exit 2; }
version=$(grep -A1 '^name = "gungraun"$' Cargo.lock | sed -n 's/^version = "\(.*\)"/\1/p')
tools=${CARGO_TARGET_DIR:-target}/tools
if [ "$("$tools/bin/gungraun-runner" --version 2>/dev/null | grep -c "$version")" = 0 ]; then
  cargo install gungraun-runner --version "$version" --root "$tools" --quiet
fi
PATH=$(realpath "$tools")/bin:$PATH cargo bench --locked --bench instructions "$@"
