package postgres_test

import (
	"bytes"
	"net"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// proxy stands between a connector and its server, and can cut the line at a COMMIT.
type proxy struct {
	*loadtest.Line
	port int
}

func startProxy(t *testing.T, dsn string) *proxy {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	line := loadtest.StartLine(t, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), func(data []byte) bool {
		return bytes.Contains(data, []byte("commit\x00"))
	}, nil)
	return &proxy{Line: line, port: line.Port}
}

func (p *proxy) cutAtCommit(reaches bool) { p.CutAtCommit(reaches) }
