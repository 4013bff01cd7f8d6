-- Times are microseconds since 1970 in UTC, 0 for never. Protobuf messages and JSON are BLOBs.

-- +goose Up
CREATE TABLE settings (
  name  TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;

CREATE TABLE counters (
  name  TEXT    NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('fence', 0);

CREATE TABLE leases (
  name       TEXT    NOT NULL PRIMARY KEY,
  holder     TEXT    NOT NULL,
  until_time INTEGER NOT NULL
) STRICT;

CREATE TABLE connectors (
  name        TEXT    NOT NULL PRIMARY KEY,
  type        TEXT    NOT NULL,
  description TEXT    NOT NULL,
  settings    BLOB    NOT NULL,
  etag        TEXT    NOT NULL,
  create_time INTEGER NOT NULL,
  update_time INTEGER NOT NULL
) STRICT;

CREATE TABLE connector_secrets (
  connector   TEXT    NOT NULL REFERENCES connectors (name) ON DELETE CASCADE,
  field       TEXT    NOT NULL,
  sealed      BLOB    NOT NULL,
  fingerprint TEXT    NOT NULL,
  update_time INTEGER NOT NULL,
  PRIMARY KEY (connector, field)
) STRICT;

CREATE TABLE flows (
  name           TEXT    NOT NULL PRIMARY KEY,
  spec           BLOB    NOT NULL,
  latest_version INTEGER NOT NULL,
  etag           TEXT    NOT NULL,
  create_time    INTEGER NOT NULL,
  update_time    INTEGER NOT NULL
) STRICT;

CREATE TABLE versions (
  flow           TEXT    NOT NULL REFERENCES flows (name),
  number         INTEGER NOT NULL,
  spec           BLOB    NOT NULL,
  digest         TEXT    NOT NULL,
  engine         TEXT    NOT NULL,
  comment        TEXT    NOT NULL,
  source_columns BLOB    NOT NULL,
  connectors     BLOB    NOT NULL,
  create_time    INTEGER NOT NULL,
  PRIMARY KEY (flow, number),
  UNIQUE (flow, digest)
) STRICT;

CREATE TABLE version_connectors (
  connector TEXT    NOT NULL,
  flow      TEXT    NOT NULL,
  number    INTEGER NOT NULL,
  PRIMARY KEY (connector, flow, number),
  FOREIGN KEY (flow, number) REFERENCES versions (flow, number)
) STRICT;

CREATE TABLE aliases (
  flow        TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  version     INTEGER NOT NULL,
  etag        TEXT    NOT NULL,
  update_time INTEGER NOT NULL,
  PRIMARY KEY (flow, name),
  FOREIGN KEY (flow, version) REFERENCES versions (flow, number)
) STRICT;

CREATE TABLE api_keys (
  id            TEXT    NOT NULL PRIMARY KEY,
  hash          BLOB    NOT NULL,
  display_name  TEXT    NOT NULL,
  scopes        BLOB    NOT NULL,
  create_time   INTEGER NOT NULL,
  expire_time   INTEGER NOT NULL,
  last_use_time INTEGER NOT NULL,
  revoke_time   INTEGER NOT NULL
) STRICT;
CREATE INDEX api_keys_newest ON api_keys (create_time, id);

CREATE TABLE runs (
  id                 TEXT    NOT NULL PRIMARY KEY,
  flow               TEXT    NOT NULL,
  version            INTEGER NOT NULL,
  version_digest     TEXT    NOT NULL,
  source_path        TEXT    NOT NULL,
  source_digest      BLOB    NOT NULL, -- SHA-256 of source_path, which is too long for an index
  metadata           BLOB,
  request_id         TEXT    NOT NULL,
  state              TEXT    NOT NULL,
  outcome            TEXT    NOT NULL,
  open               INTEGER NOT NULL, -- 1 while the pair (version, source path) is busy
  cancel_requested   INTEGER NOT NULL,
  uncertain          INTEGER NOT NULL,
  ending_state       TEXT    NOT NULL,
  error              BLOB, -- of the ending while there is one
  receipt            BLOB,
  max_parallel_tasks INTEGER NOT NULL,
  max_attempts       INTEGER NOT NULL,
  trace_parent       TEXT    NOT NULL,
  create_time        INTEGER NOT NULL,
  update_time        INTEGER NOT NULL,
  end_time           INTEGER NOT NULL,
  deadline           INTEGER NOT NULL,
  swept_time         INTEGER NOT NULL,
  rejects_swept_time INTEGER NOT NULL,
  revision           INTEGER NOT NULL,
  FOREIGN KEY (flow, version) REFERENCES versions (flow, number)
) STRICT;
CREATE UNIQUE INDEX runs_request ON runs (request_id) WHERE request_id <> '';
CREATE UNIQUE INDEX runs_open_pair ON runs (flow, version, source_digest) WHERE open = 1;
CREATE INDEX runs_pair ON runs (flow, version, source_digest, id);
CREATE INDEX runs_flow ON runs (flow, id);
CREATE INDEX runs_source ON runs (source_digest, id);
CREATE INDEX runs_state ON runs (state, id);
CREATE INDEX runs_create_time ON runs (create_time);
CREATE INDEX runs_deadline ON runs (deadline) WHERE end_time = 0 AND ending_state = '';
CREATE INDEX runs_unswept ON runs (end_time) WHERE open = 0 AND swept_time = 0;
CREATE INDEX runs_unswept_rejects ON runs (end_time) WHERE open = 0 AND rejects_swept_time = 0;

CREATE TABLE tasks (
  id           TEXT    NOT NULL PRIMARY KEY,
  run_id       TEXT    NOT NULL REFERENCES runs (id),
  kind         TEXT    NOT NULL,
  kind_order   INTEGER NOT NULL, -- STAGE 1, MAP 2, CLOSE 3, LOAD 4, SETTLE 5
  part         INTEGER NOT NULL,
  state        TEXT    NOT NULL,
  attempt      INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL, -- 0: unlimited
  errors       INTEGER NOT NULL,
  fence        INTEGER NOT NULL,
  worker       TEXT    NOT NULL,
  lease_until  INTEGER NOT NULL,
  row_count    INTEGER NOT NULL,
  ready_time   INTEGER NOT NULL,
  wake_time    INTEGER NOT NULL,
  wakes        INTEGER NOT NULL,
  start_time   INTEGER NOT NULL,
  end_time     INTEGER NOT NULL,
  input        BLOB,
  manifest     BLOB,
  error        BLOB,
  UNIQUE (run_id, kind_order, part)
) STRICT;
CREATE INDEX tasks_undone ON tasks (run_id, kind_order, part) WHERE state <> 'DONE';
CREATE INDEX tasks_lease ON tasks (lease_until) WHERE state = 'RUNNING';
CREATE INDEX tasks_wake ON tasks (wake_time) WHERE state = 'READY';

CREATE TABLE outbox (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT    NOT NULL UNIQUE,
  kind        TEXT    NOT NULL,
  run_id      TEXT    NOT NULL,
  subject     TEXT    NOT NULL,
  body        BLOB    NOT NULL,
  headers     BLOB,
  create_time INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE outbox;
DROP TABLE tasks;
DROP TABLE runs;
DROP TABLE api_keys;
DROP TABLE aliases;
DROP TABLE version_connectors;
DROP TABLE versions;
DROP TABLE flows;
DROP TABLE connector_secrets;
DROP TABLE connectors;
DROP TABLE leases;
DROP TABLE counters;
DROP TABLE settings;
