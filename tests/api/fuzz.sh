#!/usr/bin/env bash
# Holds the running service against its own OpenAPI description with schemathesis: no 5xx, no status, header or body that is
# not described, nothing bad taken, nothing good refused, no endpoint without its key.
#
#   bash tests/api/fuzz.sh PYTHON [SECONDS]     PYTHON has schemathesis; 45 s unless said (KEYFOB_FUZZ_SECONDS)
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:?say which python has schemathesis}
seconds=${2:-${KEYFOB_FUZZ_SECONDS:-45}}
. tests/api/service.sh
# The user of the examples in the description, and a grant that can be refreshed.
echo "correct horse battery staple" | keyfob user add ada --password-stdin --json >/dev/null
export GRANT=$grant

schemathesis=$(realpath -s "$(dirname "$python")")/schemathesis
config=$(realpath tests/api/schemathesis.toml)
# What it keeps for itself goes away with the directory.
cd "$home"
"$schemathesis" --config-file "$config" run "${web%/}/api/v1/openapi.json" --url "${web%/}" \
  --header "Authorization: Bearer $key" --max-time "$seconds" || status=$?
if grep -q '"level":"error"' "$home/log"; then
  echo "the service logged errors:"
  grep '"level":"error"' "$home/log" | head
  status=1
fi
kill -0 "$service" || { echo "the service has ended"; status=1; }
exit "${status:-0}"
