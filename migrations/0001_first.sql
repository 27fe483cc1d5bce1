-- Ids are the sixteen bytes of a UUID; times are milliseconds since 1970 UTC; scope sets are bits in the order of the scope table.
-- Secrets stand here sealed (BLOBs that only the vault opens) or as hashes, never in plain.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE users (
    id            BLOB PRIMARY KEY,
    name          TEXT NOT NULL,
    name_folded   TEXT NOT NULL UNIQUE,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    password_hash TEXT,
    created_at    INTEGER NOT NULL,
    disabled_at   INTEGER
) STRICT;

CREATE TABLE sessions (
    id_hash    BLOB PRIMARY KEY,
    user       BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    data       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE setup_tokens (
    hash       BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE invitations (
    hash       BLOB PRIMARY KEY,
    user       BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE grants (
    id               BLOB PRIMARY KEY,
    user             BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    label            TEXT NOT NULL,
    kind             TEXT NOT NULL CHECK (kind IN ('oauth', 'personal_access_token', 'api_key')),
    status           TEXT NOT NULL CHECK (status IN ('active', 'refreshing', 'uncertain', 'needs_consent', 'disconnected')),
    reason           TEXT,
    scopes_requested INTEGER NOT NULL,
    scopes_granted   INTEGER NOT NULL,
    scopes_source    TEXT NOT NULL CHECK (scopes_source IN ('answer', 'claim', 'assumed')),
    scopes_used      INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL,
    refreshed_at     INTEGER,
    last_used_at     INTEGER,
    expires_at       INTEGER,
    -- when the scheduler should look at it; null when there is nothing to do
    due_at           INTEGER,
    -- counts up with every new token pair; an answer is kept only over the version that it spent
    token_version    INTEGER NOT NULL,
    -- the grant's own key, sealed under the master key named beside it
    data_key         BLOB,
    master_key_id    TEXT,
    access_token     BLOB,
    refresh_token    BLOB,
    api_origin       TEXT NOT NULL,
    mcp_origin       TEXT NOT NULL,
    token_origin     TEXT NOT NULL,
    client_id        TEXT NOT NULL,
    provider_account TEXT,
    -- who may send a refresh, and a number that it counts up while it works
    lease_owner      BLOB,
    lease_beat       INTEGER NOT NULL DEFAULT 0,
    -- refreshes that failed since the last that did not
    refresh_failures INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX grants_by_user ON grants (user, label);
CREATE INDEX grants_by_status ON grants (status);
CREATE INDEX grants_due ON grants (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX grants_by_master_key ON grants (master_key_id) WHERE master_key_id IS NOT NULL;

-- One open row a grant: this token version is about to be spent, by whom, since when. Committed before anything is sent.
CREATE TABLE refresh_journal (
    grant_id      BLOB PRIMARY KEY REFERENCES grants (id) ON DELETE CASCADE,
    spent_version INTEGER NOT NULL,
    owner         BLOB NOT NULL,
    begun_at      INTEGER NOT NULL
) STRICT;

-- The token requests of the last minute, of all processes together: the provider counts them by address.
CREATE TABLE token_requests (
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE authorization_requests (
    state_hash   BLOB PRIMARY KEY,
    user         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    browser_hash BLOB NOT NULL,
    -- the grant that is renewed or widened; null for a new one
    grant_id     BLOB REFERENCES grants (id) ON DELETE CASCADE,
    label        TEXT NOT NULL,
    scopes       INTEGER NOT NULL,
    verifier     BLOB NOT NULL,
    redirect_uri TEXT NOT NULL,
    return_to    TEXT,
    begun_at     INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX authorization_requests_by_user ON authorization_requests (user, begun_at);

CREATE TABLE apps (
    id           BLOB PRIMARY KEY,
    user         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    scopes       INTEGER NOT NULL,
    scopes_used  INTEGER NOT NULL DEFAULT 0,
    grant_id     BLOB REFERENCES grants (id),
    query_key    INTEGER NOT NULL DEFAULT 0,
    rate         TEXT,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    expires_at   INTEGER,
    revoked_at   INTEGER
) STRICT;
-- with what the count of the apps that reach a grant looks at
CREATE INDEX apps_by_user ON apps (user, revoked_at, grant_id, scopes);
CREATE INDEX apps_by_grant ON apps (grant_id) WHERE grant_id IS NOT NULL;

CREATE TABLE app_keys (
    hash        BLOB PRIMARY KEY,
    app         BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    -- set when the key was rolled: it works until then
    valid_until INTEGER
) STRICT;
CREATE INDEX app_keys_by_app ON app_keys (app);

CREATE TABLE admin_keys (
    id           BLOB PRIMARY KEY,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;

CREATE TABLE audit (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    user        BLOB,
    app         BLOB,
    grant_id    BLOB,
    method      TEXT,
    template    TEXT,
    path        TEXT,
    scope       TEXT,
    decision    TEXT NOT NULL,
    status      INTEGER,
    duration_ms INTEGER,
    count       INTEGER NOT NULL DEFAULT 1,
    bytes_up    INTEGER NOT NULL DEFAULT 0,
    bytes_down  INTEGER NOT NULL DEFAULT 0
) STRICT;
-- Rows are numbered in the order of their time but for moments, so that a time is found by halving, without an index; each
-- index costs every call. A user's calls are found by their apps.
CREATE INDEX audit_by_app ON audit (app, id) WHERE app IS NOT NULL;
CREATE INDEX audit_by_user ON audit (user, id) WHERE app IS NULL AND user IS NOT NULL;
-- Changes, which are few among the calls.
CREATE INDEX audit_of_changes ON audit (kind, id) WHERE kind <> 'call';

-- Master keys that are about to leave the key file, or have. Nothing is kept under them any more: a process that sealed
-- something a moment before is refused, since after the drop it would never open again.
CREATE TABLE retired_keys (
    id         BLOB PRIMARY KEY,
    retired_at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER grants_made_under_retired_key BEFORE INSERT ON grants
WHEN substr(NEW.data_key, 2, 4) IN (SELECT id FROM retired_keys) BEGIN
    SELECT RAISE(ABORT, 'sealed under a retired master key');
END;
CREATE TRIGGER grants_changed_under_retired_key BEFORE UPDATE OF data_key ON grants
WHEN substr(NEW.data_key, 2, 4) IN (SELECT id FROM retired_keys) BEGIN
    SELECT RAISE(ABORT, 'sealed under a retired master key');
END;
CREATE TRIGGER authorizations_under_retired_key BEFORE INSERT ON authorization_requests
WHEN substr(NEW.verifier, 2, 4) IN (SELECT id FROM retired_keys) BEGIN
    SELECT RAISE(ABORT, 'sealed under a retired master key');
END;

-- That a grant's user was told that it needs them, or is being told: one row a grant, for its newest such event.
CREATE TABLE notices (
    grant_id BLOB PRIMARY KEY REFERENCES grants (id) ON DELETE CASCADE,
    -- the token version and the reason that they are told of
    version  INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    -- the ways by which they were told
    told     INTEGER NOT NULL,
    -- when another process may try; null once they were told, or once it was given up
    retry_at INTEGER
) STRICT;

-- What changed, for the processes that keep users, grants and apps in memory. Written by the triggers below, so that no
-- change can be forgotten; what only counts use (last_used_at, scopes_used) is no change, nor is a data key that was sealed
-- under another master key.
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    entity   TEXT NOT NULL,
    id       BLOB NOT NULL
) STRICT;

CREATE TRIGGER users_made AFTER INSERT ON users BEGIN
    INSERT INTO changes (entity, id) VALUES ('user', NEW.id);
END;
CREATE TRIGGER users_changed AFTER UPDATE OF name, role, disabled_at ON users BEGIN
    INSERT INTO changes (entity, id) VALUES ('user', NEW.id);
END;
CREATE TRIGGER users_removed AFTER DELETE ON users BEGIN
    INSERT INTO changes (entity, id) VALUES ('user', OLD.id);
END;
CREATE TRIGGER grants_made AFTER INSERT ON grants BEGIN
    INSERT INTO changes (entity, id) VALUES ('grant', NEW.id);
END;
CREATE TRIGGER grants_changed AFTER UPDATE OF user, label, status, reason, scopes_granted, expires_at, token_version ON grants BEGIN
    INSERT INTO changes (entity, id) VALUES ('grant', NEW.id);
END;
CREATE TRIGGER grants_removed AFTER DELETE ON grants BEGIN
    INSERT INTO changes (entity, id) VALUES ('grant', OLD.id);
END;
CREATE TRIGGER apps_made AFTER INSERT ON apps BEGIN
    INSERT INTO changes (entity, id) VALUES ('app', NEW.id);
END;
CREATE TRIGGER apps_changed AFTER UPDATE OF name, scopes, grant_id, query_key, rate, expires_at, revoked_at ON apps BEGIN
    INSERT INTO changes (entity, id) VALUES ('app', NEW.id);
END;
CREATE TRIGGER apps_removed AFTER DELETE ON apps BEGIN
    INSERT INTO changes (entity, id) VALUES ('app', OLD.id);
END;
CREATE TRIGGER app_keys_made AFTER INSERT ON app_keys BEGIN
    INSERT INTO changes (entity, id) VALUES ('app', NEW.app);
END;
CREATE TRIGGER app_keys_changed AFTER UPDATE ON app_keys BEGIN
    INSERT INTO changes (entity, id) VALUES ('app', NEW.app);
END;
CREATE TRIGGER app_keys_removed AFTER DELETE ON app_keys BEGIN
    INSERT INTO changes (entity, id) VALUES ('app', OLD.app);
END;
