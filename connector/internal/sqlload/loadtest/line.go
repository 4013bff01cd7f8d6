package loadtest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Line stands between a connector and its server, and can cut the connection at a COMMIT.
type Line struct {
	// Port of this machine where it listens.
	Port int

	server   string
	commits  func(data []byte) bool
	greeting func(data []byte)

	mu      sync.Mutex
	cutting bool
	reaches bool
}

// StartLine starts a line to a server until the test ends. commits recognises a COMMIT in what a client sends; greeting changes the
// first bytes that the server sends, and can be nil.
func StartLine(t *testing.T, server string, commits func(data []byte) bool, greeting func(data []byte)) *Line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &Line{Port: listener.Addr().(*net.TCPAddr).Port, server: server, commits: commits, greeting: greeting}
	var lines sync.WaitGroup
	lines.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			lines.Go(func() { l.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		lines.Wait()
	})
	return l
}

// CutAtCommit cuts the line at the next COMMIT: after the server has done it, if it reaches the server, else before.
func (l *Line) CutAtCommit(reaches bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutting, l.reaches = true, reaches
}

func (l *Line) cut(data []byte) (now, reaches bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cutting || !l.commits(data) {
		return false, false
	}
	l.cutting = false
	return true, l.reaches
}

func (l *Line) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	var silent atomic.Bool
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		buf := make([]byte, 1<<16)
		for first := true; ; first = false {
			n, err := server.Read(buf)
			if err != nil || silent.Load() {
				_ = client.Close()
				return
			}
			if first && l.greeting != nil {
				l.greeting(buf[:n])
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if now, reaches := l.cut(buf[:n]); now {
			if reaches {
				silent.Store(true)
				_, _ = server.Write(buf[:n])
				<-answered
			}
			return
		}
		if n > 0 {
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
