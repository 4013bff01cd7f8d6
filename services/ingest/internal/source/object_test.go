package source_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/services/ingest/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// remote is an object that is read over slow connections, some of which break.
type remote struct {
	connector.ObjectSource
	data []byte
	// first is how long a request takes to begin, and rate how many bytes per second a connection brings; 0 for no limit.
	first time.Duration
	rate  int64
	// cut tells after how many bytes a connection breaks; negative for never.
	cut func(request int) int64

	mu             sync.Mutex
	requests       int
	open, mostOpen int
}

func (r *remote) Stat(context.Context, string) (connector.ObjectInfo, error) {
	return connector.ObjectInfo{Path: "x", Size: int64(len(r.data)), ETag: "1"}, nil
}

func (r *remote) ReadRange(_ context.Context, _, etag string, offset, length int64) (io.ReadCloser, error) {
	if etag != "1" {
		return nil, connector.ErrChanged
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.open++
	r.mostOpen = max(r.mostOpen, r.open)
	part := r.data[offset:]
	if length >= 0 {
		part = part[:length]
	}
	left := int64(-1)
	if r.cut != nil {
		left = r.cut(r.requests)
	}
	return &connection{remote: r, in: bytes.NewReader(part), left: left}, nil
}

type connection struct {
	remote *remote
	in     io.Reader
	left   int64
	begun  bool
}

func (c *connection) Read(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		time.Sleep(c.remote.first)
	}
	if c.left == 0 {
		return 0, errors.New("connection reset")
	}
	p = p[:min(len(p), 64<<10)]
	if c.left > 0 {
		p = p[:min(int64(len(p)), c.left)]
	}
	n, err := c.in.Read(p)
	c.left -= int64(n)
	if c.remote.rate > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(c.remote.rate))
	}
	return n, err
}

func (c *connection) Close() error {
	c.remote.mu.Lock()
	defer c.remote.mu.Unlock()
	c.remote.open--
	return nil
}

func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

const mib = 1 << 20

func TestAnObjectIsReadInOrderOverSeveralConnectionsThatBreak(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, mib, 8*mib - 1, 8 * mib, 8*mib + 1, 33*mib + 17} {
		for _, ahead := range []int64{0, 16 * mib, 1 << 40} {
			t.Run(fmt.Sprintf("%d bytes, %d ahead", size, ahead), func(t *testing.T) {
				t.Parallel()
				r := &remote{data: noise(size), cut: func(request int) int64 {
					if request%3 == 0 {
						return int64(request) * 100_003
					}
					return -1
				}}
				o, err := source.Open(t.Context(), r, "x", ahead)
				require.NoError(t, err)
				defer o.Close()
				got, err := io.ReadAll(o)
				require.NoError(t, err)
				require.True(t, bytes.Equal(r.data, got))
				digest, n, err := o.Finish()
				require.NoError(t, err)
				sum := sha256.Sum256(r.data)
				require.Equal(t, sum[:], digest)
				require.EqualValues(t, size, n)
				require.LessOrEqual(t, r.mostOpen, int(max(1, min(ahead/(8*mib), 4))))
			})
		}
	}
}

func TestARangeThatStaysBrokenEndsTheReadAndAllConnections(t *testing.T) {
	t.Parallel()
	r := &remote{data: noise(40 * mib), cut: func(request int) int64 {
		if request > 2 {
			return 0
		}
		return -1
	}}
	o, err := source.Open(t.Context(), r, "x", 1<<40)
	require.NoError(t, err)
	_, err = io.ReadAll(o)
	require.ErrorContains(t, err, "SOURCE_READ_BROKEN")
	o.Close()
	require.Zero(t, r.open)
}

func TestAReadThatIsGivenUpLetsGoOfItsConnections(t *testing.T) {
	t.Parallel()
	r := &remote{data: noise(40 * mib)}
	o, err := source.Open(t.Context(), r, "x", 1<<40)
	require.NoError(t, err)
	_, err = io.ReadFull(o, make([]byte, 100))
	require.NoError(t, err)
	digest, n := o.Stop()
	sum := sha256.Sum256(r.data[:n])
	require.Equal(t, sum[:], digest)
	require.Zero(t, r.open)
}

// BenchmarkRemote reads an object whose connections begin after 30 ms and bring 80 MB/s each, as those of S3 do.
func BenchmarkRemote(b *testing.B) {
	data := noise(128 * mib)
	for _, ahead := range []int64{0, 32 * mib} {
		b.Run(fmt.Sprintf("ahead=%dMiB", ahead/mib), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				o, err := source.Open(b.Context(), &remote{data: data, first: 30 * time.Millisecond, rate: 80_000_000}, "x", ahead)
				require.NoError(b, err)
				_, err = io.Copy(io.Discard, struct{ io.Reader }{o})
				require.NoError(b, err)
				o.Close()
			}
		})
	}
}
