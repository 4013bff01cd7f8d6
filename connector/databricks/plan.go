package databricks

import (
	"fmt"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// runColumn and targetColumn say, in each row of a target, which load has written it.
	runColumn    = "_lume_run_id"
	targetColumn = "_lume_target"
	// rowColumn is the ordinal of the source row in staged files.
	rowColumn = "_lume_row"
	// writing and settling are states of a marker between its first and its last.
	writing  = "writing"
	settling = "settling"
	// fenceState is the state of the row that every change of a marker changes too.
	fenceState = "fence"
)

// rejectColumns are the columns of a rejects table with their types.
var rejectColumns = []struct{ name, native string }{
	{"run_id", "STRING NOT NULL"}, {connector.RowColumn, "BIGINT"}, {"file", "STRING"}, {"line", "BIGINT"}, {"byte_offset", "BIGINT"},
	{"stage", "STRING NOT NULL"}, {"errors", "STRING NOT NULL"}, {"record", "STRING"}, {"raw", "BINARY"}, {"target", "STRING NOT NULL"},
}

// planFor plans a load. Only names and checks of the shared plan are of use: Delta has no transaction to put its statements in.
func (c *Connector) planFor(spec connector.TargetSpec) (sqlload.Plan, error) {
	plan, err := sqlload.NewPlan(sqlload.Dialect{Quote: quote, Type: nativeType, FoldColumns: true}, c.schema, spec)
	if err != nil {
		return plan, err
	}
	seen := make(map[string]bool, len(plan.Columns))
	for _, col := range plan.Columns {
		folded := strings.ToLower(col.Name)
		if folded == runColumn || folded == targetColumn || seen[folded] {
			return plan, &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_COLUMN_NAME", Column: col.Name,
				Message: "the column " + col.Name + " has the name of another one or of one of Lume's own; upper and lower case are the same",
				Next:    "rename the column in the flow", Meta: map[string]string{"column": col.Name}}
		}
		seen[folded] = true
	}
	if c.staging == nil {
		return plan, &connector.Error{Kind: connector.KindInvalid, Reason: "STAGING_MISSING",
			Message: "the connector has no staging folder, which a target needs", Next: "set staging to a folder of a Unity Catalog volume"}
	}
	return plan, nil
}

// createTarget creates the target. The columns by which loads are told apart go first, where Delta keeps statistics.
func (c *Connector) createTarget(plan sqlload.Plan) string {
	lines := []string{runColumn + " STRING", targetColumn + " STRING"}
	properties := ""
	for _, col := range plan.Columns {
		line := quote(col.Name) + " " + nativeType(col.Type)
		if col.Required || col.Key {
			line += " NOT NULL"
		}
		lines = append(lines, line)
		if strings.ContainsAny(col.Name, " ,;{}()\n\t=") {
			// Without a mapping, names are those of columns in files, which cannot have these characters.
			properties = " TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
		}
	}
	return create(c.table(plan.Target), lines) + properties
}

func (c *Connector) createRejects(plan sqlload.Plan) string {
	lines := make([]string, len(rejectColumns))
	for i, col := range rejectColumns {
		lines[i] = quote(col.name) + " " + col.native
	}
	return create(c.table(plan.Rejects), lines)
}

// createRuns creates the table of markers. Serializable isolation makes each change of it meet each other one, and without
// deletion vectors they meet by file, not by row.
func (c *Connector) createRuns(plan sqlload.Plan) string {
	return create(c.table(plan.Runs), []string{
		"run_id STRING NOT NULL", "target STRING NOT NULL", "state STRING NOT NULL", "flow_version STRING NOT NULL", "version_digest STRING NOT NULL",
		"attempt BIGINT NOT NULL", "fence BIGINT NOT NULL", "receipt STRING", "written BIGINT NOT NULL", "start_time TIMESTAMP NOT NULL", "end_time TIMESTAMP",
	}) + " TBLPROPERTIES ('delta.isolationLevel' = 'Serializable', 'delta.enableDeletionVectors' = 'false')"
}

func create(table string, lines []string) string {
	return "CREATE TABLE IF NOT EXISTS " + table + " (\n  " + strings.Join(lines, ",\n  ") + "\n) USING DELTA"
}

// guard is a condition that has a value while the run's marker stands so, and otherwise fails the statement. Parameters: run_id,
// target.
func (c *Connector) guard(plan sqlload.Plan, while stand, value bool) string {
	return fmt.Sprintf("(SELECT CASE WHEN count(*) = 1 THEN %t ELSE CAST(raise_error('%s') AS BOOLEAN) END FROM %s AS m WHERE m.run_id = ? AND m.target = ? AND %s)",
		value, fenceMark, c.table(plan.Runs), while.condition())
}

// replaceByNothing deletes the rows of a run and target, by the names of the columns that hold these, while the run's marker
// stands so. A DELETE could not ask the marker: Delta's takes no subquery everywhere. values are one for each column.
func (c *Connector) replaceByNothing(plan sqlload.Plan, t sqlload.Table, runColumn, targetColumn string, values []string, runID, target string, while stand) (string, []string) {
	return "INSERT INTO TABLE " + c.table(t) + " REPLACE WHERE " + runColumn + " = ? AND " + targetColumn + " = ? SELECT " + strings.Join(values, ", ") +
		" WHERE " + c.guard(plan, while, false), []string{runID, target, runID, target}
}

// deleteRows takes the run's rows out of the target.
func (c *Connector) deleteRows(plan sqlload.Plan, t *table, load connector.Load, while stand) (string, []string) {
	values := make([]string, len(t.columns))
	for i, col := range t.columns {
		values[i] = nothing(col.native)
	}
	return c.replaceByNothing(plan, plan.Target, runColumn, targetColumn, values, load.RunID, load.Target.Name, while)
}

// nothing is the value of a type in rows that are never written.
func nothing(native string) string { return "CAST(NULL AS " + native + ")" }

// shaped reads the staged rows as the table has its columns: those that the flow does not have are NULL.
func shaped(plan sqlload.Plan, t *table, rows staged) string {
	values := []string{rowColumn}
	for _, col := range t.columns {
		if own(col.name) {
			continue
		}
		value := "NULL"
		for _, want := range plan.Columns {
			if strings.EqualFold(want.Name, col.name) {
				value = quote(want.Name)
			}
		}
		values = append(values, "CAST("+value+" AS "+col.native+") AS "+quote(col.name))
	}
	return "(SELECT " + strings.Join(values, ", ") + " FROM (" + rows.sql + "))"
}

// own reports whether a column is one of those by which loads are told apart.
func own(name string) bool {
	return strings.EqualFold(name, runColumn) || strings.EqualFold(name, targetColumn)
}

// valid is the condition that the table's CHECK constraints hold. A condition that is NULL does not.
func valid(t *table) string {
	list := []string{"true"}
	for _, check := range t.checks {
		list = append(list, "coalesce("+check.condition+", false)")
	}
	return strings.Join(list, " AND ")
}

// refusedRows lists the staged rows that the table refuses, each with the constraint that it breaks.
func refusedRows(plan sqlload.Plan, t *table, rows staged) string {
	cases := make([]string, len(t.checks))
	for i, check := range t.checks {
		cases[i] = fmt.Sprintf("WHEN NOT coalesce(%s, false) THEN %d", check.condition, i)
	}
	return fmt.Sprintf("SELECT %s, CAST(CASE %s END AS BIGINT) FROM %s WHERE NOT (%s) ORDER BY 1 LIMIT %d",
		rowColumn, strings.Join(cases, " "), shaped(plan, t, rows), valid(t), connector.MaxProbes+1)
}

// countRows counts the staged rows that the table accepts, as the warehouse reads them.
func countRows(plan sqlload.Plan, t *table, rows staged) string {
	return "SELECT count(*) FROM " + shaped(plan, t, rows) + " WHERE " + valid(t)
}

// writeRows is the one statement that writes the run's rows, read from a source with a condition. It has the same effect however often
// it runs.
func (c *Connector) writeRows(plan sqlload.Plan, t *table, source string, load connector.Load) (string, []string) {
	from := " FROM " + source + " AND " + c.guard(plan, stand{writing, "=", load.Fence}, true)
	marker := []string{load.RunID, load.Target.Name}
	if plan.Mode == connector.Upsert {
		return c.mergeRows(plan, from), append(marker, marker...)
	}
	// INSERT takes columns by their position in the table.
	values, args := make([]string, len(t.columns)), []string(nil)
	for i, col := range t.columns {
		switch {
		case strings.EqualFold(col.name, runColumn):
			values[i], args = "CAST(? AS STRING)", append(args, load.RunID)
		case strings.EqualFold(col.name, targetColumn):
			values[i], args = "CAST(? AS STRING)", append(args, load.Target.Name)
		default:
			values[i] = quote(col.name)
		}
	}
	sel, args := " SELECT "+strings.Join(values, ", ")+from, append(args, marker...)
	if plan.Mode == connector.Replace {
		return "INSERT OVERWRITE TABLE " + c.table(plan.Target) + sel, args
	}
	return "INSERT INTO TABLE " + c.table(plan.Target) + " REPLACE WHERE " + runColumn + " = ? AND " + targetColumn + " = ?" + sel, append(marker, args...)
}

func (c *Connector) mergeRows(plan sqlload.Plan, from string) string {
	all := append([]string{runColumn, targetColumn}, plan.ColumnNames()...)
	on := make([]string, len(plan.Keys))
	for i, key := range plan.Keys {
		on[i] = "t." + quote(key) + " = s." + quote(key)
	}
	set, values := make([]string, len(all)), make([]string, len(all))
	for i, name := range all {
		values[i] = "s." + quote(name)
		set[i] = "t." + quote(name) + " = " + values[i]
	}
	return "MERGE INTO " + c.table(plan.Target) + " AS t USING (SELECT CAST(? AS STRING) AS " + runColumn + ", CAST(? AS STRING) AS " + targetColumn +
		", " + names(plan.ColumnNames()) + from + ") AS s ON " + strings.Join(on, " AND ") +
		" WHEN MATCHED THEN UPDATE SET " + strings.Join(set, ", ") +
		" WHEN NOT MATCHED THEN INSERT (" + names(all) + ") VALUES (" + strings.Join(values, ", ") + ")"
}

// writeRejects replaces the run's rejects.
func (c *Connector) writeRejects(plan sqlload.Plan, rows staged, load connector.Load) (string, []string) {
	run, target := load.RunID, load.Target.Name
	values := make([]string, len(rejectColumns))
	for i, col := range rejectColumns {
		values[i] = quote(col.name)
	}
	return "INSERT INTO TABLE " + c.table(plan.Rejects) + " REPLACE WHERE run_id = ? AND target = ? SELECT " + strings.Join(values, ", ") +
		" FROM (" + rows.sql + ") WHERE " + c.guard(plan, stand{writing, "=", load.Fence}, true), []string{run, target, run, target}
}
