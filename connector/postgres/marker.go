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

// readMarker reads the marker of a run, if it stands.
func readMarker(ctx context.Context, conn *pgx.Conn, plan sqlload.Plan, runID, target string) (out connector.Outcome, found bool, err error) {
	if found, err := exists(ctx, conn, plan.Runs); err != nil || !found {
		return out, false, err
	}
	var state string
	var receipt *string
	err = conn.QueryRow(ctx, plan.SelectMarker(), runID, target).Scan(&state, &receipt)
	if err == pgx.ErrNoRows {
		return out, false, nil
	}
	if err != nil {
		return out, false, coded(ctx, err)
	}
	if receipt == nil {
		receipt = new(string)
	}
	out, err = sqlload.Found(state, *receipt)
	return out, true, err
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
	// evictQuery ends sessions of the run whose attempt is below the second parameter. A worker that was stopped in the
	// middle of a COPY holds its transaction, and with it the run's marker, until its session ends.
	evictQuery = `
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE pid <> pg_backend_pid() AND usename = current_user AND datname = current_database()
   AND starts_with(application_name, $1) AND substr(application_name, length($1) + 1) ~ '^[0-9]{1,9}$'
   AND substr(application_name, length($1) + 1)::int < $2`
	evictPause    = 20 * time.Millisecond
	evictDeadline = 10 * time.Second
)

// evict ends the sessions of earlier attempts of a run and waits until they are gone, so that none of them can commit any
// more, or has.
func evict(ctx context.Context, conn *pgx.Conn, runID string, before int32) error {
	deadline := time.Now().Add(evictDeadline)
	for {
		var ended int64
		if err := conn.QueryRow(ctx, evictQuery, applicationPrefix(runID), before).Scan(&ended); err != nil {
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
