# Starts a Keyfob of its own beside a sandbox, in a directory that goes away with it. To be read by a script:
# afterwards $web is the address of its pages, $key an admin key, $grant an OAuth grant of its user `demo`, keyfob runs its
# command line, and provider_token gives a personal access token of the sandbox.
program=$(realpath "${KEYFOB_PROGRAM:-target/debug/keyfob}")
home=$(mktemp -d)
unset $(compgen -e KEYFOB_ | grep -v '^KEYFOB_\(PROGRAM\|FUZZ_SECONDS\)$')
export KEYFOB_WEB_LISTEN=127.0.0.1:0 KEYFOB_PROXY_LISTEN=127.0.0.1:0 KEYFOB_OPS_LISTEN=127.0.0.1:0
export KEYFOB_SANDBOX_LISTEN=127.0.0.1:0 KEYFOB_REFRESH_RATE_PER_MINUTE=60000 KEYFOB_LOG_FORMAT=json KEYFOB_LOG=warn
export KEYFOB_DATA_DIR=$home/keyfob-demo

keyfob() { (cd "$home" && "$program" "$@"); }

(cd "$home" && exec "$program" demo --json >"$home/demo.json" 2>"$home/log") &
service=$!
trap 'kill "$service" 2>/dev/null; wait "$service" 2>/dev/null; rm -rf "$home"' EXIT
for _ in $(seq 200); do [ -s "$home/demo.json" ] && break; sleep 0.1; done
[ -s "$home/demo.json" ] || { echo "the service did not start:"; cat "$home/log"; exit 1; }

# member NAME: a member of the JSON object on standard input.
member() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# The value of the form's token on a page of the sandbox.
form() { curl -sS -L -b "$home/jar" -c "$home/jar" "$sandbox/developers/applications" | sed -n 's/.*name="_token" value="\([^"]*\)".*/\1/p' | head -n 1; }
post() { curl -sS -b "$home/jar" -c "$home/jar" -d "_token=$(form)" "$@"; }

# provider_token SCOPE: a person signs in at the sandbox and makes a personal access token.
provider_token() {
  post -d account=1 "$sandbox/login" >/dev/null
  post -d name=tests -d "scope=$1" "$sandbox/developers/applications/tokens" | grep -o 'eyJ[A-Za-z0-9_.-]*' | head -n 1
}

web=$(member web <"$home/demo.json")
key=$(keyfob admin-key add tests --json | member key)
sandbox=$(member sandbox <"$home/demo.json")
grant=$(keyfob grant list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')
