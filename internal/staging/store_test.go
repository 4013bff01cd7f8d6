package staging_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/staging"
)

// suite is what every kind of store promises.
func suite(t *testing.T, url string) {
	t.Helper()
	store, err := staging.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })

	t.Run("what is put is fetched and described", func(t *testing.T) {
		t.Parallel()
		for _, size := range []int{0, 1, 1 << 16, 6 << 20} {
			content := random(size)
			obj, err := store.Put(t.Context(), key(t, "a/b/part-00000.parquet"), file(t, content), 7)
			require.NoError(t, err)
			sum := sha256.Sum256(content)
			require.Equal(t, sum[:], obj.GetSha256())
			require.Equal(t, int64(size), obj.GetSize())
			require.Equal(t, int64(7), obj.GetRows())

			path, err := store.FetchTo(t.Context(), obj, t.TempDir())
			require.NoError(t, err)
			require.Equal(t, "part-00000.parquet", filepath.Base(path))
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(content, got))
		}
	})

	t.Run("a put of the same key again replaces the object whole", func(t *testing.T) {
		t.Parallel()
		_, err := store.Put(t.Context(), key(t, "x"), file(t, random(100)), 0)
		require.NoError(t, err)
		content := random(50)
		obj, err := store.Put(t.Context(), key(t, "x"), file(t, content), 0)
		require.NoError(t, err)
		require.Equal(t, content, read(t, store, obj.GetKey()))
	})

	t.Run("a written object exists after its commit and not before", func(t *testing.T) {
		t.Parallel()
		w, err := store.Create(t.Context(), key(t, "w/x"))
		require.NoError(t, err)
		defer w.Abort()
		content := random(1 << 20)
		for chunk := content; len(chunk) > 0; chunk = chunk[min(len(chunk), 300_000):] {
			_, err = w.Write(chunk[:min(len(chunk), 300_000)])
			require.NoError(t, err)
		}
		_, err = store.Reader(t.Context(), key(t, "w/x"))
		require.ErrorIs(t, err, staging.ErrNotFound)
		require.Empty(t, list(t, store, key(t, "w")+"/"))

		obj, err := w.Commit(3)
		require.NoError(t, err)
		sum := sha256.Sum256(content)
		require.Equal(t, sum[:], obj.GetSha256())
		require.Equal(t, content, read(t, store, obj.GetKey()))
		_, err = w.Commit(3)
		require.Error(t, err)
	})

	t.Run("an aborted object never exists", func(t *testing.T) {
		t.Parallel()
		w, err := store.Create(t.Context(), key(t, "gone/x"))
		require.NoError(t, err)
		_, err = w.Write(random(1000))
		require.NoError(t, err)
		w.Abort()
		w.Abort()
		require.Empty(t, list(t, store, key(t, "gone")+"/"))
	})

	t.Run("an object whose context ended never exists", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		w, err := store.Create(ctx, key(t, "cancelled/x"))
		require.NoError(t, err)
		_, err = w.Write(random(1000))
		require.NoError(t, err)
		fenced := errors.New("fenced")
		cancel(fenced)
		_, err = w.Commit(1)
		require.ErrorIs(t, err, fenced)
		require.Empty(t, list(t, store, key(t, "cancelled")+"/"))
	})

	t.Run("a missing object is ErrNotFound", func(t *testing.T) {
		t.Parallel()
		_, err := store.Reader(t.Context(), key(t, "missing"))
		require.ErrorIs(t, err, staging.ErrNotFound)
		path := filepath.Join(t.TempDir(), "x")
		err = store.Fetch(t.Context(), &typev1.StagedObject{Key: key(t, "missing"), Sha256: []byte{1}}, path)
		require.ErrorIs(t, err, staging.ErrNotFound)
		require.Equal(t, "STAGED_OBJECT_NOT_FOUND", fault.From(err).Reason)
		require.False(t, fault.From(err).Retryable)
		require.NoFileExists(t, path)
		require.NoError(t, store.Delete(t.Context(), key(t, "missing")))
		require.NoError(t, store.DeletePrefix(t.Context(), key(t, "missing")+"/"))
	})

	t.Run("an object that is not what its manifest says is not handed out", func(t *testing.T) {
		t.Parallel()
		obj, err := store.Put(t.Context(), key(t, "x"), file(t, random(1000)), 0)
		require.NoError(t, err)
		other, err := store.Put(t.Context(), key(t, "y"), file(t, random(1000)), 0)
		require.NoError(t, err)
		for name, wrong := range map[string]*typev1.StagedObject{
			"digest":    {Key: obj.GetKey(), Size: obj.GetSize(), Sha256: other.GetSha256()},
			"size":      {Key: obj.GetKey(), Size: obj.GetSize() + 1, Sha256: obj.GetSha256()},
			"no digest": {Key: obj.GetKey(), Size: obj.GetSize()},
		} {
			path := filepath.Join(t.TempDir(), "x")
			require.ErrorIs(t, store.Fetch(t.Context(), wrong, path), staging.ErrCorrupt, name)
			require.NoFileExists(t, path)
		}
	})

	t.Run("fetch never overwrites a file", func(t *testing.T) {
		t.Parallel()
		obj, err := store.Put(t.Context(), key(t, "x"), file(t, random(10)), 0)
		require.NoError(t, err)
		mine := file(t, []byte("mine"))
		require.ErrorIs(t, store.Fetch(t.Context(), obj, mine), fs.ErrExist)
		got, err := os.ReadFile(mine)
		require.NoError(t, err)
		require.Equal(t, "mine", string(got))
	})

	t.Run("a prefix lists and deletes what is below it and nothing else", func(t *testing.T) {
		t.Parallel()
		before := time.Now().Add(-time.Minute)
		for _, k := range []string{"runs/run_1/a/1", "runs/run_1/a/2", "runs/run_1/b", "runs/run_12/a", "runs/other"} {
			_, err := store.Put(t.Context(), key(t, k), file(t, []byte(k)), 0)
			require.NoError(t, err)
		}
		require.Equal(t, []string{key(t, "runs/run_1/a/1"), key(t, "runs/run_1/a/2"), key(t, "runs/run_1/b")},
			list(t, store, key(t, "runs/run_1")+"/"))
		require.NoError(t, store.List(t.Context(), key(t, "runs")+"/", func(o staging.Object) error {
			require.Positive(t, o.Size)
			require.True(t, o.ModTime.After(before))
			return nil
		}))
		require.NoError(t, store.DeletePrefix(t.Context(), key(t, "runs/run_1")+"/"))
		require.NoError(t, store.Delete(t.Context(), key(t, "runs/other")))
		require.Equal(t, []string{key(t, "runs/run_12/a")}, list(t, store, key(t, "runs")+"/"))

		stop := errors.New("stop")
		require.ErrorIs(t, store.List(t.Context(), key(t, "runs")+"/", func(staging.Object) error { return stop }), stop)
	})

	t.Run("a malformed key is refused by every call", func(t *testing.T) {
		t.Parallel()
		ctx, bad := t.Context(), "../etc/passwd"
		_, err := store.Put(ctx, bad, file(t, nil), 0)
		require.ErrorIs(t, err, staging.ErrKey)
		_, err = store.Create(ctx, bad)
		require.ErrorIs(t, err, staging.ErrKey)
		_, err = store.Reader(ctx, bad)
		require.ErrorIs(t, err, staging.ErrKey)
		require.ErrorIs(t, store.Fetch(ctx, &typev1.StagedObject{Key: bad}, "x"), staging.ErrKey)
		require.ErrorIs(t, store.Delete(ctx, bad), staging.ErrKey)
		require.ErrorIs(t, store.List(ctx, bad, nil), staging.ErrKey)
		require.ErrorIs(t, store.DeletePrefix(ctx, "../"), staging.ErrKey)
		require.ErrorIs(t, store.DeletePrefix(ctx, ""), staging.ErrKey)
	})

	t.Run("a cancelled fetch leaves nothing and says why", func(t *testing.T) {
		t.Parallel()
		obj, err := store.Put(t.Context(), key(t, "x"), file(t, random(1<<20)), 0)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		path := filepath.Join(t.TempDir(), "x")
		require.ErrorIs(t, store.Fetch(ctx, obj, path), context.Canceled)
		require.NoFileExists(t, path)
	})

	t.Run("a check of the store leaves nothing behind", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, store.Check(t.Context()))
		require.Empty(t, list(t, store, "checks/"))
	})
}

// key makes keys of parallel subtests differ.
func key(t *testing.T, name string) string {
	sum := sha256.Sum256([]byte(t.Name()))
	return "t" + string("abcdefghijklmnop"[sum[0]>>4]) + string("abcdefghijklmnop"[sum[0]&15]) + string("abcdefghijklmnop"[sum[1]&15]) + "/" + name
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "local")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.Write(content); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func read(t *testing.T, store *staging.Store, key string) []byte {
	t.Helper()
	r, err := store.Reader(t.Context(), key)
	require.NoError(t, err)
	defer r.Close()
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	return content
}

func list(t *testing.T, store *staging.Store, prefix string) []string {
	t.Helper()
	var keys []string
	require.NoError(t, store.List(t.Context(), prefix, func(o staging.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	sort.Strings(keys)
	return keys
}

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	suite(t, "mem://")
}

func TestFileStore(t *testing.T) {
	t.Parallel()
	suite(t, "file://"+filepath.Join(t.TempDir(), "new", "store"))
}

func TestAURLThatNamesNoStoreIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "/plain/path", "http://x", "file://relative", "file://host/abs", "file:///", "file:///x?y=z", "s3://", "s3://b/../x",
		"s3://key:canary@bucket", "s3://bucket?no_such_parameter=1", "file://%zzcanary",
		"azblob://", "azblob:///x", "azblob://container", "azblob://c/../x?account=a", "azblob://c?account=a&no_such_parameter=1",
		"azblob://c?account=a&account=b", "azblob://c?account=a&endpoint=http://x", "azblob://c?account=a&credentials_file=x",
		"azblob://c?credentials_file=/no/such/file", "azblob://key:canary@c?account=a",
	} {
		_, err := staging.Open(t.Context(), url)
		require.ErrorIs(t, err, staging.ErrURL, "%q", url)
		require.NotContains(t, err.Error(), "canary")
	}
}
