package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

var flowTests = []test{
	{"is stored, updated by who has read it last, and deleted", func(t *testing.T, f *fixture) {
		flow := f.flow(t, "a")
		require.NotEmpty(t, flow.ETag)
		require.Zero(t, flow.LatestVersion)
		err := f.try(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.CreateFlow(ctx, store.Flow{Name: "a"})
			return err
		})
		require.ErrorIs(t, err, store.ErrExists)
		update := func(name, filter, etag string) (store.Flow, error) {
			var out store.Flow
			err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
				out, err = tx.UpdateFlow(ctx, store.Flow{Name: name, Spec: &flowv1.Flow{Name: name, Filter: filter}}, etag)
				return err
			})
			return out, err
		}
		changed, err := update("a", "x > 1", flow.ETag)
		require.NoError(t, err)
		require.Equal(t, "x > 1", changed.Spec.GetFilter())
		require.NotEqual(t, flow.ETag, changed.ETag)
		_, err = update("a", "x > 2", flow.ETag)
		require.ErrorIs(t, err, store.ErrConflict)
		_, err = update("b", "", "")
		require.ErrorIs(t, err, store.ErrNotFound)
		remove := func(etag string) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteFlow(ctx, "a", etag) })
		}
		require.ErrorIs(t, remove(flow.ETag), store.ErrConflict)
		require.NoError(t, remove(changed.ETag))
		require.ErrorIs(t, remove(""), store.ErrNotFound)
	}},
	{"numbers its versions and keeps their content apart", func(t *testing.T, f *fixture) {
		flow := f.flow(t, "a")
		publish := func(digest, etag string) (store.Version, error) {
			var out store.Version
			err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
				out, err = tx.CreateVersion(ctx, store.Version{
					Flow: "a", Spec: flow.Spec, Digest: digest, Engine: "duckdb", Comment: "c",
					SourceColumns: []string{"b", "a b", "\x00"}, Connectors: []string{"z", "a", "z"},
				}, etag)
				return err
			})
			return out, err
		}
		one, err := publish("sha256:1", flow.ETag)
		require.NoError(t, err)
		require.EqualValues(t, 1, one.Number)
		require.Equal(t, []string{"b", "a b", "\x00"}, one.SourceColumns)
		require.Equal(t, []string{"a", "z"}, one.Connectors)
		_, err = publish("sha256:1", "")
		require.ErrorIs(t, err, store.ErrExists)
		_, err = publish("sha256:2", "stale")
		require.ErrorIs(t, err, store.ErrConflict)
		two, err := publish("sha256:2", flow.ETag)
		require.NoError(t, err, "a version leaves the flow's etag as it is")
		require.EqualValues(t, 2, two.Number)
		got, err := f.VersionByDigest(t.Context(), "a", "sha256:1")
		require.NoError(t, err)
		require.Equal(t, one.Number, got.Number)
		_, err = f.Version(t.Context(), "a", 3)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = f.VersionByDigest(t.Context(), "a", "sha256:3")
		require.ErrorIs(t, err, store.ErrNotFound)
		after, err := f.Flow(t.Context(), "a")
		require.NoError(t, err)
		require.EqualValues(t, 2, after.LatestVersion)
		err = f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteFlow(ctx, "a", "") })
		require.ErrorIs(t, err, store.ErrInUse)
		err = f.try(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.CreateVersion(ctx, store.Version{Flow: "none"}, "")
			return err
		})
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"gives one number to each of many that publish at once", func(t *testing.T, f *fixture) {
		f.flow(t, "a")
		var wg sync.WaitGroup
		var existed atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				err := f.try(t, func(ctx context.Context, tx store.Tx) error {
					_, err := tx.CreateVersion(ctx, store.Version{Flow: "a", Digest: fmt.Sprint(i / 2)}, "")
					return err
				})
				if errors.Is(err, store.ErrExists) {
					existed.Add(1)
				} else if err != nil {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 4, existed.Load())
		var numbers []int32
		for _, v := range pages(t, 2, func(ctx context.Context, p store.Page) ([]store.Version, string, error) {
			return f.ListVersions(ctx, "a", p)
		}) {
			numbers = append(numbers, v.Number)
		}
		require.Equal(t, []int32{4, 3, 2, 1}, numbers, "newest first, without gaps")
	}},
	{"lists versions of one flow only, and refuses a cursor of something else", func(t *testing.T, f *fixture) {
		f.flow(t, "a")
		f.flow(t, "b")
		f.version(t, "a")
		list, next, err := f.ListVersions(t.Context(), "b", store.Page{Size: 10})
		require.NoError(t, err)
		require.Empty(t, list)
		require.Empty(t, next)
		_, _, err = f.ListVersions(t.Context(), "a", store.Page{Size: 10, After: "x"})
		require.ErrorIs(t, err, store.ErrInvalidCursor)
	}},
	{"has aliases that move to versions that exist", func(t *testing.T, f *fixture) {
		f.flow(t, "a")
		f.version(t, "a")
		f.version(t, "a")
		set := func(name string, version int32, etag string) (store.Alias, error) {
			var out store.Alias
			err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
				out, err = tx.SetAlias(ctx, store.Alias{Flow: "a", Name: name, Version: version}, etag)
				return err
			})
			return out, err
		}
		_, err := set("production", 3, "")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = set("production", 1, "stale")
		require.ErrorIs(t, err, store.ErrConflict)
		one, err := set("production", 1, "")
		require.NoError(t, err)
		two, err := set("production", 2, one.ETag)
		require.NoError(t, err)
		require.EqualValues(t, 2, two.Version)
		_, err = set("production", 1, one.ETag)
		require.ErrorIs(t, err, store.ErrConflict)
		_, err = set("Staging", 1, "")
		require.NoError(t, err)
		list := pages(t, 1, func(ctx context.Context, p store.Page) ([]store.Alias, string, error) {
			return f.ListAliases(ctx, "a", p)
		})
		require.Len(t, list, 2)
		require.Equal(t, "Staging", list[0].Name)
		got, err := f.Alias(t.Context(), "a", "production")
		require.NoError(t, err)
		require.Equal(t, two, got)
		remove := func(etag string) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteAlias(ctx, "a", "production", etag) })
		}
		require.ErrorIs(t, remove(one.ETag), store.ErrConflict)
		require.NoError(t, remove(two.ETag))
		require.ErrorIs(t, remove(""), store.ErrNotFound)
		_, err = f.Alias(t.Context(), "a", "production")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
}

var apiKeyTests = []test{
	{"is stored, used and revoked once", func(t *testing.T, f *fixture) {
		key := store.APIKey{ID: "abcdefghijkl", Hash: []byte{0, 1, 255}, DisplayName: "CI", Scopes: []string{"run", "read"}, ExpireTime: f.now(t)}
		create := func() (store.APIKey, error) {
			var out store.APIKey
			err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
				out, err = tx.CreateAPIKey(ctx, key)
				return err
			})
			return out, err
		}
		made, err := create()
		require.NoError(t, err)
		require.False(t, made.CreateTime.IsZero())
		key.CreateTime = made.CreateTime
		require.Equal(t, key, made)
		_, err = create()
		require.ErrorIs(t, err, store.ErrExists)
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.TouchAPIKey(ctx, key.ID) })
		revoke := func(id string) (store.APIKey, error) {
			var out store.APIKey
			err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
				out, err = tx.RevokeAPIKey(ctx, id)
				return err
			})
			return out, err
		}
		first, err := revoke(key.ID)
		require.NoError(t, err)
		require.False(t, first.RevokeTime.IsZero())
		require.False(t, first.LastUseTime.IsZero())
		second, err := revoke(key.ID)
		require.NoError(t, err)
		require.Equal(t, first, second, "a revocation keeps its time")
		_, err = revoke("none")
		require.ErrorIs(t, err, store.ErrNotFound)
		got, err := f.APIKey(t.Context(), key.ID)
		require.NoError(t, err)
		require.Equal(t, first, got)
	}},
	{"is listed newest first", func(t *testing.T, f *fixture) {
		var want []string
		f.update(t, func(ctx context.Context, tx store.Tx) error { // one transaction: equal times
			want = nil
			for i := range 3 {
				id := fmt.Sprintf("same%d", i)
				if _, err := tx.CreateAPIKey(ctx, store.APIKey{ID: id}); err != nil {
					return err
				}
				want = append([]string{id}, want...)
			}
			return nil
		})
		var got []string
		for _, k := range pages(t, 2, f.ListAPIKeys) {
			got = append(got, k.ID)
		}
		require.Equal(t, want, got)
		for _, cursor := range []string{"x", "x.y", "1"} {
			_, _, err := f.ListAPIKeys(t.Context(), store.Page{Size: 1, After: cursor})
			require.ErrorIs(t, err, store.ErrInvalidCursor)
		}
	}},
}
