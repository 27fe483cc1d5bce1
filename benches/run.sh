#!/usr/bin/env bash
# Builds a release, compares it with other proxies, measures the audit trail, and writes the tables into benches/README.md.
#
#   bash benches/run.sh [options of benches/compare.py]
#
# Needs nginx and wrk; HAProxy (all in Debian), Envoy and Caddy (both in PyPI, and on PATH) are compared if they are installed. Wants a quiet machine with two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --locked --quiet
machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
told=$(mktemp)
trap 'rm -f "$told"' EXIT
written=$(cargo bench --locked --quiet --bench audit)
{
  echo
  echo "$(date -u +%F), $(nproc) cores of ${machine:-an unnamed processor}, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg) at the start,"
  echo "commit $(git rev-parse --short HEAD), \`bash benches/run.sh${*:+ $*}\`; medians of interleaved rounds."
  python3 benches/compare.py "$@"
  echo
  echo "The audit trail's writer: $written."
  echo
} | tee "$told"
awk -v told="$told" '
  /^<!-- end of the tables -->$/ { skip = 0 }
  !skip { print }
  /^<!-- the tables, written by run.sh -->$/ { skip = 1; while ((getline line < told) > 0) print line }
' benches/README.md >"$told.md"
cat "$told.md" >benches/README.md
rm -f "$told.md"
