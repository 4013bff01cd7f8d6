package sqlload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector"
)

// RunsTable is the name of the table of markers, in the target's schema.
const RunsTable = "_lume_runs"

// RejectColumns are the columns of a rejects table, in order.
var RejectColumns = []string{"run_id", connector.RowColumn, "file", "line", "byte_offset", "stage", "errors", "record", "raw"}

// Plan is what a load writes, and the text of its statements.
type Plan struct {
	Dialect Dialect
	Mode    connector.Mode
	// Target, Rejects and Runs are the three tables of a load.
	Target, Rejects, Runs Table
	Columns               []connector.Column
	// Keys are the key columns: the match of upsert.
	Keys []string
}

// NewPlan checks a target's spec and plans a load. schema is where tables without a schema are. Errors are
// *connector.Error of KindInvalid.
func NewPlan(d Dialect, schema string, spec connector.TargetSpec) (Plan, error) {
	target, err := ParseTable(spec.Table)
	if err != nil {
		return Plan{}, err
	}
	if target.Schema == "" {
		target.Schema = schema
	}
	rejects := Table{Schema: target.Schema, Name: target.Name + "_rejects"}
	if spec.Rejects != "" {
		if rejects, err = ParseTable(spec.Rejects); err != nil {
			return Plan{}, err
		}
		if rejects.Schema == "" {
			rejects.Schema = target.Schema
		}
	}
	p := Plan{
		Dialect: d, Mode: spec.Mode, Target: target, Rejects: rejects, Runs: Table{Schema: target.Schema, Name: RunsTable},
		Columns: spec.Columns, Keys: spec.Keys(),
	}
	switch {
	case target.Name == RunsTable || rejects.Name == RunsTable || rejects == target:
		return Plan{}, &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_TABLE_NAME",
			Message: "table, rejects table and " + RunsTable + " must be three different tables",
			Meta:    map[string]string{"table": target.String(), "rejects": rejects.String()}}
	case len(p.Columns) == 0:
		return Plan{}, &connector.Error{Kind: connector.KindInvalid, Reason: "NO_COLUMNS", Message: "the target has no columns"}
	case p.Mode == connector.Upsert && len(p.Keys) == 0:
		return Plan{}, &connector.Error{Kind: connector.KindInvalid, Reason: "UPSERT_WITHOUT_KEY",
			Message: "mode upsert needs at least one key column", Next: "set `key: true` on the columns that identify a row"}
	case !slices.Contains([]connector.Mode{connector.Append, connector.Upsert, connector.Replace}, p.Mode):
		return Plan{}, &connector.Error{Kind: connector.KindInvalid, Reason: "UNKNOWN_MODE",
			Message: "the mode must be append, upsert or replace", Meta: map[string]string{"mode": string(p.Mode)}}
	}
	return p, nil
}

// ColumnNames returns the names of the target columns in order.
func (p Plan) ColumnNames() []string {
	names := make([]string, len(p.Columns))
	for i, c := range p.Columns {
		names[i] = c.Name
	}
	return names
}

// CreateTarget creates the target table: required and key columns are NOT NULL, the key columns the primary key.
func (p Plan) CreateTarget() string {
	d := p.Dialect
	lines := make([]string, 0, len(p.Columns)+1)
	for _, c := range p.Columns {
		line := d.Quote(c.Name) + " " + d.columnType(c)
		if c.Required || c.Key {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	if len(p.Keys) > 0 {
		lines = append(lines, "PRIMARY KEY ("+d.Names(p.Keys)+")")
	}
	return d.create(p.Target, lines)
}

// CreateRejects creates the table of rejects. errors and record are JSON text; raw holds the bytes of a record that is
// not JSON text.
func (p Plan) CreateRejects() string {
	d := p.Dialect
	types := []string{d.Text + " NOT NULL", d.BigInt, d.longText(), d.BigInt, d.BigInt, d.Text + " NOT NULL", d.JSON + " NOT NULL", d.JSON, d.Bytes}
	lines := make([]string, len(RejectColumns))
	for i, name := range RejectColumns {
		lines[i] = d.Quote(name) + " " + types[i]
	}
	return d.create(p.Rejects, lines)
}

// CreateRuns creates the table of markers.
func (p Plan) CreateRuns() string {
	d := p.Dialect
	return d.create(p.Runs, []string{
		d.Quote("run_id") + " " + d.Text + " NOT NULL",
		d.Quote("target") + " " + d.Text + " NOT NULL",
		d.Quote("state") + " " + d.Text + " NOT NULL",
		d.Quote("flow_version") + " " + d.Text + " NOT NULL",
		d.Quote("version_digest") + " " + d.Text + " NOT NULL",
		d.Quote("attempt") + " " + d.BigInt + " NOT NULL",
		d.Quote("fence") + " " + d.BigInt + " NOT NULL",
		d.Quote("receipt") + " " + d.longText(),
		d.Quote("start_time") + " " + d.Instant + " NOT NULL",
		d.Quote("end_time") + " " + d.Instant,
		"PRIMARY KEY (" + d.Names([]string{"run_id", "target"}) + ")",
	})
}

func (d Dialect) create(t Table, lines []string) string {
	if d.Create != nil {
		return d.Create(d.Table(t), strings.Join(lines, ",\n  "))
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  %s\n)%s", d.Table(t), strings.Join(lines, ",\n  "), d.TableOptions)
}

// InsertValues inserts `rows` rows of parameters into the target, and replaces rows with equal keys if the mode is upsert.
func (p Plan) InsertValues(rows int) string {
	d, n := p.Dialect, len(p.Columns)
	values := make([]string, rows)
	for i := range values {
		values[i] = "(" + d.Params(i*n+1, n) + ")"
	}
	return fmt.Sprintf("%s INTO %s (%s) VALUES %s%s", d.insert(), d.Table(p.Target), d.Names(p.ColumnNames()), strings.Join(values, ", "), p.onConflict())
}

// InsertFrom inserts the rows of a staged table with from <= _row < to (parameters 1 and 2) into the target, and replaces
// rows with equal keys if the mode is upsert.
func (p Plan) InsertFrom(staged Table) string {
	d, names := p.Dialect, p.Dialect.Names(p.ColumnNames())
	row := d.Quote(connector.RowColumn)
	return fmt.Sprintf("%s INTO %s (%s) SELECT %s FROM %s WHERE %s >= %s AND %s < %s%s",
		d.insert(), d.Table(p.Target), names, names, d.Table(staged), row, d.Param(1), row, d.Param(2), p.onConflict())
}

// DeleteAll empties the target for replace. It is a DELETE, so that readers see old or new, and nothing commits by itself.
func (p Plan) DeleteAll() string { return "DELETE FROM " + p.Dialect.Table(p.Target) }

// onConflict is the clause of upsert. A table of key columns only sets a key to itself, so that every row counts.
func (p Plan) onConflict() string {
	if p.Mode != connector.Upsert {
		return ""
	}
	var columns []string
	for _, c := range p.Columns {
		if !c.Key {
			columns = append(columns, c.Name)
		}
	}
	if len(columns) == 0 {
		columns = p.Keys[:1]
	}
	d := p.Dialect
	if d.OnConflict != nil {
		return d.OnConflict(p.Keys, columns)
	}
	set := make([]string, len(columns))
	for i, name := range columns {
		set[i] = d.Quote(name) + " = excluded." + d.Quote(name)
	}
	return fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s", d.Names(p.Keys), strings.Join(set, ", "))
}

// InsertReject inserts one reject; its parameters are RejectColumns.
func (p Plan) InsertReject() string {
	d := p.Dialect
	return fmt.Sprintf("%s INTO %s (%s) VALUES (%s)", d.insert(), d.Table(p.Rejects), d.Names(RejectColumns), d.Params(1, len(RejectColumns)))
}
