package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

var textTests = []test{
	{"sorts by its bytes, whatever the collation", func(t *testing.T, f *fixture) {
		// A locale would put a_b beside ab, and B after a.
		want := []string{"B", "a", "a ", "a-b", "a0", "aB", "a_b", "ab", "z", "é", "日本"}
		for i := range want {
			f.flow(t, want[(i*7)%len(want)])
		}
		var got []string
		for _, flow := range pages(t, 3, f.ListFlows) {
			got = append(got, flow.Name)
		}
		require.Equal(t, want, got)
	}},
	{"keeps case, trailing spaces and composition apart", func(t *testing.T, f *fixture) {
		names := []string{"a", "A", "a ", " a", "é", "e\u0301", "a\t", "a\n"}
		for _, name := range names {
			f.connector(t, store.Connector{Name: name, Type: name, Description: name})
		}
		for _, name := range names {
			c, err := f.Connector(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, []string{name, name, name}, []string{c.Name, c.Type, c.Description})
			list, _, err := f.ListConnectors(t.Context(), name, store.Page{Size: 10})
			require.NoError(t, err)
			require.Len(t, list, 1)
		}
	}},
	{"refuses NUL and invalid UTF-8 in writes and reads", func(t *testing.T, f *fixture) {
		for _, text := range []string{"a\x00b", "\x00", "a\xffb", "\xc3", "\xed\xa0\x80"} {
			create := func(c store.Connector) error {
				return f.try(t, func(ctx context.Context, tx store.Tx) error {
					_, err := tx.CreateConnector(ctx, c)
					return err
				})
			}
			require.ErrorIs(t, create(store.Connector{Name: text}), store.ErrInvalidText)
			require.ErrorIs(t, create(store.Connector{Name: "a", Description: text}), store.ErrInvalidText)
			require.ErrorIs(t, create(store.Connector{Name: "a", Settings: map[string]any{"host": text}}), store.ErrInvalidText)
			require.ErrorIs(t, create(store.Connector{Name: "a", Settings: map[string]any{text: true}}), store.ErrInvalidText)
			require.ErrorIs(t, f.tryRun(t, func(r *store.Run) { r.SourcePath = text }, nil), store.ErrInvalidText)
			require.ErrorIs(t, f.tryRun(t, func(r *store.Run) { r.RequestID = text }, nil), store.ErrInvalidText)
			_, err := f.Connector(t.Context(), text)
			require.ErrorIs(t, err, store.ErrInvalidText)
			_, err = f.RunByRequest(t.Context(), text)
			require.ErrorIs(t, err, store.ErrInvalidText)
			_, err = f.Connector(t.Context(), "a")
			require.ErrorIs(t, err, store.ErrNotFound)
		}
	}},
	{"keeps bytes as they are", func(t *testing.T, f *fixture) {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		f.connector(t, store.Connector{Name: "c", Secrets: map[string]store.SealedSecret{"password": {Sealed: every}, "empty": {}}})
		c, err := f.Connector(t.Context(), "c")
		require.NoError(t, err)
		require.Equal(t, every, c.Secrets["password"].Sealed)
		require.Empty(t, c.Secrets["empty"].Sealed)
		r := f.run(t, func(r *store.Run) { r.Metadata = []byte(`{"a":"\u0000"}`) })
		got, err := f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, r.Metadata, got.Metadata)
	}},
	{"keeps long and odd source paths apart", func(t *testing.T, f *fixture) {
		long := make([]byte, 4096)
		for i := range long {
			long[i] = 'a'
		}
		other := append(append([]byte{}, long[:4095]...), 'b')
		for _, path := range []string{string(long), string(other), "a", "A", "a ", "'; DROP TABLE runs; --", "日本"} {
			r := f.run(t, func(r *store.Run) { r.SourcePath = path })
			list, _, err := f.ListRuns(t.Context(), store.RunFilter{SourcePath: path}, store.Page{Size: 10})
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Equal(t, r.ID, list[0].ID)
			require.Equal(t, path, list[0].SourcePath)
		}
	}},
	{"keeps times to the microsecond, in UTC", func(t *testing.T, f *fixture) {
		at := time.Date(2031, 3, 30, 2, 30, 0, 123_456_789, time.FixedZone("", 3600))
		r := f.run(t, func(r *store.Run) { r.Deadline = at })
		want := at.Truncate(time.Microsecond).UTC()
		require.Equal(t, want, r.Deadline)
		got, err := f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, want, got.Deadline)
		require.Equal(t, r, got)
		require.True(t, got.EndTime.IsZero())
		for _, at := range []time.Time{
			time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		} {
			r := f.run(t, func(r *store.Run) { r.Deadline = at })
			got, err := f.Run(t.Context(), r.ID)
			require.NoError(t, err)
			require.Equal(t, at, got.Deadline)
		}
	}},
	{"keeps settings as JSON gives them", func(t *testing.T, f *fixture) {
		settings := map[string]any{
			"text": "a\u2028\"<>&", "flag": true, "number": 1e21, "small": 5.0, "list": []any{"a", 1.5, nil}, "object": map[string]any{"k": false},
		}
		c := f.connector(t, store.Connector{Name: "c", Settings: settings})
		require.Equal(t, settings, c.Settings)
		c = f.connector(t, store.Connector{Name: "d"})
		require.Equal(t, map[string]any{}, c.Settings)
	}},
	{"keeps a spec whole", func(t *testing.T, f *fixture) {
		spec := &flowv1.Flow{Name: "orders", Filter: "kind <> 'é\u0001'", Columns: []*flowv1.Column{{Name: "a b", Type: "string"}}}
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.CreateFlow(ctx, store.Flow{Name: "orders", Spec: spec})
			return err
		})
		got, err := f.Flow(t.Context(), "orders")
		require.NoError(t, err)
		require.Equal(t, spec.String(), got.Spec.String())
	}},
}
