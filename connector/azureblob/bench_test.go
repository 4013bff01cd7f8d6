package azureblob

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/test/server"
)

// BenchmarkUpload writes one object as a load does, and beside it the same bytes by the SDK's own UploadStream with blocks of
// the same size and number, without checksums.
func BenchmarkUpload(b *testing.B) {
	srv := server.StartAzureBlob(b)
	cfg := connector.NewConfig(spec, map[string]any{"account": srv.Account},
		map[string]connector.Secret{"account_key": connector.NewSecret(srv.Key)})
	s, err := newStore(cfg, srv.Endpoint, srv.Container, "")
	require.NoError(b, err)
	defer s.Close()
	content := make([]byte, 128<<20)
	_, err = rand.Read(content)
	require.NoError(b, err)
	key := 0
	for name, upload := range map[string]func(b *testing.B, key string){
		"connector": func(b *testing.B, key string) {
			w, err := s.Create(b.Context(), key)
			require.NoError(b, err)
			for chunk := range slices.Chunk(content, 64<<10) {
				_, err = w.Write(chunk)
				require.NoError(b, err)
			}
			require.NoError(b, w.Commit())
		},
		"plain": func(b *testing.B, key string) {
			_, err := s.client.NewBlockBlobClient(key).UploadStream(b.Context(), bytes.NewReader(content),
				&blockblob.UploadStreamOptions{BlockSize: blockBytes, Concurrency: blockParallel})
			require.NoError(b, err)
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				key++
				upload(b, fmt.Sprintf("bench/%d", key))
			}
		})
	}
}
