#!/usr/bin/env bash
# Everything that an administrator can do, by curl: KEYFOB is the address, KEY an admin key, TOKEN a personal access token
# that holds `vehicles`, GRANT the id of a grant that was given at Teslascope.
set -euo pipefail
call() { curl -sS --fail-with-body -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' "$@"; echo; }
id() { python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
api=$KEYFOB/api/v1
user=$(call "$api/users" -d '{"name": "grace", "password": "correct horse battery staple", "role": "admin"}' | id)
call "$api/users?limit=100"
pasted='{"user": "grace", "kind": "personal_access_token", "scopes": ["vehicles"], "label": "Cars", "secret": "'$TOKEN'"}'
grant=$(call "$api/grants" -d "$pasted" | id)
call "$api/grants?user=grace&scope=vehicles&status=active"
call "$api/grants/$grant"
wish='{"name": "Dashboard", "user": "grace", "scopes": ["vehicles"], "expires_in": "90d", "grant": "'$grant'", "rate": "600/m"}'
app=$(call "$api/apps" -d "$wish" | id)
call "$api/apps"
call "$api/apps/$app/roll" -d '{"overlap": "1h"}'
call "$api/apps/$app" -X DELETE
call "$api/grants/$GRANT/refresh" -X POST
call "$api/grants/$grant" -X DELETE
call "$api/audit?since=24h&user=grace"
call "$api/users/$user" -X DELETE
