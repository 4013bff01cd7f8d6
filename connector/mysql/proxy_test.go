package mysql_test

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/test/server"
)

// proxy stands between a connector and its server, and can cut the line at a COMMIT or hide that the server speaks TLS.
type proxy struct {
	port   int
	server string
	// plain takes TLS out of the server's greeting.
	plain bool

	mu      sync.Mutex
	cutting bool
	reaches bool
}

func startProxy(t *testing.T, m *server.MySQL, plain bool) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{port: listener.Addr().(*net.TCPAddr).Port, server: net.JoinHostPort(m.Host, strconv.Itoa(m.Port)), plain: plain}
	var lines sync.WaitGroup
	lines.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			lines.Go(func() { p.line(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		lines.Wait()
	})
	return p
}

// cutAtCommit cuts the line at the next COMMIT: after the server has done it, if it reaches the server, else before.
func (p *proxy) cutAtCommit(reaches bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutting, p.reaches = true, reaches
}

func (p *proxy) cut(data []byte) (now, reaches bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cutting || !bytes.HasSuffix(data, []byte("\x03COMMIT")) {
		return false, false
	}
	p.cutting = false
	return true, p.reaches
}

// withoutTLS clears CLIENT_SSL in a greeting: header, protocol, version, thread, data, filler, capabilities.
func withoutTLS(greeting []byte) {
	const clientSSL = 0x0800
	at := 5 + bytes.IndexByte(greeting[5:], 0) + 1 + 4 + 8 + 1
	greeting[at+1] &^= clientSSL >> 8
}

func (p *proxy) line(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
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
			if first && p.plain {
				withoutTLS(buf[:n])
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if now, reaches := p.cut(buf[:n]); now {
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
