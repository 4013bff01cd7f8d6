-- +goose Up
-- What was a fact of a run is one of each of its targets, that is of its LOAD tasks. runs.uncertain is not read any more.
ALTER TABLE tasks ADD COLUMN uncertain INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN outcome TEXT NOT NULL DEFAULT '';
UPDATE tasks SET uncertain = 1 WHERE kind = 'LOAD' AND run_id IN (SELECT id FROM runs WHERE uncertain = 1);
UPDATE tasks SET outcome = (SELECT outcome FROM runs WHERE runs.id = tasks.run_id)
  WHERE kind = 'LOAD' AND run_id IN (SELECT id FROM runs WHERE outcome <> '');

ALTER TABLE runs ADD COLUMN sweep_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN resume_request_id TEXT NOT NULL DEFAULT '';
UPDATE runs SET sweep_time = swept_time;

-- +goose Down
ALTER TABLE runs DROP COLUMN resume_request_id;
ALTER TABLE runs DROP COLUMN sweep_time;
UPDATE runs SET uncertain = 1 WHERE id IN (SELECT run_id FROM tasks WHERE uncertain = 1);
ALTER TABLE tasks DROP COLUMN outcome;
ALTER TABLE tasks DROP COLUMN uncertain;
