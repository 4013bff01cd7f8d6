package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// ddlLock is the key of the advisory lock under which loads create their tables ("lume" in ASCII).
const ddlLock = 0x6c756d65

// exists reports whether there is a relation of that name.
func exists(ctx context.Context, conn *pgx.Conn, t sqlload.Table) (bool, error) {
	var found bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2)`, t.Schema, t.Name).Scan(&found)
	return found, coded(ctx, err)
}

// readMarker reads what the marker of a run decides for a load or settlement with a fence.
func readMarker(ctx context.Context, conn *pgx.Conn, plan sqlload.Plan, runID, target string, fence int64) (out connector.Outcome, decided bool, err error) {
	if found, err := exists(ctx, conn, plan.Runs); err != nil || !found {
		return out, false, err
	}
	var m sqlload.Marker
	var receipt *string
	err = conn.QueryRow(ctx, plan.SelectMarker(), runID, target).Scan(&m.State, &receipt, &m.Fence)
	if err == pgx.ErrNoRows {
		return out, false, nil
	}
	if err != nil {
		return out, false, coded(ctx, err)
	}
	if receipt != nil {
		m.Receipt = *receipt
	}
	return m.Outcome(fence)
}

// createTables creates the tables that are missing, in a transaction of its own: an empty table is nothing of the run, and
// a load should not keep others from creating theirs. The target itself is created only on request.
func createTables(ctx context.Context, conn *pgx.Conn, plan sqlload.Plan, target bool) error {
	wanted := []struct {
		table  sqlload.Table
		create string
	}{{plan.Runs, plan.CreateRuns()}, {plan.Rejects, plan.CreateRejects()}}
	if target {
		wanted = append(wanted, struct {
			table  sqlload.Table
			create string
		}{plan.Target, plan.CreateTarget()})
	}
	var missing []string
	for _, w := range wanted {
		found, err := exists(ctx, conn, w.table)
		if err != nil {
			return err
		}
		if !found {
			missing = append(missing, w.create)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if !target {
		// A run that cannot find its table leaves nothing behind.
		if found, err := exists(ctx, conn, plan.Target); err != nil || !found {
			return err
		}
	}
	return create(ctx, conn, missing)
}

// execute runs statements in a session, as part of its transaction if it has one.
func execute(ctx context.Context, conn *pgx.Conn) sqlload.Exec {
	return func(statement string, args ...any) (int64, error) {
		tag, err := conn.Exec(ctx, statement, args...)
		return tag.RowsAffected(), coded(ctx, err)
	}
}

// create runs CREATE TABLE statements, one load at a time, since IF NOT EXISTS does not keep two sessions apart.
func create(ctx context.Context, conn *pgx.Conn, statements []string) error {
	return coded(ctx, pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		if err := script(ctx, conn, settings(ctx)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(ddlLock)); err != nil {
			return err
		}
		for _, statement := range statements {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

const (
	// evictQuery ends the sessions with a prefix whose fence is below the second parameter. A worker that was stopped in the
	// middle of a COPY holds its transaction, and with it the run's marker, until its session ends.
	evictQuery = `
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE pid <> pg_backend_pid() AND usename = current_user AND datname = current_database() AND starts_with(application_name, $1)
   AND CASE WHEN substr(application_name, length($1) + 1) ~ '^[0-9]{1,19}$'
       THEN substr(application_name, length($1) + 1)::numeric < $2::bigint ELSE false END`
	evictPause    = 20 * time.Millisecond
	evictDeadline = 10 * time.Second
)

// evict ends the sessions of a run's loads into a target that have a lower fence, and waits until they are gone, so that none
// of them can commit any more, or has. Loads of the run into other targets go on.
func evict(ctx context.Context, conn *pgx.Conn, runID, target string, before int64) error {
	deadline := time.Now().Add(evictDeadline)
	for {
		var ended int64
		if err := conn.QueryRow(ctx, evictQuery, sqlload.SessionPrefix(runID, target), before).Scan(&ended); err != nil {
			return coded(ctx, err)
		}
		// A session that stays is waited for at the marker.
		if ended == 0 || time.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(evictPause):
		}
	}
}
