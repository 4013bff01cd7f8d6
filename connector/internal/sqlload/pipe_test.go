package sqlload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector/internal/sqlload"
)

func TestAPipeDeliversEveryChunkInOrder(t *testing.T) {
	t.Parallel()
	for _, chunks := range []int{0, 1, 2, 50} {
		var want bytes.Buffer
		p := sqlload.StartPipe(t.Context(), func(p *sqlload.Pipe, chunk []byte) ([]byte, error) {
			for i := range chunks {
				chunk = append(chunk, bytes.Repeat([]byte(strconv.Itoa(i)), 100_000)...)
				want.Write(chunk)
				var err error
				if chunk, err = p.Flush(t.Context(), chunk); err != nil {
					return nil, err
				}
				require.Empty(t, chunk)
			}
			return chunk, nil
		})
		got, err := io.ReadAll(p)
		require.NoError(t, err)
		require.NoError(t, p.Wait())
		require.True(t, bytes.Equal(want.Bytes(), got))
	}
}

func TestAPipeTellsTheErrorOfItsEncoderToItsOwnerAlone(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	p := sqlload.StartPipe(t.Context(), func(p *sqlload.Pipe, chunk []byte) ([]byte, error) {
		if _, err := p.Flush(t.Context(), append(chunk, "half"...)); err != nil {
			return nil, err
		}
		return nil, boom
	})
	got, err := io.ReadAll(p)
	require.Equal(t, "half", string(got))
	require.ErrorIs(t, err, sqlload.ErrPipe)
	require.NotErrorIs(t, err, boom)
	require.ErrorIs(t, p.Wait(), boom)
}

func TestAPipeThatNobodyReadsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := sqlload.StartPipe(ctx, func(p *sqlload.Pipe, chunk []byte) ([]byte, error) {
		for {
			var err error
			if chunk, err = p.Flush(ctx, append(chunk, 'x')); err != nil {
				return nil, err
			}
		}
	})
	cancel()
	require.ErrorIs(t, p.Wait(), context.Canceled)
	_, err := io.ReadAll(p)
	require.ErrorIs(t, err, sqlload.ErrPipe)
}
