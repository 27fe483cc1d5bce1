-- The page of all grants: those that are disconnected last, the newest first.
CREATE INDEX grants_by_attention ON grants (status = 'disconnected', id DESC);
-- By user, in the order of a listing, so that nothing is left to be sorted.
DROP INDEX grants_by_user;
CREATE INDEX grants_by_user ON grants (user, label, id);
