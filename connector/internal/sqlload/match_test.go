package sqlload_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// match matches columns that are described already.
func match(plan sqlload.Plan, table []sqlload.Existing) ([]sqlload.Existing, error) {
	return sqlload.Match(plan, table, func(e sqlload.Existing) sqlload.Existing { return e })
}

// matchPlan plans a load of the columns "Id" (the key), "name" and "at".
func matchPlan(t *testing.T, fold bool) sqlload.Plan {
	d := dialect
	d.FoldColumns = fold
	plan, err := sqlload.NewPlan(d, "public", connector.TargetSpec{Name: "main", Table: "t", Mode: connector.Upsert, Columns: []connector.Column{
		{Name: "Id", Type: connector.Type{Name: "int64"}, Key: true}, {Name: "name", Type: connector.Type{Name: "string"}}, {Name: "at", Type: connector.Type{Name: "date"}},
	}})
	require.NoError(t, err)
	return plan
}

func requireReason(t *testing.T, err error, reason, column string) {
	t.Helper()
	var e *connector.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, []string{reason, column}, []string{e.Reason, e.Column})
	require.NotEmpty(t, e.Next)
}

func TestColumnsAreFoundWhereverTheTableHasThem(t *testing.T) {
	t.Parallel()
	table := []sqlload.Existing{{Name: "made", Computed: true}, {Name: "at"}, {Name: "note", Optional: true}, {Name: "name"}, {Name: "Id"}}
	found, err := match(matchPlan(t, false), table)
	require.NoError(t, err)
	require.Equal(t, []sqlload.Existing{table[4], table[3], table[1]}, found)

	table[4].Name, table[1].Name = "ID", "At"
	_, err = match(matchPlan(t, false), table)
	requireReason(t, err, "COLUMN_NOT_FOUND", "Id")
	found, err = match(matchPlan(t, true), table)
	require.NoError(t, err)
	require.Equal(t, []sqlload.Existing{table[4], table[3], table[1]}, found)
}

func TestAColumnThatCannotBeLoadedIsNamed(t *testing.T) {
	t.Parallel()
	plan := matchPlan(t, false)
	_, err := match(plan, []sqlload.Existing{{Name: "Id"}, {Name: "name"}})
	requireReason(t, err, "COLUMN_NOT_FOUND", "at")
	_, err = match(plan, []sqlload.Existing{{Name: "Id"}, {Name: "name", Computed: true}, {Name: "at"}})
	requireReason(t, err, "COLUMN_NOT_WRITABLE", "name")
	_, err = match(plan, []sqlload.Existing{{Name: "Id"}, {Name: "name"}, {Name: "at"}, {Name: "tenant"}})
	requireReason(t, err, "COLUMN_REQUIRED", "tenant")
	requireReason(t, plan.Mismatch(plan.Columns[2], "time"), "TYPE_MISMATCH", "at")
}

func TestAnUpsertNeedsAUniqueIndexOnItsKeys(t *testing.T) {
	t.Parallel()
	plan := matchPlan(t, false)
	plan.Keys = []string{"b", "A"}
	require.NoError(t, plan.CheckKey([][]string{{"x"}, {"A", "b"}}))
	for _, unique := range [][][]string{nil, {{"A"}, {"b"}}, {{"A", "b", "c"}}, {{"a", "b"}}} {
		requireReason(t, plan.CheckKey(unique), "KEY_NOT_UNIQUE", "")
		plan.Mode = connector.Append
		require.NoError(t, plan.CheckKey(unique), "only upsert needs one")
		plan.Mode = connector.Upsert
	}
	plan.Dialect.FoldColumns = true
	index := []string{"B", "a"}
	require.NoError(t, plan.CheckKey([][]string{index}))
	require.Equal(t, []string{"B", "a"}, index, "the table's own list was changed")
}

func TestColumnsOfOtherUniqueIndexesAreFound(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"name", "at"}, matchPlan(t, true).OtherUnique([][]string{{"ID"}, {"NAME"}, {"Id", "at", "name"}, {"else"}}))
	require.Empty(t, matchPlan(t, false).OtherUnique([][]string{{"Id"}, {"NAME"}}))
}

func TestARejectsTableHasEveryDocumentedColumn(t *testing.T) {
	t.Parallel()
	plan := matchPlan(t, false)
	require.NoError(t, plan.CheckRejects(func(i int, name string) bool { return sqlload.RejectColumns[i] == name }))
	requireReason(t, plan.CheckRejects(func(_ int, name string) bool { return name != "stage" }), "REJECTS_TABLE_MISMATCH", "stage")
}

func TestNumbersAreHeldByColumnsThatLoseNoDigit(t *testing.T) {
	t.Parallel()
	parse := func(text string) connector.Type {
		typ, err := connector.ParseType(text)
		require.NoError(t, err)
		return typ
	}
	for text, want := range map[string]string{ // The sizes of integer columns that hold the type.
		"int16": "2 3 4 8", "int32": "4 8", "int64": "8", "decimal(2,0)": "1 2 3 4 8", "decimal(3,0)": "2 3 4 8", "decimal(4,0)": "2 3 4 8",
		"decimal(5,0)": "3 4 8", "decimal(7,0)": "4 8", "decimal(9,0)": "4 8", "decimal(10,0)": "8", "decimal(18,0)": "8", "decimal(19,0)": "",
		"decimal(4,1)": "", "string": "", "float64": "",
	} {
		var got []string
		for _, size := range []int{0, 1, 2, 3, 4, 8} {
			if sqlload.IntegerHolds(size, parse(text)) {
				got = append(got, string(rune('0'+size)))
			}
		}
		require.Equal(t, want, strings.Join(got, " "), text)
	}
	for _, c := range []struct {
		text             string
		precision, scale int
		want             bool
	}{
		{"int16", 5, 0, true}, {"int16", 4, 0, false}, {"int32", 12, 2, true}, {"int32", 11, 2, false}, {"int64", 19, 0, true}, {"int64", 18, 0, false},
		{"int64", 10, -9, false}, {"decimal(12,2)", 12, 2, true}, {"decimal(12,2)", 13, 3, true}, {"decimal(12,2)", 12, 3, false},
		{"decimal(12,2)", 38, 1, false}, {"float64", 38, 0, false},
	} {
		require.Equal(t, c.want, sqlload.DecimalHolds(c.precision, c.scale, parse(c.text)), "%+v", c)
	}
}

func TestAUUIDIsReadInItsCanonicalFormAlone(t *testing.T) {
	t.Parallel()
	raw, ok := sqlload.ParseUUID("00112233-4455-6677-8899-aAbBcCdDeEfF")
	require.True(t, ok)
	require.Equal(t, [16]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}, raw)
	for _, text := range []string{"", "00112233445566778899aabbccddeeff", "{0112233-4455-6677-8899-aabbccddeeff}", "00112233-4455-6677-8899-aabbccddeefg",
		"00112233-4455-6677-8899_aabbccddeeff", "0011223--4455-6677-8899-aabbccddeeff"} {
		_, ok := sqlload.ParseUUID(text)
		require.False(t, ok, text)
	}
}
