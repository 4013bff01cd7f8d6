package sqlserver

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func TestPlaceholdersAreBoundByTheRulesOfTSQL(t *testing.T) {
	t.Parallel()
	query, err := syntax.Bind("SELECT [a]] :source_path], N':source_path', \":source_path\" /* /* :source_path */ */ FROM t WHERE a = :source_path -- :source_path\nOR b = :source_path", true)
	require.NoError(t, err)
	require.Equal(t, "SELECT [a]] :source_path], N':source_path', \":source_path\"   FROM t WHERE a =  @p1   \nOR b =  @p2 ", query.Text, "what is judged has no comments")
	require.Equal(t, 2, query.Params)
	for query, reason := range map[string]string{
		"SELECT @p1, :source_path": "QUERY_PARAMETER", "SELECT @x, :source_path": "QUERY_PARAMETER", "SELECT ?, :source_path": "QUERY_PARAMETER",
		"SELECT @@TRANCOUNT, :source_path": "QUERY_PARAMETER", "SELECT :source_path; DROP TABLE t": "QUERY_STATEMENTS", "SELECT [:source_path": "QUERY_UNTERMINATED",
	} {
		_, err := syntax.Bind(query, true)
		require.Equal(t, reason, refusal(t, err).Reason, query)
	}
}

func refusal(t *testing.T, err error) *connector.Error {
	t.Helper()
	var e *connector.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connector.KindInvalid, e.Kind)
	require.NotEmpty(t, e.Next)
	return e
}

// rightQueries are queries of all the forms that a SELECT of T-SQL has.
var rightQueries = []string{
	"SELECT 1 AS x", "select id from t;", " \n\t(SELECT 1 AS x)", "SELECT a.[delete], a.\"insert\", [set] FROM [update] AS a", "SELECT 'DELETE FROM t COMMIT', N'it''s; EXEC x' AS x FROM t",
	"SELECT id -- DELETE FROM t\nFROM t /* COMMIT /* EXEC */ DROP */", "SELECT id FROM t --\rWHERE id = 1", "SELECT deleted, updated_at, created, inserted, executed, begin_date, end_date, use_count, setting, kill_count, truncated FROM audit",
	"SELECT name, type, state, value, next, path, status, level, action, output, matched, receive, send, get, enable, disable, [key] FROM t",
	"WITH a AS (SELECT 1 AS x) SELECT x FROM a", "WITH a (x, y) AS (SELECT 1, 2), b AS (SELECT x FROM a) SELECT * FROM b", "WITH a AS (SELECT 1 AS x) (SELECT x FROM a) UNION ALL SELECT 2",
	"WITH r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT n FROM r OPTION (MAXRECURSION 9)",
	"WITH XMLNAMESPACES ('urn:x' AS x) SELECT d.value('(/x:a)[1]', 'int') AS v FROM t", "WITH XMLNAMESPACES ('urn:x' AS x), c AS (SELECT d FROM t) SELECT d FROM c",
	"SELECT 1 AS x UNION SELECT 2 UNION ALL SELECT 3 EXCEPT SELECT 4 INTERSECT SELECT 5", "(SELECT 1 AS x) UNION ALL (SELECT 2) EXCEPT SELECT 3", "SELECT x FROM ((SELECT 1 AS x) UNION (SELECT 2)) AS u",
	"SELECT (SELECT MAX(id) FROM u) AS m, CASE WHEN EXISTS (SELECT 1 FROM u) THEN CASE a WHEN 1 THEN 'a' ELSE 'b' END ELSE 'c' END AS s FROM t WHERE id IN (SELECT id FROM u) AND v > ALL (SELECT v FROM u)",
	"SELECT t.id, u.v FROM t CROSS APPLY (SELECT TOP (1) v FROM u WHERE u.id = t.id ORDER BY v DESC) AS u OUTER APPLY fn(t.id) AS f",
	"SELECT TOP 10 PERCENT WITH TIES id, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n FROM t ORDER BY n OFFSET 5 ROWS FETCH NEXT 10 ROWS ONLY",
	"SELECT id FROM t FOR JSON PATH, ROOT('rows'), INCLUDE_NULL_VALUES", "SELECT id FROM t FOR XML AUTO, ELEMENTS", "SELECT id FROM t FOR SYSTEM_TIME AS OF '2024-01-01' AS h", "SELECT id FROM t FOR SYSTEM_TIME BETWEEN '2024-01-01' AND '2025-01-01'",
	"SELECT id FROM t INNER MERGE JOIN u ON t.id = u.id", "SELECT id FROM t JOIN u ON t.id = u.id OPTION (MERGE JOIN, HASH UNION, FAST 10, RECOMPILE, USE HINT ('DISABLE_OPTIMIZER_ROWGOAL'))", "SELECT id FROM t OPTION (MERGE UNION)", "SELECT id FROM t OPTION (USE PLAN N'<x/>')",
	"SELECT LEFT(a, 3) AS l, RIGHT(a, 3) AS r, REPLACE(a, 'DELETE', '') AS x, COALESCE(a, b) AS c, NULLIF(a, b) AS n, CONVERT(int, a) AS i, TRY_CONVERT(int, a) AS j, IIF(a = 1, 2, 3) AS k, CHOOSE(1, 2) AS o FROM t",
	"SELECT id FROM t WITH (NOLOCK, INDEX (ix)) WHERE CONTAINS(a, 'x') AND FREETEXT(b, 'y')", "SELECT k.[KEY], k.RANK FROM CONTAINSTABLE(t, a, 'x') AS k", "SELECT id FROM t TABLESAMPLE (10 PERCENT) REPEATABLE (1)",
	"SELECT p.[1], p.[2] FROM t PIVOT (SUM(v) FOR m IN ([1], [2])) AS p", "SELECT c, v FROM t UNPIVOT (v FOR c IN (a, b)) AS u", "SELECT a, SUM(v) AS s FROM t GROUP BY GROUPING SETS ((a), ()) HAVING SUM(v) > 0", "SELECT a, SUM(v) AS s FROM t GROUP BY ROLLUP (a)",
	"SELECT id FROM dbo.t AS a, [my db].[dbo].[it's] AS b, db..u AS c", "SELECT SYSDATETIMEOFFSET() AT TIME ZONE 'UTC' AS x", "SELECT a COLLATE Latin1_General_BIN2 AS a FROM t", "SELECT $identity, $rowguid FROM t", "SELECT id FROM t WHERE $PARTITION.pf(id) = 1",
	"SELECT $12 AS a, $12.50 AS b, -$1 AS c, $ AS d, 0xFF AS e, 0x AS f, 1e5 AS g, 1.5E-3 AS h, .5 AS i, 1. AS j, 1e AS k", "SELECT STRING_AGG(a, ',') WITHIN GROUP (ORDER BY a) AS s FROM t", "SELECT j.id FROM t CROSS APPLY OPENJSON(t.doc) WITH (id int '$.id') AS j",
	"SELECT * FROM OPENROWSET(BULK 'a.csv', FORMAT = 'CSV') AS r", "SELECT {d '2024-01-01'} AS d, {ts '2024-01-01 00:00:00'} AS ts, {fn NOW()} AS n", "SELECT geography::Point(1, 2, 4326).Lat AS lat", "SELECT x.n.value('.', 'int') AS v FROM t CROSS APPLY doc.nodes('/a') AS x(n)",
	"SELECT GRÖSSE, größe, a$set, user$update, 名前 FROM 表", "SELECT id FROM ##shared", "SELECT IDENTITYCOL, CURRENT_TIMESTAMP AS now, USER AS u, SESSION_USER AS s FROM t", "SELECT next, value FROM t FOR JSON PATH", "SELECT DISTINCT v FROM (VALUES (1), (2)) AS t (v)",
	"SELECT NULL AS x WHERE 1 = 1 AND NOT a LIKE 'x!%' ESCAPE '!' OR a IS NOT NULL", "SELECT a END_ FROM t", "SELECT id FROM f(DEFAULT, 1)",
}

func TestAQueryThatOnlyReadsIsTakenInEveryForm(t *testing.T) {
	t.Parallel()
	for _, query := range rightQueries {
		for _, text := range []string{query, strings.ToLower(query), "/* first */ " + query, "-- first\n" + query} {
			_, err := syntax.Bind(text, false)
			require.NoError(t, err, text)
		}
	}
}

func TestAQueryThatIsNotOneSelectIsRefusedByName(t *testing.T) {
	t.Parallel()
	for query, word := range map[string]string{
		"SELECT id FROM t DELETE FROM t COMMIT": "DELETE", "SELECT id FROM t WHERE x = 'a'delete from t": "DELETE", "SELECT [id]DELETE FROM t": "DELETE", "SELECT id FROM t COMMIT": "COMMIT",
		"SELECT id FROM t/**/COMMIT/**/SELECT 1": "COMMIT", "SELECT id FROM t--\nROLLBACK": "ROLLBACK", "SELECT id FROM t --\rROLLBACK": "ROLLBACK", "SELECT 1.DELETE FROM t": "DELETE", "SELECT $DELETE FROM t": "DELETE", "SELECT £DELETE FROM t": "DELETE",
		"SELECT id FROM t\u00a0DELETE\u00a0FROM t": "DELETE", "SELECT id FROM t\u3000DELETE\u3000FROM t": "DELETE", "SELECT id FROM t\u200bDELETE\ufeffFROM t": "DELETE", "SELECT id FROM t\x1fDELETE FROM t": "DELETE", "SELECT 1🙂DELETE FROM t": "DELETE",
		"EXEC sp_who": "EXEC", "sp_who": "SP_WHO", "SELECT 1 AS x EXECUTE sp_who": "EXECUTE", "SELECT 1 AS x {call sp_who}": "{", "SELECT 1 AS x { CALL sp_who }": "{", "SELECT 1 AS x {rpc sp_who}": "{", "DELETE FROM t": "DELETE", "[sp_who]": "[", "": "",
		"INSERT INTO t VALUES (1)": "INSERT", "SELECT 1 AS x INTO u": "INTO", "MERGE t USING u ON 1 = 1 WHEN MATCHED THEN DELETE": "MERGE", "SELECT 1 AS x MERGE INTO t USING u ON 1 = 1 WHEN MATCHED THEN DELETE": "MERGE",
		"WITH a AS (SELECT 1 AS x) DELETE FROM a": "DELETE", "WITH a AS (SELECT 1 AS x) UPDATE a SET x = 2": "UPDATE", "SELECT * FROM (DELETE FROM t OUTPUT deleted.id) AS d": "DELETE",
		"SELECT 1 AS x BEGIN TRANSACTION": "BEGIN", "SELECT 1 AS x SAVE TRAN a": "SAVE", "SELECT 1 AS x KILL 51": "KILL", "SELECT 1 AS x SHUTDOWN": "SHUTDOWN", "SELECT 1 AS x RECONFIGURE": "RECONFIGURE", "SELECT 1 AS x DBCC FREEPROCCACHE": "DBCC",
		"SELECT 1 AS x BACKUP DATABASE d TO DISK = 'x'": "BACKUP", "SELECT 1 AS x RESTORE DATABASE d": "RESTORE", "SELECT 1 AS x USE master": "USE", "SELECT 1 AS x USE hint": "USE", "SELECT 1 AS x SET LANGUAGE German": "SET", "SELECT 1 AS x DECLARE c CURSOR": "DECLARE",
		"SELECT 1 AS x UPDATE t SET a = 1": "UPDATE", "SELECT 1 AS x TRUNCATE TABLE t": "TRUNCATE", "SELECT 1 AS x CREATE TABLE u (a int)": "CREATE", "SELECT 1 AS x ALTER TABLE t ADD a int": "ALTER", "SELECT 1 AS x DROP TABLE t": "DROP", "SELECT 1 AS x GRANT ALL TO public": "GRANT",
		"SELECT 1 AS x REVOKE ALL FROM u": "REVOKE", "SELECT 1 AS x DENY ALL TO u": "DENY", "SELECT 1 AS x WAITFOR DELAY '1:00'": "WAITFOR", "SELECT 1 AS x IF 1 = 1 DROP TABLE t": "IF", "SELECT 1 AS x WHILE 1 = 1 BREAK": "WHILE", "SELECT 1 AS x DISABLE TRIGGER a ON t": "TRIGGER",
		"SELECT 1 AS x REVERT": "REVERT", "SELECT 1 AS x SETUSER": "SETUSER", "SELECT 1 AS x CHECKPOINT": "CHECKPOINT", "SELECT 1 AS x PRINT 'x'": "PRINT", "SELECT 1 AS x RAISERROR ('x', 16, 1)": "RAISERROR", "SELECT 1 AS x WRITETEXT t.a 0x1 'x'": "WRITETEXT",
		"SELECT 1 AS x UPDATETEXT t.a 0x1 0 0 'x'": "UPDATETEXT", "SELECT 1 AS x BULK INSERT t FROM 'x'": "BULK", "SELECT 1 AS x END CONVERSATION '1'": "END", "SELECT (CASE WHEN 1 = 1 THEN 1 END) END CONVERSATION '1'": "END", "SELECT 1 AS x OPEN c": "OPEN",
		"SELECT * FROM OPENQUERY(other, 'DELETE FROM t')": "OPENQUERY", "SELECT * FROM OPENROWSET('MSOLEDBSQL', 'x', 'DELETE FROM t')": "OPENROWSET", "SELECT * FROM OPENDATASOURCE('MSOLEDBSQL', 'x').d.dbo.t": "OPENDATASOURCE",
		"SELECT NEXT VALUE FOR dbo.s AS n": "NEXT VALUE FOR", "SELECT next/**/value\nfor s AS n": "NEXT VALUE FOR", "SELECT 1 AS x ADD SIGNATURE TO p BY CERTIFICATE c": "ADD", "SELECT 1 AS x ınsert INTO t VALUES (1)": "INSERT",
		"SELECT 1 AS x ｄｅｌｅｔｅ FROM t": "DELETE", "SELECT 1 AS x \u212aILL 51": "KILL", "SELECT １DELETE FROM t": "1DELETE",
		"SELECT id FROM t WHERE x = 1DELETE FROM t": "1DELETE", "SELECT 0xDELETE FROM t": "0XDELETE", "SELECT 1e5COMMIT": "1E5COMMIT", "SELECT $12KILL 51": "12KILL", "SELECT 1.5COMMIT": "5COMMIT", "SELECT 0xINSERT INTO t VALUES (1)": "0XINSERT",
	} {
		_, err := syntax.Bind(query, false)
		e := refusal(t, err)
		require.Contains(t, []string{"QUERY_NOT_SELECT", "QUERY_SYNTAX"}, e.Reason, query)
		require.Equal(t, word, e.Meta["word"], query)
		if e.Reason == "QUERY_NOT_SELECT" {
			require.Contains(t, e.Next, "write one SELECT", query)
			require.Contains(t, e.Next, "view", query)
			require.Equal(t, statements[word], strings.Contains(e.Next, "["+strings.ToLower(word)+"]"), query)
		}
	}
}

func TestASecondSelectIsRefused(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"SELECT 1 AS x SELECT 2 AS y", "SELECT 1 AS x; SELECT 2 AS y", "SELECT id FROM t WHERE id = 1 SELECT 2 AS y", "(SELECT 1 AS x) SELECT 2 AS y", "SELECT 1 UNION (SELECT 2) SELECT 3", "SELECT 1 UNION SELECT 2 SELECT 3",
		"WITH a AS (SELECT 1 AS x) SELECT x FROM a SELECT 2", "WITH a AS (SELECT 1 AS x) (SELECT x FROM a) SELECT 2", "SELECT 1 AS x WITH a AS (SELECT 1 AS x) SELECT 2", "SELECT 1 AS x FROM (SELECT 1 AS y UNION ALL SELECT 2) AS u SELECT 2",
	} {
		_, err := syntax.Bind(query, false)
		require.Equal(t, "QUERY_STATEMENTS", refusal(t, err).Reason, query)
	}
}

// TestAStatementBehindAnyQueryIsRefused puts statements behind and into right queries, with whatever can stand between words.
func TestAStatementBehindAnyQueryIsRefused(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	blank := func() string { return pick(" ", "\n", "\t", "\r\n", "/**/", "/* ' */", "-- ' [\n", "\u00a0") }
	for range 20_000 {
		query := strings.TrimSuffix(rightQueries[random.IntN(len(rightQueries))], ";")
		plain := pick("COMMIT", "DELETE FROM t", "EXEC p", "KILL 51", "INSERT t VALUES (1)", "UPDATE t SET a = 1", "SELECT 2 AS z", "TRUNCATE TABLE t")
		if random.IntN(2) == 0 {
			plain = strings.ToLower(plain)
		}
		statement := strings.Replace(plain, " ", blank(), 1)
		text := query + blank() + statement + blank() + pick("", "COMMIT", ";", "-- end")
		_, err := syntax.Bind(text, false)
		require.Error(t, err, text)
		// The same in quotes or in a comment is no statement.
		text = query + blank() + pick("/* "+plain+" */", "-- "+plain)
		_, err = syntax.Bind(text, false)
		require.NoError(t, err, text)
		text = strings.Replace(query, "SELECT", "SELECT"+blank()+pick("'"+plain+"'", "N'"+plain+"'", "["+plain+"]", `"`+plain+`"`)+" AS q,", 1)
		if !strings.Contains(text, "q, TOP") && !strings.Contains(text, "q, DISTINCT") {
			_, err = syntax.Bind(text, false)
			require.NoError(t, err, text)
		}
	}
}
