package tdstest

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
)

// keywords are passed on as they are. Whatever else stands before a parenthesis must be a function that is known.
var keywords = set("SELECT DISTINCT FROM WHERE AND OR NOT EXISTS AS INNER LEFT CROSS JOIN ON ORDER GROUP BY HAVING ASC DESC IS NULL IN BETWEEN LIKE " +
	"CASE WHEN THEN ELSE END INSERT INTO VALUES UPDATE SET DELETE UNION ALL CHECK DEFAULT REFERENCES")

// foreign are words of SQLite that T-SQL does not have where they would mean something.
var foreign = set("LIMIT RETURNING GLOB PRAGMA REPLACE ATTACH VACUUM EXPLAIN CONFLICT RAISE INDEXED REGEXP MATCH ISNULL NOTNULL")

// functions are those of T-SQL, with what does the same in SQLite.
var functions = map[string]string{
	"COUNT": "count", "COUNT_BIG": "count", "MIN": "min", "MAX": "max", "SUM": "sum", "COALESCE": "coalesce", "ISNULL": "ifnull", "LOWER": "lower", "UPPER": "upper",
	"LEN": "length", "SYSUTCDATETIME": "tsql_now", "DATABASEPROPERTYEX": "tsql_updateability", "CONCAT": "concat", "QUOTENAME": "tsql_quotename",
}

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// registerFunctions adds the functions of T-SQL that SQLite lacks.
var registerFunctions = sync.OnceValue(func() error {
	type scalar = func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error)
	for name, f := range map[string]scalar{
		"tsql_now": func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
			return time.Now().UTC().Format(storedTime), nil
		},
		"tsql_updateability": func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) { return "READ_WRITE", nil },
		"tsql_quotename": func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			return "[" + strings.ReplaceAll(fmt.Sprint(args[0]), "]", "]]") + "]", nil
		},
		"tsql_cast": func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			t, err := parseType(fmt.Sprint(args[1]))
			if err != nil {
				return nil, err
			}
			v, ok := t.cast(args[0])
			if !ok {
				return nil, fmt.Errorf("tsql_conversion failed to %s", t.base)
			}
			return v, nil
		},
	} {
		if err := sqlite.RegisterScalarFunction(name, -1, f); err != nil {
			return err
		}
	}
	return nil
})

// hints are the table hints that the connector writes. Only the first takes a lock that matters here.
var hints = set("UPDLOCK HOLDLOCK TABLOCKX")

// rewrite writes tokens of a query as SQLite takes them. An error is *Error.
func (s *session) rewrite(list []token) (string, error) {
	var b strings.Builder
	put := func(part string) {
		b.WriteByte(' ')
		b.WriteString(part)
	}
	for i := 0; i < len(list); i++ {
		t := list[i]
		next := func(n int) token {
			if i+n < len(list) {
				return list[i+n]
			}
			return token{kind: symbol}
		}
		switch {
		case t.kind == text:
			put("'" + strings.ReplaceAll(t.text, "'", "''") + "'")
		case t.kind == number:
			put(t.text)
		case t.kind == param && t.text == "@TRANCOUNT":
			put(fmt.Sprint(min(s.transaction, 1)))
		case t.kind == param:
			put("@" + t.text)
		case t.kind == symbol:
			if strings.ContainsAny(t.text, "`|:;?~{}\\") {
				return "", syntaxError(t.text)
			}
			put(t.text)
		case t.is("INTO") && next(1).named() && next(2).is("("):
			put("INTO " + quoteName(next(1).text))
			i++
		case t.is("HAS_PERMS_BY_NAME") && next(1).is("("):
			end := closing(list, i+1)
			args := commas(list[i+2 : max(end, i+2)])
			if len(args) != 3 {
				return "", syntaxError("HAS_PERMS_BY_NAME")
			}
			permission, err := s.rewrite(args[2])
			if err != nil {
				return "", err
			}
			put("(" + permission + " NOT IN ('" + strings.Join(s.server.denied, "', '") + "'))")
			i = end
		case t.is("WITH") && next(1).is("(") && hints[strings.ToUpper(next(2).text)]:
			i = closing(list, i+1)
		case t.is("CAST") && next(1).is("("):
			end := closing(list, i+1)
			as := find(list[:max(end, 0)], i+2, "AS")
			if as < 0 {
				return "", syntaxError("CAST")
			}
			inner, err := s.rewrite(list[i+2 : as])
			if err != nil {
				return "", err
			}
			typ, err := parseType(joined(list[as+1 : end]))
			if err != nil {
				return "", &Error{Number: 243, State: 1, Class: 16, Text: "Type " + joined(list[as+1:end]) + " is not a defined system type."}
			}
			put("tsql_cast(" + inner + ", '" + typ.String() + "')")
			i = end
		case t.is("COLLATE"):
			put("COLLATE BINARY")
			i++
		case t.is("REFERENCES") && next(1).named() && next(2).is("("):
			put("REFERENCES " + quoteName(next(1).text))
			i++
		case t.kind == word && next(1).is("(") && !keywords[strings.ToUpper(t.text)]:
			value, skip, err := s.function(t.text, next(2).is(")"))
			if err != nil {
				return "", err
			}
			put(value)
			i += skip
		case t.kind == word && keywords[strings.ToUpper(t.text)]:
			put(t.text)
		case t.kind == word && foreign[strings.ToUpper(t.text)]:
			return "", syntaxError(t.text)
		case next(1).is(".") && next(2).named() && s.isSchema(t.text):
			put(quoteName(physical(t.text, next(2).text)))
			i += 2
		default:
			put(quoteName(t.text))
		}
	}
	return b.String(), nil
}

// function writes a function's name, or the value of one that is about the session, for which skip tokens are left out.
func (s *session) function(called string, empty bool) (value string, skip int, err error) {
	upper := strings.ToUpper(called)
	if empty {
		switch upper {
		case "XACT_STATE":
			return fmt.Sprint(min(s.transaction, 1)), 2, nil
		case "ROWCOUNT_BIG":
			return fmt.Sprint(s.rows), 2, nil
		case "DB_NAME":
			return "'" + strings.ReplaceAll(s.database.name, "'", "''") + "'", 2, nil
		case "DB_ID":
			return fmt.Sprint(s.database.id), 2, nil
		}
	}
	if f, ok := functions[upper]; ok {
		return f, 0, nil
	}
	return "", 0, &Error{Number: 195, State: 10, Class: 15, Text: fmt.Sprintf("'%s' is not a recognized built-in function name.", called)}
}

func (s *session) isSchema(schema string) bool {
	s.database.mu.Lock()
	defer s.database.mu.Unlock()
	_, ok := s.database.schemas[strings.ToLower(schema)]
	return ok
}

// physical is the name of a table in SQLite.
func physical(schema, table string) string {
	if strings.EqualFold(schema, "dbo") {
		return table
	}
	if strings.EqualFold(schema, "sys") {
		schema, table = "sys", strings.ToLower(table)
	}
	return schema + "." + table
}

func joined(list []token) string {
	var b strings.Builder
	for _, t := range list {
		b.WriteString(t.text)
	}
	return b.String()
}

// update turns UPDATE t SET … FROM a AS t INNER JOIN b AS s ON c WHERE d around: SQLite updates what it names first.
func (s *session) update(list []token) (string, error) {
	from := find(list, 0, "FROM")
	if from < 0 {
		return s.rewrite(list)
	}
	join, on, where := find(list, from, "INNER"), find(list, from, "ON"), find(list, from, "WHERE")
	setAt := find(list, 0, "SET")
	if join < 0 || on < join || where < on || setAt < 0 || !list[join+1].is("JOIN") {
		return "", syntaxError("FROM")
	}
	parts := [][]token{list[from+1 : join], list[setAt+1 : from], list[join+2 : on], list[on+1 : where], list[where+1:]}
	text := make([]any, len(parts))
	for i, part := range parts {
		rewritten, err := s.rewrite(part)
		if err != nil {
			return "", err
		}
		text[i] = rewritten
	}
	return fmt.Sprintf("UPDATE%s SET%s FROM%s WHERE (%s) AND (%s)", text...), nil
}
