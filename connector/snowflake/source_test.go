package snowflake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// raw makes a batch of one column in Snowflake's form.
func raw(t testing.TB, typ arrow.DataType, fill func(b array.Builder)) arrow.RecordBatch {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "V", Type: typ, Nullable: true}}, nil))
	defer b.Release()
	fill(b.Field(0))
	return b.NewRecordBatch()
}

// integers makes a batch of numbers from one up.
func integers(t testing.TB, from, to int) arrow.RecordBatch {
	t.Helper()
	return raw(t, arrow.PrimitiveTypes.Int64, func(b array.Builder) {
		for i := from; i < to; i++ {
			b.(*array.Int64Builder).Append(int64(i))
		}
	})
}

// seconds is a struct of seconds and nanoseconds, and an offset if zoned.
func seconds(zoned bool) arrow.DataType {
	fields := []arrow.Field{{Name: "epoch", Type: arrow.PrimitiveTypes.Int64}, {Name: "fraction", Type: arrow.PrimitiveTypes.Int32}}
	if zoned {
		fields = append(fields, arrow.Field{Name: "timezone", Type: arrow.PrimitiveTypes.Int32})
	}
	return arrow.StructOf(fields...)
}

func appendSeconds(b array.Builder, epoch int64, rest ...int32) {
	s := b.(*array.StructBuilder)
	s.Append(true)
	s.FieldBuilder(0).(*array.Int64Builder).Append(epoch)
	for i, v := range rest {
		s.FieldBuilder(i + 1).(*array.Int32Builder).Append(v)
	}
}

// all reads a query to its end and returns its values as text.
func all(t testing.TB, ctx context.Context, link connector.RowSource) ([]string, connector.Type, error) {
	t.Helper()
	stream, err := link.Query(ctx, "SELECT V FROM T", "", false)
	if err != nil {
		return nil, connector.Type{}, err
	}
	defer func() { require.NoError(t, stream.Close()) }()
	typ := stream.Columns()[0].Type
	var values []string
	for {
		batch, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			return values, typ, nil
		}
		if err != nil {
			return values, typ, err
		}
		for i := range int(batch.NumRows()) {
			value := connectortest.Value(t, batch.Column(0), i, typ)
			if value == nil {
				values = append(values, "NULL")
				continue
			}
			values = append(values, *value)
		}
		batch.Release()
	}
}

func TestValuesOfEveryTypeAreReadExactly(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("9", 38)
	bigNumber, err := decimal128.FromString(big, 38, 0)
	require.NoError(t, err)
	ints := func(b array.Builder) {
		for _, s := range []string{"0", "-1", "100"} {
			require.NoError(t, b.AppendValueFromString(s))
		}
		b.AppendNull()
	}
	for _, tt := range []struct {
		column snowflaketest.Column
		typ    arrow.DataType
		fill   func(b array.Builder)
		read   string
		want   []string
	}{
		{snowflaketest.Column{Type: "fixed", Precision: 4}, arrow.PrimitiveTypes.Int8, ints, "int16", []string{"0", "-1", "100", "NULL"}},
		{snowflaketest.Column{Type: "fixed", Precision: 9}, arrow.PrimitiveTypes.Int16, ints, "int32", []string{"0", "-1", "100", "NULL"}},
		{snowflaketest.Column{Type: "fixed", Precision: 18}, arrow.PrimitiveTypes.Int32, ints, "int64", []string{"0", "-1", "100", "NULL"}},
		{snowflaketest.Column{Type: "fixed", Precision: 19}, &arrow.Decimal128Type{Precision: 38}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(math.MinInt64))
		}, "int64", []string{"-9223372036854775808"}},
		{snowflaketest.Column{Type: "fixed", Precision: 38}, &arrow.Decimal128Type{Precision: 38}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(bigNumber)
		}, "decimal(38,0)", []string{big}},
		{snowflaketest.Column{Type: "fixed", Precision: 38, Scale: 37}, &arrow.Decimal128Type{Precision: 38, Scale: 37}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(bigNumber.Negate())
		}, "decimal(38,37)", []string{"-9." + big[1:]}},
		{snowflaketest.Column{Type: "fixed", Precision: 12, Scale: 2}, arrow.PrimitiveTypes.Int8, ints, "decimal(12,2)", []string{"0.00", "-0.01", "1.00", "NULL"}},
		{snowflaketest.Column{Type: "real"}, arrow.PrimitiveTypes.Float64, func(b array.Builder) {
			b.(*array.Float64Builder).AppendValues([]float64{0.1, math.Inf(-1), math.NaN()}, nil)
		}, "float64", []string{"0.1", "-Infinity", "NaN"}},
		{snowflaketest.Column{Type: "boolean"}, arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }, "bool", []string{"true"}},
		{snowflaketest.Column{Type: "date"}, arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(-719162) }, "date", []string{"0001-01-01"}},
		{snowflaketest.Column{Type: "time", Scale: 9}, arrow.PrimitiveTypes.Int64, func(b array.Builder) {
			b.(*array.Int64Builder).Append(86_399_999_999_000)
		}, "time", []string{"23:59:59.999999"}},
		{snowflaketest.Column{Type: "time", Scale: 0}, arrow.PrimitiveTypes.Int32, func(b array.Builder) { b.(*array.Int32Builder).Append(3661) }, "time", []string{"01:01:01"}},
		{snowflaketest.Column{Type: "timestamp_ntz", Scale: 9}, seconds(false), func(b array.Builder) {
			appendSeconds(b, -1, 999_999_000)
			appendSeconds(b, -62135596800, 0)
		}, "timestamp", []string{"1969-12-31T23:59:59.999999", "0001-01-01T00:00:00"}},
		{snowflaketest.Column{Type: "timestamp_ntz", Scale: 3}, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(-1) }, "timestamp", []string{"1969-12-31T23:59:59.999"}},
		{snowflaketest.Column{Type: "timestamp_ltz", Scale: 6}, arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(1) }, "timestamptz", []string{"1970-01-01T00:00:00.000001Z"}},
		{snowflaketest.Column{Type: "timestamp_tz", Scale: 9}, seconds(true), func(b array.Builder) { appendSeconds(b, 0, 1000, 1440+120) }, "timestamptz", []string{"1970-01-01T00:00:00.000001Z"}},
		{snowflaketest.Column{Type: "timestamp_tz", Scale: 3}, seconds(false), func(b array.Builder) { appendSeconds(b, 1500, 1440) }, "timestamptz", []string{"1970-01-01T00:00:01.5Z"}},
		{snowflaketest.Column{Type: "binary"}, arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0, 0xff}) }, "binary", []string{"00ff"}},
		{snowflaketest.Column{Type: "text"}, arrow.BinaryTypes.String, func(b array.Builder) {
			b.(*array.StringBuilder).Append("")
			b.(*array.StringBuilder).Append("日本\x00🙂")
			b.AppendNull()
		}, "string", []string{"", "日本\x00🙂", "NULL"}},
		{snowflaketest.Column{Type: "variant"}, arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append(`{"a":1.50}`) }, "json", []string{`{"a":1.50}`}},
	} {
		t.Run(fmt.Sprintf("%s %d,%d as %s", tt.column.Type, tt.column.Precision, tt.column.Scale, tt.typ), func(t *testing.T) {
			t.Parallel()
			tt.column.Name = "V"
			batch := raw(t, tt.typ, tt.fill)
			s := snowflaketest.Start(t, answers(func(snowflaketest.Statement) snowflaketest.Answer {
				return snowflaketest.Answer{Columns: []snowflaketest.Column{tt.column}, Batches: [][]byte{snowflaketest.IPC(t, batch)}, Counts: []int{int(batch.NumRows())}}
			}))
			values, typ, err := all(t, t.Context(), connect(t, s))
			require.NoError(t, err)
			require.Equal(t, tt.read, typ.String())
			require.Equal(t, tt.want, values)
			open, _ := s.Sessions()
			require.Zero(t, open, "the session is left open")
		})
	}
}

func TestAValueThatWouldLoseDigitsEndsTheQuery(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		column snowflaketest.Column
		batch  arrow.RecordBatch
	}{
		"a NUMBER(19,0) beyond int64": {snowflaketest.Column{Type: "fixed", Precision: 19}, raw(t, &arrow.Decimal128Type{Precision: 38}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(decimal128.FromU64(1 << 63))
		})},
		"nanoseconds":             {snowflaketest.Column{Type: "timestamp_ntz", Scale: 9}, raw(t, seconds(false), func(b array.Builder) { appendSeconds(b, 0, 1) })},
		"a time with nanoseconds": {snowflaketest.Column{Type: "time", Scale: 9}, integers(t, 1, 2)},
		"an unknown form":         {snowflaketest.Column{Type: "date"}, integers(t, 0, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.column.Name = "V"
			s := snowflaketest.Start(t, answers(func(snowflaketest.Statement) snowflaketest.Answer {
				return snowflaketest.Answer{Columns: []snowflaketest.Column{tt.column}, Batches: [][]byte{snowflaketest.IPC(t, tt.batch)}, Counts: []int{1}}
			}))
			_, _, err := all(t, t.Context(), connect(t, s))
			e := coded(t, err, "SOURCE_VALUE")
			require.Equal(t, "V", e.Column)
		})
	}
}

// numbers answers a query of n batches of ten numbers.
func numbers(t testing.TB, n int) func(snowflaketest.Statement) snowflaketest.Answer {
	t.Helper()
	a := snowflaketest.Answer{Columns: []snowflaketest.Column{{Name: "V", Type: "fixed", Precision: 18}}}
	for i := range n {
		a.Batches, a.Counts = append(a.Batches, snowflaketest.IPC(t, integers(t, 10*i, 10*i+4), integers(t, 10*i+4, 10*i+10))), append(a.Counts, 10)
	}
	return answers(func(snowflaketest.Statement) snowflaketest.Answer { return a })
}

// upTo are the numbers below n as text.
func upTo(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func TestALargeResultIsReadBatchByBatch(t *testing.T) {
	t.Parallel()
	s := snowflaketest.Start(t, numbers(t, 50))
	values, _, err := all(t, t.Context(), connect(t, s))
	require.NoError(t, err)
	require.Equal(t, upTo(500), values)
}

func TestABatchThatIsCutIsFetchedAgain(t *testing.T) {
	t.Parallel()
	s := snowflaketest.Start(t, numbers(t, 4))
	s.Chunk = func(batch, n int) int {
		if batch == 2 && n < 3 {
			return 300
		}
		return -1
	}
	values, _, err := all(t, t.Context(), connect(t, s))
	require.NoError(t, err)
	require.Equal(t, upTo(40), values)
}

func TestABatchThatCannotBeFetchedEndsTheQuery(t *testing.T) {
	t.Parallel()
	s := snowflaketest.Start(t, numbers(t, 4))
	s.Chunk = func(batch, _ int) int {
		if batch == 2 {
			return 300
		}
		return -1
	}
	values, _, err := all(t, t.Context(), connect(t, s))
	require.Equal(t, connector.KindUnavailable, coded(t, err, "CONNECTION_LOST").Kind)
	require.Equal(t, upTo(20), values)
}

func TestAResultWithoutAllItsRowsIsNoEnd(t *testing.T) {
	t.Parallel()
	s := snowflaketest.Start(t, answers(func(snowflaketest.Statement) snowflaketest.Answer {
		return snowflaketest.Answer{Columns: []snowflaketest.Column{{Name: "V", Type: "fixed", Precision: 18}}, Total: 12,
			Batches: [][]byte{snowflaketest.IPC(t, integers(t, 0, 10))}, Counts: []int{10}}
	}))
	_, _, err := all(t, t.Context(), connect(t, s))
	require.Equal(t, connector.KindUnavailable, coded(t, err, "CONNECTION_LOST").Kind)
}

func TestTheBatchIsAParameterOfTheStatement(t *testing.T) {
	t.Parallel()
	const path = `'; DROP TABLE x; -- \' $$ ? :source_path`
	s := snowflaketest.Start(t, numbers(t, 1))
	stream, err := connect(t, s).Query(t.Context(), "SELECT v FROM t WHERE a = :source_path OR b = :source_path", path, true)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	sent := sentLike(s, "FROM t WHERE")
	require.Len(t, sent, 2)
	require.True(t, sent[0].Describe, "the query is compiled as a part of a SELECT before it runs")
	require.True(t, strings.HasPrefix(sent[0].SQL, "SELECT * FROM ("))
	require.False(t, sent[1].Describe)
	for _, st := range sent {
		require.Equal(t, []string{path, path}, st.Args)
		require.NotContains(t, st.SQL, "DROP")
	}
}

func TestPathsIntoAVariantAndTextAreLeftAlone(t *testing.T) {
	t.Parallel()
	const query = `SELECT v:a.b, "V":x, f(v):y, v[0]:z::VARCHAR, 'it\'s :source_path', $$ :source_path $$ // :source_path
FROM t`
	s := snowflaketest.Start(t, numbers(t, 1))
	stream, err := connect(t, s).Query(t.Context(), query, "", false)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	sent := sentLike(s, "FROM t")
	require.Equal(t, query, sent[len(sent)-1].SQL)
}

func TestAStatementThatIsNoSelectDoesNotRun(t *testing.T) {
	t.Parallel()
	s := snowflaketest.Start(t, answers(func(snowflaketest.Statement) snowflaketest.Answer {
		return snowflaketest.Fail(1003, "42000", "driver text: syntax error")
	}))
	link := connect(t, s)
	_, err := link.Query(t.Context(), "DELETE FROM t", "", false)
	require.Equal(t, connector.KindInvalid, coded(t, err, "QUERY_SYNTAX").Kind)
	for _, st := range sentLike(s, "DELETE") {
		require.True(t, st.Describe)
	}
}

func TestASessionKeepsTypesOfTimeAndNamesAsTheyAre(t *testing.T) {
	t.Parallel()
	s := snowflaketest.Start(t, numbers(t, 1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, err := connect(t, s).Describe(ctx, "SELECT 1 AS V", false)
	require.NoError(t, err)
	parameters := s.Parameters()
	require.Len(t, parameters, 1)
	for name, want := range map[string]string{
		"TIMEZONE": "UTC", "QUERY_TAG": "lume/source", "ABORT_DETACHED_QUERY": "true", "QUOTED_IDENTIFIERS_IGNORE_CASE": "false",
		"CLIENT_SESSION_KEEP_ALIVE": "false", "STATEMENT_TIMEOUT_IN_SECONDS": "3600", "LOCK_TIMEOUT": "60", "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
	} {
		require.Equal(t, want, fmt.Sprint(parameters[0][name]), name)
	}
}

func TestAnExpiredTokenIsRenewedInTheMiddleOfASession(t *testing.T) {
	t.Parallel()
	var s *snowflaketest.Server
	answer := numbers(t, 3)
	var asked atomic.Int64
	s = snowflaketest.Start(t, func(st snowflaketest.Statement) snowflaketest.Answer {
		if asked.Add(1) == 1 {
			defer s.Expire()
		}
		return answer(st)
	})
	values, _, err := all(t, t.Context(), connect(t, s))
	require.NoError(t, err)
	require.Equal(t, upTo(30), values)
	require.Equal(t, 1, s.Renewed())
	open, opened := s.Sessions()
	require.Zero(t, open)
	require.Equal(t, 1, opened)
}

func TestAnAnswerThatIsCutIsAskedForAgain(t *testing.T) {
	t.Parallel()
	answer := numbers(t, 2)
	var cut atomic.Bool
	s := snowflaketest.Start(t, func(st snowflaketest.Statement) snowflaketest.Answer {
		if st.SQL == "SELECT V FROM T" && cut.CompareAndSwap(false, true) {
			return snowflaketest.Answer{Cut: true}
		}
		return answer(st)
	})
	values, _, err := all(t, t.Context(), connect(t, s))
	require.NoError(t, err)
	require.Equal(t, upTo(20), values)
	var runs []snowflaketest.Statement
	for _, st := range s.Statements() {
		if st.SQL == "SELECT V FROM T" {
			runs = append(runs, st)
		}
	}
	require.Len(t, runs, 2)
	require.Equal(t, runs[0].RequestID, runs[1].RequestID, "the server knows the statement again")
}

func TestACanceledQueryIsAbortedOnTheServer(t *testing.T) {
	t.Parallel()
	answer := numbers(t, 1)
	started, aborted := make(chan struct{}), make(chan struct{})
	s := snowflaketest.Start(t, func(st snowflaketest.Statement) snowflaketest.Answer {
		if st.SQL == "SELECT V FROM T" {
			close(started)
			<-st.Canceled
			close(aborted)
			return snowflaketest.Fail(604, "57014", "driver text: canceled")
		}
		return answer(st)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	_, _, err := all(t, ctx, connect(t, s))
	require.ErrorIs(t, err, context.Canceled)
	<-aborted
	require.Eventually(t, func() bool { open, _ := s.Sessions(); return open == 0 }, 10*time.Second, 10*time.Millisecond)
}
