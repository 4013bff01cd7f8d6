package connector_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

var (
	postgres = connector.QuerySyntax{Param: func(n int) string { return fmt.Sprintf("$%d", n) }, EscapeStrings: true, DollarQuotes: true, NestedComments: true}
	sqlite   = connector.QuerySyntax{Param: func(n int) string { return fmt.Sprintf("?%d", n) }, Backticks: true, Brackets: true, NamedParams: true}
	mysql    = connector.QuerySyntax{Param: func(int) string { return "?" }, Backslashes: `'"`, Backticks: true, LineComments: []string{"#"}, BlankAfterDashes: true, NamedParams: true}
)

func TestPlaceholdersAreBoundAndNothingElseIsTouched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		syntax      connector.QuerySyntax
		query, want string
	}{
		{postgres, "SELECT :source_path", "SELECT  $1 "},
		{postgres, "SELECT 1 WHERE a = :source_path OR b=:source_path;  -- end", "SELECT 1 WHERE a =  $1  OR b= $2   -- end"},
		{postgres, "SELECT ':source_path', ':''source_path', \":source_path\", :source_path", "SELECT ':source_path', ':''source_path', \":source_path\",  $1 "},
		{postgres, `SELECT E'\':source_path', 'a\', :source_path`, `SELECT E'\':source_path', 'a\',  $1 `},
		{postgres, "SELECT $$:source_path$$, $a$ $$ :source_path $a$, :source_path", "SELECT $$:source_path$$, $a$ $$ :source_path $a$,  $1 "},
		{postgres, "SELECT a$b, :source_path -- :source_path\n/* :source_path /* */ */", "SELECT a$b,  $1  -- :source_path\n/* :source_path /* */ */"},
		{postgres, "SELECT x::source_path, :source_path::text, :source_pathx", "SELECT x::source_path,  $1 ::text, :source_pathx"},
		{postgres, "SELECT data ? 'a' AND data @> '{}' AND a[1:2] = :source_path", "SELECT data ? 'a' AND data @> '{}' AND a[1:2] =  $1 "},
		{sqlite, "SELECT [:source_path], `:source_path`, 'a\\', :source_path", "SELECT [:source_path], `:source_path`, 'a\\',  ?1 "},
		{sqlite, "SELECT [a]] :source_path], :source_path", "SELECT [a]] :source_path],  ?1 "},
		{mysql, `SELECT 'a\' :source_path', "\" :source_path", ` + "`\\`, :source_path", `SELECT 'a\' :source_path', "\" :source_path", ` + "`\\`,  ? "},
		{mysql, "SELECT 1 # :source_path\n, 2--:source_path -- :source_path\n", "SELECT 1 # :source_path\n, 2-- ?  -- :source_path\n"},
		{sqlite, "SELECT :source_path /* /* */ , :source_path", "SELECT  ?1  /* /* */ ,  ?2 "},
	} {
		q, err := c.syntax.Bind(c.query, true)
		require.NoError(t, err, c.query)
		require.Equal(t, c.want, q.Text)
	}
}

func TestAQueryThatCannotBeBoundIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		syntax        connector.QuerySyntax
		query, reason string
		bound         bool
	}{
		{postgres, "SELECT 1", "QUERY_WITHOUT_PLACEHOLDER", true},
		{postgres, "SELECT ':source_path'", "QUERY_WITHOUT_PLACEHOLDER", true},
		{postgres, "SELECT :source_path", "QUERY_WITH_PLACEHOLDER", false},
		{postgres, "SELECT $1, :source_path", "QUERY_PARAMETER", true},
		{postgres, "SELECT ':source_path", "QUERY_UNTERMINATED", true},
		{postgres, "SELECT /* /* */ :source_path", "QUERY_UNTERMINATED", true},
		{postgres, "SELECT $x$ :source_path", "QUERY_UNTERMINATED", true},
		{postgres, "SELECT :source_path; DROP TABLE x", "QUERY_STATEMENTS", true},
		{postgres, "SELECT :source_path\x00", "QUERY_ENCODING", true},
		{sqlite, "SELECT ?, :source_path", "QUERY_PARAMETER", true},
		{sqlite, "SELECT @a, :source_path", "QUERY_PARAMETER", true},
		{sqlite, "SELECT :other, :source_path", "QUERY_PARAMETER", true},
		{sqlite, "SELECT :source_path; ATTACH 'x' AS y", "QUERY_STATEMENTS", true},
	} {
		_, err := c.syntax.Bind(c.query, c.bound)
		var e *connector.Error
		require.ErrorAs(t, err, &e, c.query)
		require.Equal(t, c.reason, e.Reason, c.query)
		require.Equal(t, connector.KindInvalid, e.Kind)
	}
}

// FuzzBind holds that binding never loses or adds text beside the parameters.
func FuzzBind(f *testing.F) {
	for _, seed := range []string{"SELECT :source_path", "SELECT ':source_path' -- x\n;", "E'\\'' $$ $$ \"a\"\"b\" /* */ [x] `y` ::source_path"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "⟦") {
			t.Skip("the mark of parameters is in the query")
		}
		for _, syntax := range []connector.QuerySyntax{postgres, sqlite, mysql} {
			syntax.Param = func(n int) string { return fmt.Sprintf("⟦%d⟧", n) }
			q, err := syntax.Bind(query, true)
			if err != nil {
				continue
			}
			back := q.Text
			for n := 1; n <= q.Params; n++ {
				before := back
				back = strings.Replace(back, " "+syntax.Param(n)+" ", connector.Placeholder, 1)
				require.NotEqual(t, before, back)
			}
			// Only a final semicolon may be missing.
			require.Equal(t, strings.ReplaceAll(query, ";", ""), strings.ReplaceAll(back, ";", ""))
			require.LessOrEqual(t, len(query)-len(back), strings.Count(query, ";"))
		}
	})
}
