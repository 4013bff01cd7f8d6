package loopback_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/internal/loopback"
)

func TestOnlyAddressesOfThisMachineAreLoopback(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:0": true, "[::1]:80": true, "localhost:1": true, "unix:/a/b": true,
		"[::ffff:127.0.0.1]:1": true, "passthrough:///127.0.0.1:1": true,
		"": false, ":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1:80": false,
		"localhost.example.com:80": false, "127.0.0.1.example.com:80": false, "control:7000": false,
	} {
		require.Equal(t, want, loopback.Is(address), address)
	}
}

func TestLocalReplacesWildcards(t *testing.T) {
	t.Parallel()
	require.Equal(t, "127.0.0.1:7", loopback.Local(":7"))
	require.Equal(t, "127.0.0.1:7", loopback.Local("0.0.0.0:7"))
	require.Equal(t, "[::1]:7", loopback.Local("[::]:7"))
	require.Equal(t, "10.0.0.1:7", loopback.Local("10.0.0.1:7"))
}
