package tdstest

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// systemTypes are the rows of sys.types: id and name.
var systemTypes = map[string]int{
	"uniqueidentifier": 36, "date": 40, "time": 41, "datetime2": 42, "datetimeoffset": 43, "tinyint": 48, "smallint": 52, "int": 56, "smalldatetime": 58,
	"real": 59, "money": 60, "datetime": 61, "float": 62, "sql_variant": 98, "bit": 104, "decimal": 106, "smallmoney": 122, "bigint": 127, "varbinary": 165,
	"varchar": 167, "binary": 173, "char": 175, "nvarchar": 231, "nchar": 239, "xml": 241,
}

// catalog are the statements that make the views of a new database, as tables that DDL keeps.
func catalog(d *database) []string {
	list := []string{
		`CREATE TABLE "sys.schemas" (schema_id int_int, name text_nvarchar_128)`,
		`INSERT INTO "sys.schemas" VALUES (1, 'dbo'), (4, 'sys')`,
		`CREATE TABLE "sys.objects" (object_id int_int, name text_nvarchar_128 COLLATE NOCASE, schema_id int_int, type text_nchar_2 COLLATE RTRIM, is_ms_shipped int_bit)`,
		`CREATE VIEW "sys.tables" AS SELECT object_id, name, schema_id FROM "sys.objects" WHERE type = 'U '`,
		`CREATE TABLE "sys.columns" (object_id int_int, column_id int_int, name text_nvarchar_128, system_type_id int_int, max_length int_smallint,
			precision int_tinyint, scale int_tinyint, collation_name text_nvarchar_128, is_nullable int_bit, is_identity int_bit, is_computed int_bit,
			default_object_id int_int, generated_always_type int_tinyint, is_column_set int_bit)`,
		`CREATE TABLE "sys.types" (user_type_id int_int, name text_nvarchar_128)`,
		`CREATE TABLE "sys.indexes" (object_id int_int, index_id int_int, is_unique int_bit, is_disabled int_bit, has_filter int_bit, ignore_dup_key int_bit)`,
		`CREATE TABLE "sys.index_columns" (object_id int_int, index_id int_int, column_id int_int, key_ordinal int_tinyint)`,
		`CREATE TABLE "sys.triggers" (parent_id int_int, is_disabled int_bit)`,
		`CREATE TABLE "sys.security_policies" (object_id int_int, is_enabled int_bit)`,
		`CREATE TABLE "sys.security_predicates" (object_id int_int, target_object_id int_int)`,
		`CREATE TABLE "sys.database_permissions" (major_id int_int, permission_name text_nvarchar_128)`,
		`CREATE TABLE "sys.databases" (database_id int_int, snapshot_isolation_state int_tinyint, is_read_committed_snapshot_on int_bit)`,
		fmt.Sprintf(`INSERT INTO "sys.databases" VALUES (%d, 0, 0)`, d.id),
	}
	for base, id := range systemTypes {
		list = append(list, fmt.Sprintf(`INSERT INTO "sys.types" VALUES (%d, '%s')`, id, base))
	}
	return list
}

// tableDefinition is what a CREATE TABLE says.
type tableDefinition struct {
	schema, table string
	temporary     bool
	lines         []string
	columns       []columnDefinition
	unique        [][]string
}

type columnDefinition struct {
	name      string
	typ       sqlType
	collation string
	notNull   bool
	identity  bool
	defaulted bool
	set       bool
}

// parseTable reads a CREATE TABLE from its name on.
func (s *session) parseTable(list []token) (*tableDefinition, error) {
	d := &tableDefinition{schema: "dbo"}
	if len(list) > 2 && list[1].is(".") {
		d.schema = list[0].text
		list = list[2:]
	}
	if len(list) < 3 || !list[0].named() || !list[1].is("(") || closing(list, 1) != len(list)-1 {
		return nil, syntaxError("TABLE")
	}
	d.table = list[0].text
	d.temporary = strings.HasPrefix(d.table, "#")
	if !d.temporary && !s.isSchema(d.schema) {
		return nil, &Error{Number: 2760, State: 1, Class: 16, Text: fmt.Sprintf(`The specified schema name "%s" either does not exist or you do not have permission to use it.`, d.schema)}
	}
	for _, line := range commas(list[2 : len(list)-1]) {
		if err := s.parseLine(d, line); err != nil {
			return nil, err
		}
	}
	for _, key := range d.unique {
		d.limitKey(key)
	}
	return d, nil
}

// maxKey is how many bytes a key of an index that is not clustered can have.
const maxKey = 1700

// limitKey adds a constraint for keys whose texts together can be too long.
func (d *tableDefinition) limitKey(key []string) {
	var lengths []string
	most := 0
	for _, c := range d.columns {
		if c.typ.base == "nvarchar" && slices.Contains(key, c.name) {
			most += 2 * c.typ.length
			lengths = append(lengths, "coalesce(length("+quoteName(c.name)+"), 0)")
		}
	}
	if most > maxKey {
		d.lines = append(d.lines, fmt.Sprintf("CONSTRAINT %s CHECK (2 * (%s) <= %d)", quoteName("tsql_key PK__"+d.table), strings.Join(lengths, " + "), maxKey))
	}
}

// commas splits at commas outside of parentheses.
func commas(list []token) [][]token {
	var all [][]token
	for {
		at := find(list, 0, ",")
		if at < 0 {
			return append(all, list)
		}
		all = append(all, list[:at])
		list = list[at+1:]
	}
}

// parseLine reads a column or a constraint of a table.
func (s *session) parseLine(d *tableDefinition, line []token) error {
	if starts(line, "CONSTRAINT") || starts(line, "PRIMARY") || starts(line, "UNIQUE") || starts(line, "CHECK") || starts(line, "FOREIGN") {
		text, err := s.parseConstraint(d, line, "")
		d.lines = append(d.lines, text)
		return err
	}
	if len(line) < 2 || !line[0].named() {
		return syntaxError("TABLE")
	}
	c := columnDefinition{name: line[0].text}
	rest := line[2:]
	typ := line[1].text
	if starts(rest, "(") {
		end := closing(rest, 0)
		typ += joined(rest[:end+1])
		rest = rest[end+1:]
	}
	var err error
	if c.typ, err = parseType(typ); err != nil {
		return &Error{Number: 2715, State: 6, Class: 16, Text: fmt.Sprintf("Column, parameter, or variable #%d: Cannot find data type %s.", len(d.columns)+1, typ)}
	}
	text := quoteName(c.name) + " " + c.typ.storage()
	switch c.typ.base {
	case "nvarchar", "nchar", "varchar", "char":
		c.collation = "Latin1_General_100_BIN2"
		text += " COLLATE RTRIM"
	}
	for len(rest) > 0 {
		switch {
		case starts(rest, "COLLATE"):
			c.collation = rest[1].text
			rest = rest[2:]
		case starts(rest, "NOT", "NULL"):
			c.notNull = true
			rest = rest[2:]
		case starts(rest, "NULL"), starts(rest, "SPARSE"):
			rest = rest[1:]
		case starts(rest, "COLUMN_SET", "FOR", "ALL_SPARSE_COLUMNS"):
			c.set = true
			rest = rest[3:]
		case starts(rest, "IDENTITY"):
			c.identity = true
			rest = rest[closing(rest, 1)+1:]
		case starts(rest, "DEFAULT"):
			end := 2
			if rest[1].is("(") {
				end = closing(rest, 1) + 1
			}
			value, err := s.rewrite(rest[1:end])
			if err != nil {
				return err
			}
			text += " DEFAULT (" + value + ")"
			c.defaulted = true
			rest = rest[end:]
		default:
			constraint, err := s.parseConstraint(d, rest, c.name)
			if err != nil {
				return err
			}
			text += " " + constraint
			c.notNull = c.notNull || starts(rest, "PRIMARY")
			rest = nil
		}
	}
	if c.notNull && !c.identity {
		text += " NOT NULL"
	}
	d.columns = append(d.columns, c)
	d.lines = append(d.lines, text)
	return nil
}

// parseConstraint rewrites a constraint, of a column or of the table.
func (s *session) parseConstraint(d *tableDefinition, line []token, column string) (string, error) {
	text := ""
	if starts(line, "CONSTRAINT") {
		text = "CONSTRAINT " + quoteName(line[1].text) + " "
		line = line[2:]
	}
	var keyword string
	switch {
	case starts(line, "PRIMARY", "KEY"):
		keyword, line = "PRIMARY KEY", line[2:]
	case starts(line, "UNIQUE"):
		keyword, line = "UNIQUE", line[1:]
	case starts(line, "CHECK"), starts(line, "FOREIGN", "KEY"), starts(line, "REFERENCES"):
		rest, err := s.rewrite(dropForeignKey(line))
		if starts(line, "FOREIGN") {
			text += "FOREIGN KEY"
		}
		return text + rest, err
	default:
		return "", syntaxError(joined(line[:1]))
	}
	if starts(line, "NONCLUSTERED") || starts(line, "CLUSTERED") {
		line = line[1:]
	}
	if column != "" {
		d.unique = append(d.unique, []string{column})
		return text + keyword, nil
	}
	var names []string
	for _, part := range commas(line[1:max(closing(line, 0), 1)]) {
		names = append(names, part[0].text)
	}
	d.unique = append(d.unique, names)
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteName(n)
	}
	return text + keyword + " (" + strings.Join(quoted, ", ") + ")", nil
}

func dropForeignKey(line []token) []token {
	if starts(line, "FOREIGN") {
		return line[2:]
	}
	return line
}

// createTable creates a table and its rows in the catalog.
func (s *session) createTable(ctx context.Context, list []token) error {
	d, err := s.parseTable(list)
	if err != nil {
		return err
	}
	return s.change(ctx, func() error {
		what := "CREATE TABLE "
		if d.temporary {
			what = "CREATE TEMP TABLE "
		}
		if _, err := s.sqlite.ExecContext(ctx, what+quoteName(physical(d.schema, d.table))+" (\n"+strings.Join(d.lines, ",\n")+")"); err != nil || d.temporary {
			return err
		}
		return s.record(ctx, d)
	})
}

// record writes a new table to the catalog.
func (s *session) record(ctx context.Context, d *tableDefinition) error {
	var id int64
	if err := s.sqlite.QueryRowContext(ctx, `SELECT coalesce(max(object_id), 1000) + 1 FROM "sys.objects"`).Scan(&id); err != nil {
		return err
	}
	exec := func(query string, args ...any) error {
		_, err := s.sqlite.ExecContext(ctx, query, args...)
		return err
	}
	err := exec(`INSERT INTO "sys.objects" SELECT ?, ?, schema_id, 'U ', 0 FROM "sys.schemas" WHERE name = ? COLLATE NOCASE`, id, d.table, d.schema)
	position := make(map[string]int)
	for i, c := range d.columns {
		if err != nil {
			return err
		}
		position[c.name] = i + 1
		length := c.typ.length
		if length > 0 && (c.typ.base == "nvarchar" || c.typ.base == "nchar") {
			length *= 2
		}
		var collation any
		if c.collation != "" {
			collation = c.collation
		}
		err = exec(`INSERT INTO "sys.columns" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, ?)`, id, i+1, c.name, systemTypes[c.typ.base], length,
			c.typ.precision, c.typ.scale, collation, !c.notNull, c.identity, c.defaulted, c.set)
	}
	for i, names := range d.unique {
		if err == nil {
			err = exec(`INSERT INTO "sys.indexes" VALUES (?, ?, 1, 0, 0, 0)`, id, i+1)
		}
		for k, n := range names {
			if err == nil {
				err = exec(`INSERT INTO "sys.index_columns" VALUES (?, ?, ?, ?)`, id, i+1, position[n], k+1)
			}
		}
	}
	return err
}

// change runs DDL under the writer's lock, as one.
func (s *session) change(ctx context.Context, f func() error) error {
	release, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer release()
	if s.transaction != 0 {
		return f()
	}
	if _, err := s.sqlite.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	end := "COMMIT"
	if err = f(); err != nil {
		end = "ROLLBACK"
	}
	if _, err2 := s.sqlite.ExecContext(context.WithoutCancel(ctx), end); err == nil {
		err = err2
	}
	return err
}
