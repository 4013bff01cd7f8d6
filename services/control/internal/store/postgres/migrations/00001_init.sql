-- Times are microseconds since 1970 in UTC, 0 for never. Protobuf messages and JSON are BYTEA.
-- Text is COLLATE "C", so that it compares and sorts by its bytes.

-- +goose Up
CREATE TABLE settings (
  name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  value BYTEA            NOT NULL
);

CREATE SEQUENCE fences AS BIGINT;

CREATE TABLE leases (
  name       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  holder     TEXT COLLATE "C" NOT NULL,
  until_time BIGINT           NOT NULL
);

CREATE TABLE connectors (
  name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  type        TEXT COLLATE "C" NOT NULL,
  description TEXT COLLATE "C" NOT NULL,
  settings    BYTEA            NOT NULL,
  etag        TEXT COLLATE "C" NOT NULL,
  create_time BIGINT           NOT NULL,
  update_time BIGINT           NOT NULL
);

CREATE TABLE connector_secrets (
  connector   TEXT COLLATE "C" NOT NULL REFERENCES connectors (name) ON DELETE CASCADE,
  field       TEXT COLLATE "C" NOT NULL,
  sealed      BYTEA            NOT NULL,
  fingerprint TEXT COLLATE "C" NOT NULL,
  update_time BIGINT           NOT NULL,
  PRIMARY KEY (connector, field)
);

CREATE TABLE flows (
  name           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  spec           BYTEA            NOT NULL,
  latest_version BIGINT           NOT NULL,
  etag           TEXT COLLATE "C" NOT NULL,
  create_time    BIGINT           NOT NULL,
  update_time    BIGINT           NOT NULL
);

CREATE TABLE versions (
  flow           TEXT COLLATE "C" NOT NULL REFERENCES flows (name),
  number         BIGINT           NOT NULL,
  spec           BYTEA            NOT NULL,
  digest         TEXT COLLATE "C" NOT NULL,
  engine         TEXT COLLATE "C" NOT NULL,
  comment        TEXT COLLATE "C" NOT NULL,
  source_columns BYTEA            NOT NULL,
  connectors     BYTEA            NOT NULL,
  create_time    BIGINT           NOT NULL,
  PRIMARY KEY (flow, number),
  UNIQUE (flow, digest)
);

CREATE TABLE version_connectors (
  connector TEXT COLLATE "C" NOT NULL,
  flow      TEXT COLLATE "C" NOT NULL,
  number    BIGINT           NOT NULL,
  PRIMARY KEY (connector, flow, number),
  FOREIGN KEY (flow, number) REFERENCES versions (flow, number)
);

CREATE TABLE aliases (
  flow        TEXT COLLATE "C" NOT NULL,
  name        TEXT COLLATE "C" NOT NULL,
  version     BIGINT           NOT NULL,
  etag        TEXT COLLATE "C" NOT NULL,
  update_time BIGINT           NOT NULL,
  PRIMARY KEY (flow, name),
  FOREIGN KEY (flow, version) REFERENCES versions (flow, number)
);

CREATE TABLE api_keys (
  id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  hash          BYTEA            NOT NULL,
  display_name  TEXT COLLATE "C" NOT NULL,
  scopes        BYTEA            NOT NULL,
  create_time   BIGINT           NOT NULL,
  expire_time   BIGINT           NOT NULL,
  last_use_time BIGINT           NOT NULL,
  revoke_time   BIGINT           NOT NULL
);
CREATE INDEX api_keys_newest ON api_keys (create_time, id);

CREATE TABLE runs (
  id                 TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  flow               TEXT COLLATE "C" NOT NULL,
  version            BIGINT           NOT NULL,
  version_digest     TEXT COLLATE "C" NOT NULL,
  source_path        TEXT COLLATE "C" NOT NULL,
  source_digest      BYTEA            NOT NULL, -- SHA-256 of source_path, which is too long for an index
  metadata           BYTEA,
  request_id         TEXT COLLATE "C" NOT NULL,
  state              TEXT COLLATE "C" NOT NULL,
  outcome            TEXT COLLATE "C" NOT NULL,
  open               BIGINT           NOT NULL, -- 1 while the pair (version, source path) is busy
  cancel_requested   BIGINT           NOT NULL,
  uncertain          BIGINT           NOT NULL,
  ending_state       TEXT COLLATE "C" NOT NULL,
  error              BYTEA, -- of the ending while there is one
  receipt            BYTEA,
  max_parallel_tasks BIGINT           NOT NULL,
  max_attempts       BIGINT           NOT NULL,
  trace_parent       TEXT COLLATE "C" NOT NULL,
  create_time        BIGINT           NOT NULL,
  update_time        BIGINT           NOT NULL,
  end_time           BIGINT           NOT NULL,
  deadline           BIGINT           NOT NULL,
  swept_time         BIGINT           NOT NULL,
  rejects_swept_time BIGINT           NOT NULL,
  revision           BIGINT           NOT NULL,
  FOREIGN KEY (flow, version) REFERENCES versions (flow, number)
);
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
  id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  run_id       TEXT COLLATE "C" NOT NULL REFERENCES runs (id),
  kind         TEXT COLLATE "C" NOT NULL,
  kind_order   BIGINT           NOT NULL, -- STAGE 1, MAP 2, CLOSE 3, LOAD 4, SETTLE 5
  part         BIGINT           NOT NULL,
  state        TEXT COLLATE "C" NOT NULL,
  attempt      BIGINT           NOT NULL,
  max_attempts BIGINT           NOT NULL, -- 0: unlimited
  errors       BIGINT           NOT NULL,
  fence        BIGINT           NOT NULL,
  worker       TEXT COLLATE "C" NOT NULL,
  lease_until  BIGINT           NOT NULL,
  row_count    BIGINT           NOT NULL,
  ready_time   BIGINT           NOT NULL,
  wake_time    BIGINT           NOT NULL,
  wakes        BIGINT           NOT NULL,
  start_time   BIGINT           NOT NULL,
  end_time     BIGINT           NOT NULL,
  input        BYTEA,
  manifest     BYTEA,
  error        BYTEA,
  UNIQUE (run_id, kind_order, part)
);
CREATE INDEX tasks_undone ON tasks (run_id, kind_order, part) WHERE state <> 'DONE';
CREATE INDEX tasks_lease ON tasks (lease_until) WHERE state = 'RUNNING';
CREATE INDEX tasks_wake ON tasks (wake_time) WHERE state = 'READY';

CREATE TABLE outbox (
  seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          TEXT COLLATE "C" NOT NULL UNIQUE,
  kind        TEXT COLLATE "C" NOT NULL,
  run_id      TEXT COLLATE "C" NOT NULL,
  subject     TEXT COLLATE "C" NOT NULL,
  body        BYTEA            NOT NULL,
  headers     BYTEA,
  create_time BIGINT           NOT NULL
);

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
DROP SEQUENCE fences;
DROP TABLE settings;
