package sqlite

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/control/internal/store"
)

func TestTheFactsOfARunBecomeThoseOfItsTarget(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.db")
	db, err := sql.Open("sqlite", dsn(path, "OFF", "_txlock=immediate"))
	require.NoError(t, err)
	files, err := fs.Sub(migrations, "migrations")
	require.NoError(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	_, err = p.UpTo(t.Context(), 1)
	require.NoError(t, err)
	exec := func(statement string) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	exec(`INSERT INTO flows VALUES ('f', x'', 1, 'e', 1, 1)`)
	exec(`INSERT INTO versions VALUES ('f', 1, x'', 'sha256:0', '', '', x'5b5d', CAST('[]' AS BLOB), 1)`)
	for _, run := range []string{
		`'committed', x'01', NULL, '', 'SUCCEEDED', 'COMMITTED', 0, 0, 0`,
		`'unsettled', x'02', NULL, '', 'FAILED', 'UNKNOWN', 1, 0, 1`,
		`'loading',   x'03', NULL, '', 'SYNCING_TARGET', '', 1, 0, 1`,
	} {
		exec(`INSERT INTO runs (id, source_digest, metadata, request_id, state, outcome, open, cancel_requested, uncertain,
				flow, version, version_digest, source_path, ending_state, max_parallel_tasks, max_attempts, trace_parent,
				create_time, update_time, end_time, deadline, swept_time, rejects_swept_time, revision)
			VALUES (` + run + `, 'f', 1, '', '', '', 4, 4, '', 1, 1, 1, 1, 7, 0, 1)`)
	}
	for _, id := range []string{"committed", "unsettled", "loading"} {
		for order, kind := range map[int]string{1: "STAGE", 4: "LOAD"} {
			_, err := db.ExecContext(t.Context(), `INSERT INTO tasks (id, run_id, kind, kind_order, part, state, attempt,
					max_attempts, errors, fence, worker, lease_until, row_count, ready_time, wake_time, wakes, start_time, end_time)
				VALUES (?, ?, ?, ?, 0, 'DONE', 1, 4, 0, 1, '', 0, 0, 0, 0, 0, 1, 1)`,
				id+"."+kind, id, kind, order)
			require.NoError(t, err)
		}
	}
	require.NoError(t, db.Close())

	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for id, want := range map[string]store.Task{
		"committed.LOAD":  {Outcome: store.OutcomeCommitted},
		"unsettled.LOAD":  {Outcome: store.OutcomeUnknown, Uncertain: true},
		"loading.LOAD":    {Uncertain: true},
		"unsettled.STAGE": {},
		"committed.STAGE": {},
	} {
		got, err := s.Task(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want.Outcome, got.Outcome, id)
		require.Equal(t, want.Uncertain, got.Uncertain, id)
	}
	r, err := s.Run(t.Context(), "committed")
	require.NoError(t, err)
	require.Equal(t, r.SweptTime, r.SweepTime, "what was swept cannot be resumed")
}
