package mysql_test

import (
	"bytes"
	"net"
	"strconv"
	"testing"

	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/test/server"
)

// proxy stands between a connector and its server, and can cut the line at a COMMIT or hide that the server speaks TLS.
type proxy struct {
	*loadtest.Line
	port int
}

func startProxy(t *testing.T, m *server.MySQL, plain bool) *proxy {
	t.Helper()
	var greeting func([]byte)
	if plain {
		greeting = withoutTLS
	}
	line := loadtest.StartLine(t, net.JoinHostPort(m.Host, strconv.Itoa(m.Port)), func(data []byte) bool {
		return bytes.HasSuffix(data, []byte("\x03COMMIT"))
	}, greeting)
	return &proxy{Line: line, port: line.Port}
}

func (p *proxy) cutAtCommit(reaches bool) { p.CutAtCommit(reaches) }

// withoutTLS clears CLIENT_SSL in a greeting: header, protocol, version, thread, data, filler, capabilities.
func withoutTLS(greeting []byte) {
	const clientSSL = 0x0800
	at := 5 + bytes.IndexByte(greeting[5:], 0) + 1 + 4 + 8 + 1
	greeting[at+1] &^= clientSSL >> 8
}
