#!/usr/bin/env bash
# The same as admin.sh by the command line, beside the running service: keyfob is on the path, with its data directory set.
set -euo pipefail
id() { python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
echo 'correct horse battery staple' | keyfob user add grace --admin --password-stdin --json
keyfob user list --json
grant=$(echo "$TOKEN" | keyfob grant add-token --user grace --kind personal_access_token --scope vehicles --label Cars --json | id)
keyfob grant list --user grace --scope vehicles --status active --json
app=$(keyfob app add Dashboard --user grace --scope vehicles --expires 90d --grant "$grant" --rate 600/m --json | id)
keyfob app list --json
keyfob app roll "$app" --overlap 1h --json
keyfob app revoke "$app"
keyfob grant refresh "$GRANT"
keyfob grant disconnect "$grant"
keyfob audit --since 24h --user grace --json
keyfob user remove grace
