package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/control/internal/store"
)

var connectorTests = []test{
	{"is stored and read back", func(t *testing.T, f *fixture) {
		before := f.now(t)
		c := f.connector(t, store.Connector{
			Name: "bucket", Type: "s3", Description: "d", Settings: map[string]any{"bucket": "b"},
			Secrets: map[string]store.SealedSecret{"key": {Sealed: []byte("sealed"), Fingerprint: "0badcafe"}},
		})
		require.NotEmpty(t, c.ETag)
		require.False(t, c.CreateTime.Before(before))
		require.Equal(t, c.CreateTime, c.UpdateTime)
		require.Equal(t, c.CreateTime, c.Secrets["key"].UpdateTime)
		got, err := f.Connector(t.Context(), "bucket")
		require.NoError(t, err)
		require.Equal(t, c, got)
		_, err = f.Connector(t.Context(), "none")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"exists once", func(t *testing.T, f *fixture) {
		f.connector(t, store.Connector{Name: "a", Type: "s3"})
		err := f.try(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.CreateConnector(ctx, store.Connector{Name: "a", Type: "file"})
			return err
		})
		require.ErrorIs(t, err, store.ErrExists)
		c, err := f.Connector(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, "s3", c.Type)
	}},
	{"is updated by who has read it last", func(t *testing.T, f *fixture) {
		c := f.connector(t, store.Connector{Name: "a", Type: "s3", Secrets: map[string]store.SealedSecret{"one": {Sealed: []byte("1")}, "two": {Sealed: []byte("2")}}})
		update := func(c store.Connector, etag string) (store.Connector, error) {
			err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
				c, err = tx.UpdateConnector(ctx, c, etag)
				return err
			})
			return c, err
		}
		changed := c
		changed.Description, changed.Type = "new", "file"
		changed.Secrets = map[string]store.SealedSecret{"two": c.Secrets["two"], "three": {Sealed: []byte("3")}}
		got, err := update(changed, c.ETag)
		require.NoError(t, err)
		require.Equal(t, "new", got.Description)
		require.Equal(t, "s3", got.Type, "a type never changes")
		require.Equal(t, c.CreateTime, got.CreateTime)
		require.NotEqual(t, c.ETag, got.ETag)
		require.Len(t, got.Secrets, 2)
		require.Equal(t, c.Secrets["two"], got.Secrets["two"], "a secret that was kept keeps its time")
		_, err = update(changed, c.ETag)
		require.ErrorIs(t, err, store.ErrConflict)
		_, err = update(changed, "")
		require.NoError(t, err, "no etag asks for no comparison")
		_, err = update(store.Connector{Name: "none"}, "")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"is deleted with its secrets, and has another etag when made again", func(t *testing.T, f *fixture) {
		c := f.connector(t, store.Connector{Name: "a", Secrets: map[string]store.SealedSecret{"one": {Sealed: []byte("1")}}})
		remove := func(etag string) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteConnector(ctx, "a", etag) })
		}
		require.ErrorIs(t, remove("stale"), store.ErrConflict)
		require.NoError(t, remove(c.ETag))
		require.ErrorIs(t, remove(""), store.ErrNotFound)
		again := f.connector(t, store.Connector{Name: "a"})
		require.Empty(t, again.Secrets)
		require.NotEqual(t, c.ETag, again.ETag)
	}},
	{"is kept while a run needs it", func(t *testing.T, f *fixture) {
		f.connector(t, store.Connector{Name: "bucket"})
		f.connector(t, store.Connector{Name: "other"})
		r := f.run(t, nil) // of a version that needs connector bucket
		remove := func(name string) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteConnector(ctx, name, "") })
		}
		err := remove("bucket")
		require.ErrorIs(t, err, store.ErrInUse)
		var inUse *store.InUseError
		require.ErrorAs(t, err, &inUse)
		require.Equal(t, r.ID, inUse.RunID)
		require.NoError(t, remove("other"))
		f.change(t, r.ID, func(r *store.Run) { r.State, r.Outcome, r.EndTime = store.RunFailed, store.OutcomeUnknown, r.Deadline })
		require.ErrorIs(t, remove("bucket"), store.ErrInUse, "an unsettled run needs it")
		f.change(t, r.ID, func(r *store.Run) { r.Outcome = store.OutcomeAborted })
		require.NoError(t, remove("bucket"))
	}},
	{"is required by name", func(t *testing.T, f *fixture) {
		f.connector(t, store.Connector{Name: "a"})
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.RequireConnectors(ctx, []string{"a", "a"}) })
		err := f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.RequireConnectors(ctx, []string{"a", "b"}) })
		require.ErrorIs(t, err, store.ErrNotFound)
		var missing *store.MissingError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, store.MissingError{Kind: "connector", Name: "b"}, *missing)
	}},
	{"is listed by name in pages, by type", func(t *testing.T, f *fixture) {
		for i := range 7 {
			f.connector(t, store.Connector{
				Name: fmt.Sprintf("c%d", i), Type: []string{"s3", "file"}[i%2],
				Secrets: map[string]store.SealedSecret{"key": {Sealed: []byte{byte(i)}}},
			})
		}
		for _, size := range []int{1, 2, 7, 100} {
			var names []string
			for i, c := range pages(t, size, func(ctx context.Context, p store.Page) ([]store.Connector, string, error) {
				return f.ListConnectors(ctx, "", p)
			}) {
				names = append(names, c.Name)
				require.Equal(t, []byte{byte(i)}, c.Secrets["key"].Sealed)
			}
			require.Equal(t, []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6"}, names)
			var files []string
			for _, c := range pages(t, size, func(ctx context.Context, p store.Page) ([]store.Connector, string, error) {
				return f.ListConnectors(ctx, "file", p)
			}) {
				files = append(files, c.Name)
			}
			require.Equal(t, []string{"c1", "c3", "c5"}, files)
		}
	}},
}
