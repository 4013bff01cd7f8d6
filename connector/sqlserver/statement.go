package sqlserver

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/lume-data/lume/connector"
)

// statements are the reserved words that begin a statement, or belong to one, and that no query has. A reserved word is never
// a name unless it is quoted. OPENQUERY and its like send text to other servers, which can do anything with it.
var statements = set(`ADD ALTER BACKUP BEGIN BREAK BULK CHECKPOINT CLOSE COMMIT CONTINUE CREATE DBCC DEALLOCATE DECLARE DELETE DENY DROP EXEC EXECUTE
	GOTO GRANT IF INSERT INTO KILL MERGE OPEN OPENDATASOURCE OPENQUERY OPENROWSET PRINT RAISERROR READTEXT RECONFIGURE RESTORE RETURN REVERT REVOKE ROLLBACK
	SAVE SET SETUSER SHUTDOWN TRAN TRANSACTION TRIGGER TRUNCATE UPDATE UPDATETEXT USE WAITFOR WHILE WRITETEXT`)

// escapes are what can stand in braces; {call …} runs a procedure.
var escapes = set("D T TS FN OJ GUID")

var number = regexp.MustCompile(`^(0[xX][0-9a-fA-F]*|[0-9]+([eE][0-9]*)?)$`)

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for _, word := range strings.Fields(words) {
		m[word] = true
	}
	return m
}

// oneSelect refuses a query that is not one SELECT. T-SQL needs nothing between statements, and no transaction of SQL Server
// only reads, so that `SELECT … DELETE … COMMIT` as a query would delete.
func oneSelect(raw []string) error {
	tokens, err := words(raw)
	if err != nil {
		return err
	}
	at := func(i int) string {
		if i < 0 || i >= len(tokens) {
			return ""
		}
		return tokens[i]
	}
	first := at(0)
	if first != "SELECT" && first != "WITH" && first != "(" {
		return notSelect(first, "the query begins with "+cmp.Or(first, "nothing")+" and not with SELECT")
	}
	// due is true where a SELECT outside of brackets is part of the query, inList in the list of a WITH.
	due, inList := first != "(", first == "WITH"
	depth, cases := 0, 0
	for i, t := range tokens {
		allowed := !statements[t]
		switch t {
		case "(":
			if depth == 0 {
				inList = inList && at(i-1) != ")"
				due = due && inList
			}
			depth++
		case ")":
			depth--
		case "UNION", "EXCEPT", "INTERSECT":
			due = due || depth == 0
		case "SELECT":
			if depth == 0 && !due {
				return manySelects()
			}
			due, inList = due && depth > 0, inList && depth > 0
		case "CASE":
			cases++
		case "END":
			cases--
			allowed = cases >= 0
		case "MERGE":
			allowed = at(i+1) == "JOIN" || at(i+1) == "UNION"
		case "USE":
			allowed = depth > 0 && (at(i+1) == "HINT" || at(i+1) == "PLAN")
		case "OPENROWSET":
			allowed = at(i+1) == "(" && at(i+2) == "BULK"
		case "BULK":
			allowed = at(i-1) == "(" && at(i-2) == "OPENROWSET"
		case "NEXT":
			if at(i+1) == "VALUE" && at(i+2) == "FOR" {
				return notSelect("NEXT VALUE FOR", "the query would take a value from a sequence")
			}
		case "{":
			allowed = escapes[at(i+1)]
		}
		if !allowed {
			return notSelect(t, "the query has "+t+", which no SELECT has")
		}
	}
	return nil
}

func manySelects() error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_STATEMENTS", Message: "the query has more than one SELECT",
		Next: "write one SELECT, or put UNION ALL between them"}
}

func notSelect(word, message string) error {
	next := "a source only reads: write one SELECT, and put what takes more than that into a view"
	if statements[word] {
		next += "; if it is a name, write it in brackets: [" + strings.ToLower(word) + "]"
	}
	return &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_NOT_SELECT", Message: message, Next: next, Meta: map[string]string{"word": word}}
}

// words makes words upper case and plain, as `ｄｅｌｅｔｅ` is not, and takes them apart at what the server might not take for part of a word.
// A number that runs into a word is refused: where the one ends and the other begins is the server's secret.
func words(tokens []string) ([]string, error) {
	var list []string
	for _, token := range tokens {
		if !strings.ContainsFunc(token, wordRune) {
			list = append(list, token)
			continue
		}
		for _, word := range strings.FieldsFunc(strings.ToUpper(norm.NFKC.String(token)), func(r rune) bool { return !wordRune(r) }) {
			word = strings.TrimLeft(word, "$")
			if word != "" && word[0] >= '0' && word[0] <= '9' && !number.MatchString(word) {
				return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_SYNTAX", Message: "the query has " + word + ", a number that runs into a word",
					Next: "put a blank behind the number", Meta: map[string]string{"word": word}}
			}
			list = append(list, word)
		}
	}
	return slices.DeleteFunc(list, func(word string) bool { return word == "" }), nil
}

// wordRune reports whether a character is surely part of a word. Characters that take two units of UTF-16 are none.
func wordRune(r rune) bool {
	return r == '_' || r == '$' || r <= 0xFFFF && (unicode.IsLetter(r) || unicode.IsDigit(r))
}
