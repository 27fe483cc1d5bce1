-- Reviews of who granted what, as administrators signed them off. A review outlives its reviewer's account, without their name.
CREATE TABLE reviews (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    user   BLOB REFERENCES users (id) ON DELETE SET NULL,
    -- what there was: grants, those with scopes that were never used, apps that have not called for long
    grants INTEGER NOT NULL,
    unused INTEGER NOT NULL,
    stale  INTEGER NOT NULL,
    remark TEXT NOT NULL
) STRICT;

-- Live grants, those with scopes that were never used first. Of the bits of scopes, the five that have names.
CREATE INDEX grants_for_review ON grants (scopes_granted & ~scopes_used & 31 = 0, id, scopes_granted) WHERE status <> 'disconnected';
-- Live apps by their last call, or their making.
CREATE INDEX apps_by_use ON apps (coalesce(last_used_at, created_at)) WHERE revoked_at IS NULL;
