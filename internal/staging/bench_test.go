package staging_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/internal/staging"
)

// BenchmarkPutAndFetch is what a stage pays to hand an object to the next: links, a digest twice, and fsync.
func BenchmarkPutAndFetch(b *testing.B) {
	for _, size := range []int{10 << 10, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			dir := b.TempDir()
			store, err := staging.Open(b.Context(), "file://"+filepath.Join(dir, "store"))
			require.NoError(b, err)
			content := make([]byte, size)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				local := filepath.Join(dir, fmt.Sprintf("local-%d", i))
				require.NoError(b, os.WriteFile(local, content, 0o600))
				obj, err := store.Put(b.Context(), fmt.Sprintf("runs/run_%d/ingest/1-%d/part-00000.parquet", i, i), local, 1)
				require.NoError(b, err)
				fetched := filepath.Join(dir, fmt.Sprintf("fetched-%d", i))
				require.NoError(b, store.Fetch(b.Context(), obj, fetched))
				require.NoError(b, os.Remove(local))
				require.NoError(b, os.Remove(fetched))
				require.NoError(b, store.Delete(b.Context(), obj.GetKey()))
			}
		})
	}
}
