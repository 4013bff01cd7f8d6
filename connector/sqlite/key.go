package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// keys remembers which row of the batch has brought each key, in a temporary table with the columns and collations of the target's key.
// An upsert has nothing else that tells the row of a key which is there from an earlier one of the batch.
type keys struct {
	places    []int
	many, one *sql.Stmt
	args      []any
}

// keysTable is the temporary table. It belongs to the session.
const keysTable = "temp._lume_keys"

// newKeys makes the table for a load. Statements take rows as [sqlload.Plan.InsertValues] does.
func newKeys(ctx context.Context, s *session, plan sqlload.Plan, t *table, perStatement int) (k *keys, err error) {
	k = &keys{}
	row := dialect.Quote(connector.RowColumn)
	lines := []string{row + " INTEGER NOT NULL"}
	collations, err := keyCollations(ctx, s, plan)
	if err != nil {
		return nil, err
	}
	for i, c := range plan.Columns {
		if !c.Key {
			continue
		}
		k.places = append(k.places, i)
		found, _ := t.column(c.Name)
		line := dialect.Quote(c.Name) + " " + string(found.affinity)
		if collation := collations[strings.ToLower(c.Name)]; collation != "" {
			line += " COLLATE " + dialect.Quote(collation)
		}
		lines = append(lines, line)
	}
	names := dialect.Names(plan.Keys)
	create := fmt.Sprintf("CREATE TEMP TABLE %s (%s, PRIMARY KEY (%s)) WITHOUT ROWID", strings.TrimPrefix(keysTable, "temp."), strings.Join(lines, ", "), names)
	if _, err := s.ExecContext(ctx, create); err != nil {
		return nil, coded(ctx, err)
	}
	insert := func(rows int) string {
		values := slices.Repeat([]string{"(" + dialect.Params(1, len(k.places)+1) + ")"}, rows)
		return fmt.Sprintf("INSERT OR ABORT INTO %s (%s, %s) VALUES %s", keysTable, row, names, strings.Join(values, ", "))
	}
	if k.many, err = s.PrepareContext(ctx, insert(perStatement)); err != nil {
		return nil, coded(ctx, err)
	}
	// A row that has brought the key already counts, too.
	again := fmt.Sprintf(" ON CONFLICT (%[1]s) DO UPDATE SET %[2]s = %[2]s WHERE %[2]s = excluded.%[2]s", names, row)
	if k.one, err = s.PrepareContext(ctx, insert(1)+again); err != nil {
		_ = k.many.Close()
		return nil, coded(ctx, err)
	}
	return k, nil
}

// keyCollations returns how the unique index on the keys compares each of them, by name in lower case. A key without an index of its
// own is the number of its row.
func keyCollations(ctx context.Context, s *session, plan sqlload.Plan) (map[string]string, error) {
	rows, err := s.QueryContext(ctx, `SELECT l.name, i.name, i.coll FROM pragma_index_list(?) l JOIN pragma_index_xinfo(l.name) i
		WHERE l."unique" AND NOT l.partial AND i.key ORDER BY l.seq, i.seqno`, plan.Target.Name)
	if err != nil {
		return nil, coded(ctx, err)
	}
	defer rows.Close()
	indexes := map[string]map[string]string{}
	for rows.Next() {
		var index, collation string
		var column sql.NullString
		if err := rows.Scan(&index, &column, &collation); err != nil {
			return nil, coded(ctx, err)
		}
		if indexes[index] == nil {
			indexes[index] = map[string]string{}
		}
		indexes[index][strings.ToLower(column.String)] = collation
	}
	for _, columns := range indexes {
		missing := slices.ContainsFunc(plan.Keys, func(key string) bool { _, ok := columns[strings.ToLower(key)]; return !ok })
		if len(columns) == len(plan.Keys) && !missing {
			return columns, coded(ctx, rows.Err())
		}
	}
	return nil, coded(ctx, rows.Err())
}

func (k *keys) close() {
	_ = k.many.Close()
	_ = k.one.Close()
}

// take remembers the keys of all rows, unless one of them is taken or NULL; then it remembers none and returns false.
func (k *keys) take(ctx context.Context, ordinals []int64, args []any) (bool, error) {
	k.args = k.args[:0]
	for i, row := range ordinals {
		if !k.add(row, args[i*len(args)/len(ordinals):]) {
			return false, nil
		}
	}
	_, err := k.many.ExecContext(ctx, k.args...)
	if err == nil {
		return true, nil
	}
	if _, refused := refusedRow(err); refused {
		return false, nil
	}
	return false, coded(ctx, err)
}

// takeOne remembers the key of a row, and returns false if an earlier one has taken it. A key with a NULL equals none.
func (k *keys) takeOne(ctx context.Context, row int64, args []any) (bool, error) {
	k.args = k.args[:0]
	if !k.add(row, args) {
		return true, nil
	}
	result, err := k.one.ExecContext(ctx, k.args...)
	if err != nil {
		return false, coded(ctx, err)
	}
	n, err := result.RowsAffected()
	return n > 0, coded(ctx, err)
}

// add adds a row to the parameters, and returns false if it has a NULL in its key.
func (k *keys) add(row int64, args []any) bool {
	k.args = append(k.args, row)
	for _, place := range k.places {
		if args[place] == nil {
			return false
		}
		k.args = append(k.args, args[place])
	}
	return true
}
