#!/usr/bin/env bash
# Runs the administrator's scripts against a service of its own, and looks at what they left.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests=$PWD/tests/api
. tests/api/service.sh
export KEYFOB=${web%/} KEY=$key GRANT=$grant
# The command line under its own name, where the service has its data.
mkdir "$home/bin"
ln -s "$program" "$home/bin/keyfob"
export PATH=$home/bin:$PATH
bad=0
expect() { grep -q "$2" "$home/out" || { echo "$1: no $2 in what it printed"; bad=$((bad + 1)); }; }

for script in admin.sh admin-cli.sh; do
  TOKEN=$(provider_token vehicles)
  export TOKEN
  [ -n "$TOKEN" ] || { echo "the sandbox gave no token"; exit 1; }
  (cd "$home" && bash "$tests/$script") >"$home/out" 2>&1 || { cat "$home/out"; echo "$script failed"; exit 1; }
  for kind in user.made grant.made app.made app.rolled app.revoked grant.disconnected; do expect "$script" "\"kind\": *\"$kind\""; done
  expect "$script" '"name": *"Dashboard"'
  expect "$script" '"key": *"kf_'
  if grep -qF "$TOKEN" "$home/out"; then echo "$script shows the token"; bad=$((bad + 1)); fi
  keyfob user list --json >"$home/out"
  if grep -q grace "$home/out"; then echo "$script left its user"; bad=$((bad + 1)); fi
  keyfob grant list --json >"$home/out"
  expect "$script, the grant that was refreshed" '"refreshed_at": *"20'
done
keyfob audit --since 24h --json >"$home/out"
expect "the trail" 'by admin key tests'
[ "$bad" = 0 ]
