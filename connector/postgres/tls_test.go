package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/test/server"
)

// authority signs certificates of servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert: cert, key: key, pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a *authority) server(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsServer puts TLS before the database of a DSN, as PostgreSQL does it, and returns its port.
func tlsServer(t *testing.T, dsn string, cert tls.Certificate) int {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var lines sync.WaitGroup
	lines.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			lines.Go(func() {
				defer client.Close()
				request := make([]byte, 8) // SSLRequest
				if _, err := io.ReadFull(client, request); err != nil {
					return
				}
				if _, err := client.Write([]byte("S")); err != nil {
					return
				}
				server, err := net.Dial("tcp", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
				if err != nil {
					return
				}
				defer server.Close()
				secure := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
				lines.Go(func() {
					_, _ = io.Copy(secure, server)
					_ = client.Close()
				})
				_, _ = io.Copy(server, secure)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		lines.Wait()
	})
	return listener.Addr().(*net.TCPAddr).Port
}

func TestTLSIsVerifiedAsFarAsTheModeSays(t *testing.T) {
	t.Parallel()
	b := setupIn(t, server.OwnPostgres(t, "it needs a server that does not speak TLS, to put certificates of its own before it"))
	ca, other := newAuthority(t), newAuthority(t)
	named, foreign := tlsServer(t, b.dsn, ca.server(t, "localhost")), tlsServer(t, b.dsn, ca.server(t, "elsewhere.example"))
	for name, c := range map[string]struct {
		mode, ca string
		port     int
		fails    bool
	}{
		"full, right name":     {"verify-full", ca.pem, named, false},
		"full, wrong name":     {"verify-full", ca.pem, foreign, true},
		"full, wrong CA":       {"verify-full", other.pem, named, true},
		"full, CAs of system":  {"verify-full", "", named, true},
		"CA, wrong name":       {"verify-ca", ca.pem, foreign, false},
		"CA, wrong CA":         {"verify-ca", other.pem, foreign, true},
		"require, unknown CA":  {"require", "", foreign, false},
		"server speaks no TLS": {"require", "", 0, true},
	} {
		settings := map[string]any{"host": "localhost", "sslmode": c.mode}
		if c.ca != "" {
			settings["ca_certificate"] = c.ca
		}
		if c.port != 0 {
			settings["port"] = float64(c.port)
		} else {
			settings["host"] = "127.0.0.1"
		}
		_, err := connect(t, b.dsn, settings).Describe(t.Context(), "SELECT 1 AS a", false)
		if !c.fails {
			require.NoError(t, err, name)
			continue
		}
		e := coded(t, err, "TLS_FAILED")
		require.NotEmpty(t, e.Next, name)
	}
}
