package compile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

// Files of a closing task's directory. [Plan.RejectDuplicates] reads the hits.
const (
	DropsFile = "drops.parquet"
	HitsFile  = "hits.parquet"
)

// Names of steps whose rows a closing task reads.
const (
	StepParts    = "count hits by part"
	StepWarnings = "count the rows that unique rules warn of"
)

// PartKeysFile names the keys of a part in a closing task's directory.
func PartKeysFile(part int32) string { return fmt.Sprintf("keys-%05d.parquet", part) }

// PartRejectsFile names the rejects of one part in a closing task's directory.
func PartRejectsFile(part int32) string { return fmt.Sprintf("rejects-%05d.parquet", part) }

// Range is the rows of one part.
type Range struct {
	Part            int32
	FirstRow, Count int64
}

// FindDuplicates returns the steps that look for duplicates over the keys of all parts, of which files are the names. They
// write [DropsFile], and keep the hits for [Plan.RejectDuplicates].
func (p *Plan) FindDuplicates(files []string, ranges []Range) []engine.Step {
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = cast.Quote(f)
	}
	steps := []engine.Step{{Name: "read the keys", SQL: "CREATE TEMP VIEW keys AS SELECT * FROM read_parquet([" + strings.Join(quoted, ", ") + "])"}}
	live := "keys"
	if p.deduplicates() {
		live = "live"
		keep := map[string]string{"keep_first": "min", "keep_last": "max"}[p.duplicates]
		steps = append(steps, p.findAlike(0, "keys"),
			engine.Step{Name: "drop rows with the key of another", SQL: "CREATE TEMP TABLE dedup AS\nSELECT k._row FROM " + p.duplicatesOf(0, keep)},
			engine.Step{Name: "look at the others", SQL: "CREATE TEMP VIEW live AS SELECT * FROM keys ANTI JOIN dedup USING (_row)"})
	} else {
		steps = append(steps, engine.Step{Name: "drop nothing", SQL: "CREATE TEMP TABLE dedup (_row BIGINT)"})
	}
	var hits []string
	for i, u := range p.uniques() {
		if i == 0 && p.deduplicates() {
			continue
		}
		table := fmt.Sprintf("dup_%d", i)
		steps = append(steps, p.findAlike(i, live), engine.Step{Name: "find rows that are equal in " + strings.Join(u.unique, ", "), SQL: "CREATE TEMP TABLE " + table + " AS\nSELECT k._row, " +
			p.recordItem("k.") + strconv.Itoa(i) + " AS rule, d.keep, " + p.keyText(u) + " AS value FROM " + p.duplicatesOf(i, "min")})
		if u.policy != policyWarn {
			hits = append(hits, "SELECT * FROM "+table)
		}
	}
	if len(hits) == 0 {
		hits = []string{"SELECT 0::BIGINT AS _row, " + p.recordNull() + "0 AS rule, 0::BIGINT AS keep, '' AS value WHERE false"}
	}
	steps = append(steps, engine.Step{Name: "collect what is rejected", SQL: "CREATE TEMP TABLE hits AS\n" + strings.Join(hits, "\nUNION ALL ")})
	steps = append(steps, p.dropSteps()...)
	return append(steps, p.closingSteps(ranges)...)
}

// deduplicates reports whether rows with equal keys are dropped rather than rejected.
func (p *Plan) deduplicates() bool {
	return p.duplicates == "keep_first" || p.duplicates == "keep_last"
}

// alikeTable names the rows whose hash of a rule's columns is that of another row.
func alikeTable(i int) string { return fmt.Sprintf("alike_%d", i) }

// findAlike is the step that keeps the candidates of a rule: to group hashes costs half of what grouping the keys does.
func (p *Plan) findAlike(i int, from string) engine.Step {
	u := p.uniques()[i]
	var present []string
	names := p.keyNames(u)
	for _, k := range names {
		present = append(present, k+" IS NOT NULL")
	}
	hash, where := "hash("+strings.Join(names, ", ")+")", strings.Join(present, " AND ")
	return engine.Step{Name: "find rows that hash alike in " + strings.Join(u.unique, ", "), SQL: "CREATE TEMP TABLE " + alikeTable(i) + " AS\nSELECT k.* FROM " + from +
		" AS k\n  SEMI JOIN (SELECT " + hash + " AS alike FROM " + from + " WHERE " + where + " GROUP BY alike HAVING count(*) > 1) AS a ON " + hash + " = a.alike\n  WHERE " + where}
}

// duplicatesOf writes the rows k that are equal to another in the columns of a rule, with the one d.keep that stays.
func (p *Plan) duplicatesOf(i int, keep string) string {
	names := p.keyNames(p.uniques()[i])
	var equal []string
	for _, k := range names {
		equal = append(equal, "k."+k+" = d."+k)
	}
	group := strings.Join(names, ", ")
	return alikeTable(i) + " AS k\n  JOIN (SELECT " + group + ", " + keep + "(_row) AS keep FROM " + alikeTable(i) +
		" GROUP BY " + group + " HAVING count(*) > 1) AS d ON " + strings.Join(equal, " AND ") + "\n  WHERE k._row <> d.keep"
}

// keyNames are a rule's columns as keys files call them.
func (p *Plan) keyNames(u *rule) []string {
	all := p.keyColumns()
	names := make([]string, 0, len(u.unique))
	for _, name := range u.unique {
		for i, n := range all {
			if n == name {
				names = append(names, fmt.Sprintf("k%d", i))
			}
		}
	}
	return names
}

// keyText writes the values of a rule's columns for people.
func (p *Plan) keyText(u *rule) string {
	var items []string
	for i, k := range p.keyNames(u) {
		item := "CAST(k." + k + " AS VARCHAR)"
		for _, c := range p.columns {
			if c.name == u.unique[i] && cast.SQLType(c.typ) == "BLOB" {
				item = "to_base64(k." + k + ")"
			}
		}
		items = append(items, item)
	}
	return "left(concat_ws(', ', " + strings.Join(items, ", ") + "), " + itoa(maxValue) + ")"
}

func (p *Plan) recordItem(prefix string) string {
	if !p.source.Unnested {
		return ""
	}
	return prefix + RecordColumn + ", "
}

func (p *Plan) recordNull() string {
	if !p.source.Unnested {
		return ""
	}
	return "0::BIGINT AS " + RecordColumn + ", "
}

// dropSteps list the rows that egress leaves out. A record of several rows is rejected whole.
func (p *Plan) dropSteps() []engine.Step {
	drops := "SELECT _row FROM hits UNION SELECT _row FROM dedup"
	if p.source.Unnested {
		drops = "SELECT _row FROM keys SEMI JOIN hits USING (_record) UNION SELECT _row FROM dedup"
	}
	return []engine.Step{
		{Name: "list the rows to leave out", SQL: "CREATE TEMP TABLE drops AS\n" + drops},
		{Name: "write the list", SQL: copyTo("SELECT _row FROM drops ORDER BY _row", DropsFile)},
		{Name: "keep the hits", SQL: copyTo("SELECT * FROM hits ORDER BY _row, rule", HitsFile)},
	}
}

// closingSteps answer with the first row that fails the run, warnings, hits by part, and the summary.
func (p *Plan) closingSteps(ranges []Range) []engine.Step {
	var steps []engine.Step
	var fatal []string
	warnings := []string{"1"}
	for i, u := range p.uniques() {
		switch u.policy {
		case policyFail:
			fatal = append(fatal, strconv.Itoa(i))
		case policyWarn:
			warnings = append(warnings, fmt.Sprintf("(SELECT count(*) FROM dup_%d)", i))
		}
	}
	if len(fatal) > 0 {
		steps = append(steps, engine.Step{Name: StepFatal, Rows: true,
			SQL: "SELECT _row, rule FROM hits WHERE rule IN (" + strings.Join(fatal, ", ") + ") ORDER BY _row, rule LIMIT 1"})
	}
	values := make([]string, 0, len(ranges))
	for _, r := range ranges {
		values = append(values, fmt.Sprintf("(%d, %d, %d)", r.Part, r.FirstRow, r.FirstRow+r.Count))
	}
	rejected := "SELECT count(DISTINCT _row) FROM hits"
	deduplicated := "SELECT count(*) FROM dedup ANTI JOIN hits USING (_row)"
	if p.source.Unnested {
		rejected = "SELECT count(DISTINCT _record) FROM hits"
		deduplicated = "SELECT count(*) FROM (SELECT k._record FROM keys AS k LEFT JOIN dedup AS d ON k._row = d._row GROUP BY k._record HAVING count(*) = count(d._row)) AS r ANTI JOIN hits USING (_record)"
	}
	return append(steps,
		engine.Step{Name: StepWarnings, Rows: true, SQL: "SELECT " + strings.Join(warnings, ", ")},
		engine.Step{Name: StepParts, Rows: true, SQL: "SELECT p.part, count(*) FROM (SELECT DISTINCT _row FROM hits) AS h JOIN (VALUES " + strings.Join(values, ", ") +
			") AS p(part, first, past) ON h._row >= p.first AND h._row < p.past GROUP BY p.part ORDER BY p.part"},
		engine.Step{Name: StepSummary, Rows: true, SQL: "SELECT (" + rejected + "),\n  (" + deduplicated + "),\n  (SELECT count(*) FROM drops),\n" +
			"  (SELECT coalesce(sum(k.h::HUGEINT), 0)::VARCHAR FROM keys AS k SEMI JOIN drops USING (_row))"})
}

// RejectDuplicates returns the step that writes the rejects of one part to [PartRejectsFile]. It reads the part's files
// and what [Plan.FindDuplicates] kept.
func (p *Plan) RejectDuplicates(part Part, r Range) engine.Step {
	var message strings.Builder
	var about, rules strings.Builder
	for i, u := range p.uniques() {
		fmt.Fprintf(&message, " WHEN %d THEN %s", i, cast.Quote(u.message))
		fmt.Fprintf(&rules, " WHEN %d THEN %s", i, cast.Quote(u.name))
		name := ""
		if len(u.unique) == 1 {
			name = u.unique[0]
		}
		fmt.Fprintf(&about, " WHEN %d THEN %s", i, cast.Quote(name))
	}
	entry := "struct_pack(\"column\" := CASE rule" + about.String() + " END, \"rule\" := CASE rule" + rules.String() +
		" END, \"type\" := 'unique', \"message\" := CASE rule" + message.String() + " END || '; row ' || keep || ' stays', \"value\" := value)"
	// One rule hits a row once.
	hits := "SELECT _row, [" + entry + "] AS errors FROM "
	group := ""
	switch {
	case p.source.Unnested:
		hits, group = "SELECT min(_row) AS _row, list("+entry+" ORDER BY _row, rule) AS errors FROM ", " GROUP BY _record"
	case len(p.uniques()) > 1:
		hits, group = "SELECT _row, list("+entry+" ORDER BY _row, rule) AS errors FROM ", " GROUP BY _row"
	}
	staged := p.staged(part)
	line, byteOffset, from := p.location(part, "((SELECT "+staged.row+" AS _row, "+p.recordColumns()+" FROM "+staged.from+") AS s\n  JOIN ("+hits+
		"read_parquet("+cast.Quote(HitsFile)+") WHERE _row >= "+itoa(r.FirstRow)+" AND _row < "+itoa(r.FirstRow+r.Count)+group+") AS r ON s._row = r._row)")
	// The files of the parts follow each other in the order of rows, so that each is sorted and no more.
	query := "SELECT r._row, " + fileOf(part.File) + " AS file, " + line + " AS line, " + byteOffset + " AS byte, 'transform' AS stage, " +
		"CAST(to_json(r.errors) AS VARCHAR) AS errors, " + p.record() + " AS record, NULL::BLOB AS raw\nFROM " + from + "\nORDER BY r._row"
	return engine.Step{Name: "write the rejects of a part", SQL: copyTo(query, PartRejectsFile(r.Part))}
}

// recordColumns are the columns that the original record is built from.
func (p *Plan) recordColumns() string {
	if p.source.Raw {
		return p.sourceColumn(RawColumn)
	}
	var items []string
	for i := range p.aliases {
		if p.source.layout()[i] != RecordColumn || !p.source.Unnested {
			items = append(items, "s."+cast.Ident(p.aliases[i]))
		}
	}
	if len(items) == 0 {
		return "NULL AS nothing"
	}
	return strings.Join(items, ", ")
}

// JoinRejects returns the step that joins the rejects of the parts, in their order, to [RejectsFile].
func JoinRejects(parts []int32) engine.Step {
	files := make([]string, len(parts))
	for i, part := range parts {
		files[i] = cast.Quote(PartRejectsFile(part))
	}
	return engine.Step{Name: "join the rejects", SQL: copyTo("SELECT * FROM read_parquet(["+strings.Join(files, ", ")+"])", RejectsFile)}
}
