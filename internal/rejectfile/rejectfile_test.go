package rejectfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/rejectfile"
)

func ptr[T any](v T) *T { return &v }

func write(t testing.TB, records []rejectfile.Record) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rejects.parquet")
	w, err := rejectfile.Create(path)
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, w.Append(r))
	}
	rows, err := w.Close()
	require.NoError(t, err)
	require.Equal(t, int64(len(records)), rows)
	return path
}

func readAll(t testing.TB, r *rejectfile.Reader) []rejectfile.Record {
	t.Helper()
	var all []rejectfile.Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, rec)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	records := []rejectfile.Record{
		{File: "a.csv", Line: ptr(int64(2)), Byte: ptr(int64(0)), Stage: typev1.Stage_STAGE_INGEST,
			Errors: rejectfile.EncodeErrors(&typev1.RejectError{Type: "malformed", Message: "<3 & more>"}), Raw: []byte{0xff, 0, '\n'}},
		{Row: ptr(int64(0)), Stage: typev1.Stage_STAGE_EGRESS, Errors: "[]", Record: `{"a":"ü"}`},
		{Row: ptr(int64(1 << 40)), File: "x", Line: ptr(int64(1)), Byte: ptr(int64(9)), Stage: typev1.Stage_STAGE_TRANSFORM,
			Errors: `[{"column":"c","rule":"r","type":"check","message":"m","value":"v"}]`, Record: "{}"},
	}
	r, err := rejectfile.Open(write(t, records))
	require.NoError(t, err)
	require.Equal(t, int64(3), r.Rows())
	require.Equal(t, records, readAll(t, r))
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, r.Close())
}

func TestAFileOfDuckDBIsRead(t *testing.T) {
	t.Parallel()
	for _, skip := range []int64{0, 1, 2047, 2048, 2049, 4999, 5000, 9999} {
		r, err := rejectfile.Open(filepath.Join("testdata", "duckdb.parquet"))
		require.NoError(t, err)
		require.NoError(t, r.Skip(skip))
		all := readAll(t, r)
		require.NoError(t, r.Close())
		require.Len(t, all, int(max(0, 5000-skip)))
		for n, got := range all {
			i := int64(n) + skip
			want := rejectfile.Record{Stage: typev1.Stage_STAGE_TRANSFORM, Errors: got.Errors}
			if i%3 != 0 {
				want.Row = ptr(i)
			}
			if i%2 == 0 {
				want.File = "batch-001.csv"
			}
			if i%5 != 0 {
				want.Line, want.Byte = ptr(i+2), ptr(i*40)
			}
			if i%11 != 0 {
				want.Record = fmt.Sprintf(`{"id":%d}`, i)
			} else {
				want.Raw = []byte{0xff, 0}
			}
			require.Equal(t, want, got)
			p, err := got.Proto("run_1")
			require.NoError(t, err)
			require.Len(t, p.GetErrors(), 1)
			require.Equal(t, "amount", p.GetErrors()[0].GetColumn())
			require.Equal(t, `not a number: ü "x"`, p.GetErrors()[0].GetMessage())
			require.Equal(t, i%7 == 0, p.GetErrors()[0].Value == nil)
		}
	}
}

func TestSkipAndNextAgreeWithASlice(t *testing.T) {
	t.Parallel()
	var records []rejectfile.Record
	for i := range 40_000 { // Three row groups.
		records = append(records, rejectfile.Record{Row: ptr(int64(i)), Stage: typev1.Stage_STAGE_TRANSFORM, Errors: "[]"})
	}
	path := write(t, records)
	rapid.Check(t, func(t *rapid.T) {
		r, err := rejectfile.Open(path)
		require.NoError(t, err)
		defer r.Close()
		pos := 0
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			skip := rapid.IntRange(0, 20_000).Draw(t, "skip")
			require.NoError(t, r.Skip(int64(skip)))
			pos = min(pos+skip, len(records))
			for range rapid.IntRange(0, 300).Draw(t, "read") {
				rec, err := r.Next()
				if pos == len(records) {
					require.ErrorIs(t, err, io.EOF)
					break
				}
				require.NoError(t, err)
				require.Equal(t, int64(pos), *rec.Row)
				pos++
			}
		}
	})
}

func TestReadingNeedsMemoryForABatchAndNotForTheFile(t *testing.T) {
	// Not parallel: it measures the heap.
	big := strings.Repeat("x", 64<<10)
	path := filepath.Join(t.TempDir(), "rejects.parquet")
	w, err := rejectfile.Create(path)
	require.NoError(t, err)
	for i := range 4000 { // 250 MiB.
		require.NoError(t, w.Append(rejectfile.Record{Row: ptr(int64(i)), Stage: typev1.Stage_STAGE_INGEST, Errors: "[]", Record: big}))
	}
	_, err = w.Close()
	require.NoError(t, err)

	r, err := rejectfile.Open(path)
	require.NoError(t, err)
	defer r.Close()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak uint64
	for i := 0; ; i++ {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if i%500 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
	}
	require.Less(t, peak, before.HeapAlloc+80<<20)
}

func TestAnEmptyFileIsAFile(t *testing.T) {
	t.Parallel()
	r, err := rejectfile.Open(write(t, nil))
	require.NoError(t, err)
	require.NoError(t, r.Skip(3))
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, r.Close())
}

func TestWhatIsNoRejectFileIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("PAR1"), 100), 0o600))
	_, err := rejectfile.Open(path)
	require.ErrorIs(t, err, rejectfile.ErrFormat)
	_, err = rejectfile.Create(path)
	require.ErrorIs(t, err, os.ErrExist)
}

func TestErrorsSurviveTheirJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var value *string
		if rapid.Bool().Draw(t, "has value") {
			value = ptr(rapid.String().Draw(t, "value"))
		}
		want := &typev1.RejectError{Column: rapid.String().Draw(t, "column"), Rule: rapid.String().Draw(t, "rule"),
			Type: "type", Message: rapid.String().Draw(t, "message"), Value: value}
		got, err := rejectfile.DecodeErrors(rejectfile.EncodeErrors(want, want))
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, want.GetMessage(), got[1].GetMessage())
		require.Equal(t, want.Value, got[1].Value)
	})
	_, err := rejectfile.DecodeErrors("nonsense")
	require.Error(t, err)
	_, err = rejectfile.ParseStage("unspecified")
	require.Error(t, err)
}
