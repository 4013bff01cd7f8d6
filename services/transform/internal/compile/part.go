package compile

import (
	"fmt"
	"strings"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// Part says which part is mapped, and for what.
type Part struct {
	// FirstRow is `_row` of the part's first row.
	FirstRow int64
	// Rows is the number of rows of the part, by which it is known when all of them are mapped.
	Rows int64
	// File is the source's name in coordinates.
	File string
	// Data names the staged rows, and Locations their places; empty if there are none.
	Data, Locations string
	Run             Run
}

// Names of steps whose rows a task reads.
const (
	StepFatal   = "find the first row that fails the run"
	StepDigest  = "count and digest the mapped rows"
	StepSummary = "count the records"
	StepLookup  = "check keys of reference "
)

// copyTo writes a COPY of a query to a Parquet file.
func copyTo(query, file string) string {
	return "COPY (" + query + ")\nTO " + cast.Quote(file) + " (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
}

// CheckLookups returns one step per reference; it answers with the first key that is there twice, if there is one.
func (p *Plan) CheckLookups() []engine.Step {
	var steps []engine.Step
	for i, l := range p.lookups {
		key := "t." + cast.Ident(p.lookupColumn(expr.Ref{Lookup: l.name, Name: l.key}))
		steps = append(steps, engine.Step{Name: StepLookup + l.name, Rows: true,
			SQL: "SELECT CAST(" + key + " AS VARCHAR), count(*) FROM " + p.lookupScan(i) + " WHERE " + key + " IS NOT NULL GROUP BY " + key +
				" HAVING count(*) > 1 ORDER BY 1 LIMIT 1"})
	}
	return steps
}

// MapPart returns the steps that map a part: they read the part's files and those of the references, and write
// [MappedFile] and, if the plan has a batch rule, [KeysFile]. If every row is mapped the job ends with [StepDigest]; else
// they write [RejectsFile] and end with [StepSummary].
func (p *Plan) MapPart(part Part) []engine.Step {
	from := p.staged(part)
	if p.source.Unnested {
		return p.mapRecords(from, part)
	}
	steps := []engine.Step{p.asideStep(), {Name: "map and write the rows that pass", SQL: copyTo(p.goodRows(from, part.Run, false), MappedFile)}}
	steps = append(steps, p.keysStep()...)
	digest := p.digest()
	digest.Enough = itoa(part.Rows)
	steps = append(steps, digest, p.rejectedView())
	return append(steps, p.rejectSteps(from, part)...)
}

// mapRecords does the same where records become several rows: one bad row rejects its record.
func (p *Plan) mapRecords(from scan, part Part) []engine.Step {
	steps := []engine.Step{
		{Name: "map the rows that pass", SQL: copyTo(p.goodRows(from, part.Run, true), validFile)},
		{Name: "find the rest", SQL: p.rest(from, part.Run, validFile)},
		{Name: "find records with a rejected row", SQL: "CREATE TEMP TABLE bad AS SELECT DISTINCT _record FROM rest WHERE NOT _filtered"},
		{Name: "write the rows of records that pass", SQL: copyTo("SELECT * EXCLUDE (_record) FROM read_parquet("+cast.Quote(validFile)+
			") AS m ANTI JOIN bad USING (_record)\nORDER BY _row", MappedFile)},
	}
	steps = append(append(steps, p.keysStep()...), p.digest(), engine.Step{Name: "keep what is rejected", SQL: p.keep(from)})
	return append(steps, p.rejectSteps(from, part)...)
}

// keysStep writes the keys file, if there is one to write.
func (p *Plan) keysStep() []engine.Step {
	if !p.Batch() {
		return nil
	}
	return []engine.Step{{Name: "write the keys of batch rules", SQL: copyTo(p.keysQuery(), KeysFile)}}
}

// rejectSteps build and write the rejects of the rows that were kept, and count.
func (p *Plan) rejectSteps(from scan, part Part) []engine.Step {
	return append(p.reasons(part), p.writeRejects(part), p.summary(from))
}

// goodRows is the query of the rows that pass, in the order of `_row` unless they are rows of records. It sets the others
// aside, unless they are rows of records.
func (p *Plan) goodRows(from scan, run Run, record bool) string {
	items := []string{"_row"}
	if record {
		items = append(items, cast.Ident(RecordColumn))
	}
	hashed := []string{"_row"}
	for _, c := range p.columns {
		hashed = append(hashed, c.final())
	}
	items = append(items, "hash("+strings.Join(hashed, ", ")+") AS "+cast.Ident(HashColumn))
	for _, c := range p.columns {
		items = append(items, c.final()+" AS "+cast.Ident(c.name))
	}
	aim := mapping
	if record {
		aim = mappingRecords
	}
	sql := nest("SELECT "+strings.Join(items, ",\n    "), p.layers(from, run, aim))
	if good := p.good(); len(good) > 0 {
		where := strings.Join(good, "\n    AND ")
		if !record {
			where = "CASE WHEN " + where + "\n    THEN true ELSE " + p.reject("_row", func(c asideColumn) string { return c.layer }) + " END"
		}
		sql += "\n  WHERE " + where
	}
	if len(p.lookups) > 0 && !record {
		sql += "\n  ORDER BY _row"
	}
	return sql
}

// rest is the statement that lists the rows of records which are not in the file, and whether the filter left them out.
func (p *Plan) rest(from scan, run Run, file string) string {
	filtered, joined, row := "false", from.from, from.row
	if w := p.wanted(run); w != "" {
		// Without a filter references cannot decide anything here.
		filtered, joined, row = "("+w+" IS NOT DISTINCT FROM false)", p.joined(from, run), p.rowOf(from)
	}
	return "CREATE TEMP TABLE rest AS\nSELECT r.* FROM (SELECT " + row + " AS _row, " + p.sourceColumn(RecordColumn) + " AS " + cast.Ident(RecordColumn) + ", " +
		filtered + " AS _filtered\n  FROM " + joined + ") AS r\n  ANTI JOIN read_parquet(" + cast.Quote(file) + ") AS m ON r._row = m._row"
}

// keep is the statement that keeps the staged rows of records which are rejected: those that are neither mapped nor filtered.
func (p *Plan) keep(from scan) string {
	return "CREATE TEMP TABLE rejected AS\nSELECT s.* FROM (SELECT " + from.row + " AS _row, " + p.keptColumns() + " FROM " + from.from +
		") AS s\n  SEMI JOIN (SELECT _row FROM rest WHERE NOT _filtered) AS r ON s._row = r._row"
}

// keptColumns are the columns of rejected records.
func (p *Plan) keptColumns() string {
	items := []string{"s." + cast.Ident(RecordColumn)}
	for _, c := range p.asideColumns() {
		if c.staged != cast.Ident(RecordColumn) {
			items = append(items, "s."+c.staged)
		}
	}
	return strings.Join(items, ", ")
}

// keysQuery is the query of a keys file: the mapped rows' numbers, the columns of batch rules, and the rows' hashes.
func (p *Plan) keysQuery() string {
	items := []string{"m._row"}
	from := "read_parquet(" + cast.Quote(MappedFile) + ") AS m"
	if p.source.Unnested {
		items = append(items, "v._record")
		from += " JOIN (SELECT _row, _record FROM read_parquet(" + cast.Quote(validFile) + ")) AS v ON m._row = v._row"
	}
	for i, name := range p.keyColumns() {
		items = append(items, fmt.Sprintf("m.%s AS k%d", cast.Ident(name), i))
	}
	return "SELECT " + strings.Join(append(items, "m."+cast.Ident(HashColumn)+" AS h"), ", ") + " FROM " + from
}

// digest is the step that counts and digests the mapped rows, and counts what checks warn of.
func (p *Plan) digest() engine.Step {
	mapped := "read_parquet(" + cast.Quote(MappedFile) + ")"
	digest := "(SELECT coalesce(sum(" + cast.Ident(HashColumn) + "::HUGEINT), 0)::VARCHAR FROM " + mapped + ")"
	items := []string{"(SELECT count(*) FROM " + mapped + ")", digest}
	for _, r := range p.warnings() {
		items = append(items, "(SELECT count(*) FROM "+mapped+" WHERE NOT "+p.holds(r, func(c *column) string { return cast.Ident(c.name) })+")")
	}
	return engine.Step{Name: StepDigest, SQL: "SELECT " + strings.Join(items, ",\n  "), Rows: true}
}

// summary is the step that counts the records that were read, filtered, rejected and mapped, and rejects without a reason.
func (p *Plan) summary(from scan) engine.Step {
	items := []string{
		"(SELECT count(*) FROM " + from.from + ")",
		"(SELECT count(*) FROM " + filteredTable + ")",
		"(SELECT count(*) FROM reasons)",
		"(SELECT count(*) FROM read_parquet(" + cast.Quote(MappedFile) + "))",
		"(SELECT count(*) FROM reasons WHERE len(errors) = 0)",
	}
	if p.filter == nil {
		items[1] = "0"
	}
	if p.source.Unnested {
		items[0] = "(SELECT count(DISTINCT " + p.sourceColumn(RecordColumn) + ") FROM " + from.from + ")"
		items[1] = "(SELECT count(DISTINCT r._record) FROM rest AS r ANTI JOIN bad USING (_record) ANTI JOIN read_parquet(" + cast.Quote(validFile) + ") AS v ON r._record = v._record WHERE r._filtered)"
		items[3] = "(SELECT count(DISTINCT v._record) FROM read_parquet(" + cast.Quote(validFile) + ") AS v ANTI JOIN bad USING (_record))"
	}
	return engine.Step{Name: StepSummary, SQL: "SELECT " + strings.Join(items, ",\n  "), Rows: true}
}

// warnings are the checks that only warn.
func (p *Plan) warnings() []*rule {
	var list []*rule
	for _, r := range p.rules {
		if r.check.node != nil && r.policy == policyWarn {
			list = append(list, r)
		}
	}
	return list
}

// ShowRows returns the step that answers with the mapped rows of a part as exact text, in order; without those of
// [DropsFile] if drops is set.
func (p *Plan) ShowRows(drops bool) engine.Step {
	items := make([]string, len(p.columns))
	for i, c := range p.columns {
		items[i] = "CAST(m." + cast.Ident(c.name) + " AS VARCHAR)"
		if cast.SQLType(c.typ) == "BLOB" {
			items[i] = "lower(to_hex(m." + cast.Ident(c.name) + "))"
			if c.convert.Format == "base64" {
				items[i] = "to_base64(m." + cast.Ident(c.name) + ")"
			}
		}
	}
	from := "read_parquet(" + cast.Quote(MappedFile) + ") AS m"
	if drops {
		from += " ANTI JOIN read_parquet(" + cast.Quote(DropsFile) + ") AS d ON m._row = d._row"
	}
	return engine.Step{Name: "show the mapped rows", Rows: true, SQL: "SELECT " + strings.Join(items, ", ") + " FROM " + from + " ORDER BY m._row"}
}

// ExplainStep is one statement of what a flow compiles to.
type ExplainStep struct{ Name, SQL string }

// Explain returns the statements of a part and, if the plan has a batch rule, of the closing task.
func (p *Plan) Explain() []ExplainStep {
	part := Part{Rows: 1000, File: "the batch", Data: PartFile, Locations: LocationsFile, Run: Run{ID: "run_ID", SourcePath: "SOURCE_PATH", FlowVersion: "FLOW:vN"}}
	steps := append(p.CheckLookups(), p.MapPart(part)...)
	if p.Batch() {
		one := Range{Part: 0, FirstRow: 0, Count: 1000}
		steps = append(steps, p.FindDuplicates([]string{PartKeysFile(0)}, []Range{one})...)
		steps = append(steps, p.RejectDuplicates(part, one))
	}
	out := make([]ExplainStep, len(steps))
	for i, s := range steps {
		out[i] = ExplainStep{Name: s.Name, SQL: s.SQL}
	}
	return out
}
