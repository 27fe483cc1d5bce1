-- Calls that are alike in kind, user, app, grant and decision share a row: a row for each costs ten times as much. Such a row
-- takes the numbers first_id to id; count is how many they are, at is that of the newest, bytes are their sums, and what each
-- has of its own is in audit_calls, which keeps the rows that are counted narrow. A row without first_id is one event.
ALTER TABLE audit ADD COLUMN first_id INTEGER;
-- {"words": [text, ...], "calls": [[milliseconds before at, method, template, path, scope, status, duration_ms, bytes_up,
-- bytes_down], ...]}: the oldest call first; method, template, path and scope are places in words, from 0 on.
CREATE TABLE audit_calls (
    id    INTEGER PRIMARY KEY REFERENCES audit (id) ON DELETE CASCADE,
    calls TEXT NOT NULL
) STRICT;
-- One row for each event, for whoever looks with sqlite3.
CREATE VIEW audit_events AS
    SELECT id, at, kind, user, app, grant_id, method, template, path, scope, decision, status, duration_ms, count, bytes_up, bytes_down
    FROM audit WHERE first_id IS NULL
    UNION ALL
    SELECT a.first_id + c.key, a.at - (c.value ->> 0), a.kind, a.user, a.app, a.grant_id,
        p.calls ->> ('$.words[' || (c.value ->> 1) || ']'), p.calls ->> ('$.words[' || (c.value ->> 2) || ']'),
        p.calls ->> ('$.words[' || (c.value ->> 3) || ']'), p.calls ->> ('$.words[' || (c.value ->> 4) || ']'),
        a.decision, c.value ->> 5, c.value ->> 6, 1, c.value ->> 7, c.value ->> 8
    FROM audit a JOIN audit_calls p ON p.id = a.id JOIN json_each(p.calls, '$.calls') c WHERE a.first_id IS NOT NULL;
