#!/usr/bin/env bash
# Every check of the project. Installs what is missing on a bare Debian with Rust and Node, then runs one step after the
# other; each is named and timed, none is left out in silence. The last line counts what passed and what failed.
#
#   bash tests/run.sh            everything
#   bash tests/run.sh fmt docs   only these steps (and what they need)
#
# What takes many minutes is skipped unless its variable is set: KEYFOB_TEST_LIGHTHOUSE=1 scores the pages,
# KEYFOB_TEST_INSTRUCTIONS=1 counts instructions, KEYFOB_TEST_FUZZ=200 fuzzes each target for so many seconds.
#
# What a step printed is in target/checks/<step>.log; it is shown when the step fails.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

target=${CARGO_TARGET_DIR:-target}
logs=$target/checks
program=$target/debug/keyfob
python=$target/checks-python/bin/python
mkdir -p "$logs"
export target python CARGO_TERM_COLOR=never PYTHONDONTWRITEBYTECODE=1
# Nobody edits between two builds on a machine that only checks.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0
# For the suites that start the program: which one, and which browser.
PROGRAM_UNDER_TEST=$(realpath -m "$program")
export PROGRAM_UNDER_TEST CHROMIUM=${CHROMIUM:-/usr/bin/chromium}

passed=0 failed=0 skipped=0 summary=() wanted=" $* " built=no

say() { printf '%s\n' "$*"; }

# step NAME SECONDS COMMAND...: runs a command within a time and counts it, or the tests that it reports.
step() {
  local name=$1 most=$2 began took status log counts ok bad ignored line
  shift 2
  if [ "$wanted" != "  " ] && [[ "$wanted" != *" $name "* ]]; then return 0; fi
  log=$logs/$name.log
  printf '%-12s ' "$name"
  began=$(date +%s)
  timeout --kill-after=20 "$most" bash -euc '"$@"' "$name" "$@" >"$log" 2>&1 </dev/null
  status=$?
  took=$(($(date +%s) - began))
  counts=$(count "$log")
  read -r ok bad ignored <<<"$counts"
  if [ "$status" = 0 ] && [ "$bad" = 0 ]; then
    [ "$ok" = 0 ] && ok=1
    passed=$((passed + ok)) skipped=$((skipped + ignored))
    line="ok      ${took} s, $ok passed"
    [ "$ignored" = 0 ] || line="$line, $ignored skipped"
  else
    [ "$bad" = 0 ] && bad=1
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + ignored))
    line="FAILED  ${took} s, $ok passed, $bad failed (exit $status)"
    [ "$status" != 124 ] || line="$line: not done after $most s"
  fi
  say "$line"
  summary+=("$(printf '%-12s %s' "$name" "$line")")
  if [[ $line == FAILED* ]]; then
    say "----- the end of $log -----"
    tail -n 150 "$log"
    say "-----"
    # The end of a long log need not hold what failed: it is named again in the closing lines.
    while read -r told; do summary+=("  $told"); done < <(whatfailed "$log")
    return 1
  fi
}

# What test runners say of themselves in a log: cargo's, Node's, Python's unittest, and lines like "N passed, N failed".
count() {
  awk '
    # What a test says when its story can not be told on this machine; its runner has counted it as passed.
    /^skipped: / { skip++; ok-- }
    /^test result: / { ok += $4; bad += $6; skip += $8 }
    /^(#|ℹ) pass [0-9]+$/ { ok += $3 }
    /^(#|ℹ) fail [0-9]+$/ { bad += $3 }
    /^(#|ℹ) skipped [0-9]+$/ { skip += $3 }
    /^Ran [0-9]+ tests? in / { ran = $2 }
    /^(OK|FAILED)( \(.*\))?$/ {
      lost = left = 0
      if (match($0, /failures=[0-9]+/)) lost += substr($0, RSTART + 9, RLENGTH - 9)
      if (match($0, /errors=[0-9]+/)) lost += substr($0, RSTART + 7, RLENGTH - 7)
      if (match($0, /skipped=[0-9]+/)) left = substr($0, RSTART + 8, RLENGTH - 8)
      ok += ran - lost - left; bad += lost; skip += left; ran = 0
    }
    /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/ { ok += $1; bad += $3; skip += $5 }
    END { printf "%d %d %d\n", ok, bad, skip }
  ' "$1"
}

# The names of the tests that a log says have failed, and where and why.
whatfailed() {
  grep -aE -A2 '^test .*FAILED$|^thread .* panicked at |^not ok |^(FAIL|ERROR): |^error(\[|:)' "$1" |
    grep -avE '^(--|stack backtrace:|test .* ok|failures:|)$' | cut -c -200 | head -n 30
}

# missing NAME REASON: a step that can't be run has failed; it is never left out in silence.
missing() {
  if [ "$wanted" != "  " ] && [[ "$wanted" != *" $1 "* ]]; then return 0; fi
  failed=$((failed + 1))
  say "$(printf '%-12s NOT RUN %s' "$1" "$2")"
  summary+=("$(printf '%-12s NOT RUN %s' "$1" "$2")")
}

# suite NAME SECONDS FILE COMMAND...: a step that exists only with its file; says so where it does not.
suite() {
  local name=$1 most=$2 file=$3
  shift 3
  if [ -f "$file" ]; then
    step "$name" "$most" "$@"
  elif [ "$wanted" = "  " ]; then
    summary+=("$(printf '%-12s not run: there is no %s' "$name" "$file")")
  fi
}

# long NAME SECONDS VARIABLE COMMAND...: a step that takes many minutes, or tools that are built first: only where it is asked for.
long() {
  local name=$1 most=$2 flag=$3
  shift 3
  if [ -n "${!flag:-}" ]; then
    step "$name" "$most" "$@"
  elif [ "$wanted" = "  " ]; then
    summary+=("$(printf '%-12s skipped: it takes minutes; %s runs it' "$name" "$flag")")
    skipped=$((skipped + 1))
  else
    missing "$name" "set $flag"
  fi
}

install_debian() {
  local need=() as=()
  have() { command -v "$1" >/dev/null 2>&1; }
  have chromium || need+=(chromium)
  have nginx || [ -x /usr/sbin/nginx ] || need+=(nginx-light)
  have curl || need+=(curl)
  have openssl || need+=(openssl)
  have cc || need+=(gcc libc6-dev)
  have git || need+=(git)
  have chattr || need+=(e2fsprogs)
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || need+=(faketime)
  have python3 || need+=(python3)
  python3 -c 'import venv, ensurepip' 2>/dev/null || need+=(python3-venv)
  [ "${#need[@]}" = 0 ] && { say "nothing is missing"; return 0; }
  say "missing: ${need[*]}"
  if [ "$(id -u)" != 0 ]; then
    sudo -n true || { say "not root: install them with: apt-get install ${need[*]}"; return 1; }
    as=(sudo -n)
  fi
  "${as[@]}" apt-get update -qq
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}"
}

install_python() {
  [ -x "$python" ] || python3 -m venv "$target/checks-python"
  "$python" -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
}

docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet; }

# What it builds for `test` is what the program's own tests start, so nothing is built twice.
build() { cargo test --locked --no-run && cargo build --locked; }

api() {
  KEYFOB_PROGRAM=$PROGRAM_UNDER_TEST bash tests/api/scripts.sh
  KEYFOB_PROGRAM=$PROGRAM_UNDER_TEST bash tests/api/fuzz.sh "$(realpath -s "$python")"
}

browser() { cd tests/browser && npm ci --no-audit --no-fund --loglevel=error && npm test; }

lighthouse() { cd tests/browser && npm ci --no-audit --no-fund --loglevel=error && npm run lighthouse; }

packaging() { "$(realpath -s "$python")" -W ignore -m unittest discover --verbose --start-directory tests/packaging; }

# Steps run in a shell of their own, within a time of their own.
export -f say install_debian install_python docs build api browser lighthouse packaging

say "Keyfob: every check ($(rustc --version), $(nproc) cores)"
step debian 900 install_debian
step python 300 install_python
step fmt 60 cargo fmt --check
step clippy 1200 cargo clippy --locked --all-targets --quiet -- -D warnings
step docs 600 docs
if command -v cargo-deny >/dev/null 2>&1; then
  step deny 120 cargo deny --offline check bans licenses sources
elif [ "$wanted" = "  " ]; then
  say "deny         skipped: cargo-deny is not installed (cargo install cargo-deny)"
  summary+=("deny         skipped: cargo-deny is not installed")
  skipped=$((skipped + 1))
fi
if [ "$wanted" = "  " ] || [[ "$wanted" =~ \ (tests|api|browser|lighthouse|packaging)\  ]]; then
  kept=$wanted wanted="  "
  step build 1500 build && built=yes
  wanted=$kept
fi
if [ "$built" = yes ]; then
  step tests 1500 cargo test --locked --no-fail-fast
  suite api 600 tests/api/fuzz.sh api
  suite browser 900 tests/browser/package.json browser
  long lighthouse 1500 KEYFOB_TEST_LIGHTHOUSE lighthouse
  suite packaging 300 tests/packaging/test_files.py packaging
else
  for name in tests api browser lighthouse packaging; do missing "$name" "the program could not be built"; done
fi

long instructions 2400 KEYFOB_TEST_INSTRUCTIONS bash benches/instructions.sh
long fuzz 3600 KEYFOB_TEST_FUZZ bash fuzz/run.sh "${KEYFOB_TEST_FUZZ:-60}"

[ "${#summary[@]}" != 0 ] || { say "there is no step of that name"; exit 2; }
say ""
say "What ran:"
printf '  %s\n' "${summary[@]}"
say "  in all ${SECONDS} s"
say ""
line="$passed passed, $failed failed"
[ "$skipped" = 0 ] || line="$line, $skipped skipped"
say "$line"
[ "$failed" = 0 ]
