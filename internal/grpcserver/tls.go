package grpcserver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLS names the files of a server's certificate. They are read again when they change, so that short-lived certificates
// need no restart.
type TLS struct {
	// CertFile and KeyFile are PEM. Empty for plain text, which is refused off loopback.
	CertFile, KeyFile string
	// ClientCAFile verifies client certificates where a client sends one (workers by mTLS). Optional.
	ClientCAFile string
}

// Enabled reports whether there is a certificate.
func (t TLS) Enabled() bool { return t.CertFile != "" || t.KeyFile != "" }

// recheck is how long a loaded certificate is used without looking at the files.
const recheck = 10 * time.Second

// certificate is a key pair that follows its files.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	loaded  *tls.Certificate
	modTime time.Time
	checked time.Time
}

func (c *certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.loaded != nil && now.Sub(c.checked) < recheck {
		return c.loaded, nil
	}
	c.checked = now
	info, err := os.Stat(c.certFile)
	if err == nil && c.loaded != nil && info.ModTime().Equal(c.modTime) {
		return c.loaded, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile)
	}
	if err != nil {
		if c.loaded != nil {
			return c.loaded, nil // Files that are being replaced: keep the old pair until both are there.
		}
		return nil, fmt.Errorf("load the TLS certificate: %w", err)
	}
	c.loaded, c.modTime = &pair, info.ModTime()
	return c.loaded, nil
}

// configs returns the server's TLS configuration and one for this process's own clients of it: they accept exactly the
// server's current certificate, whatever names it has.
func (t TLS) configs() (server, own *tls.Config, err error) {
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, nil, errors.New("TLS needs both a certificate file and a key file")
	}
	c := &certificate{certFile: t.CertFile, keyFile: t.KeyFile}
	if _, err := c.get(); err != nil {
		return nil, nil, err
	}
	server = &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get() },
	}
	if t.ClientCAFile != "" {
		pem, err := os.ReadFile(t.ClientCAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read the CA of client certificates: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, nil, errors.New("the CA file of client certificates holds no certificate")
		}
		server.ClientCAs, server.ClientAuth = pool, tls.VerifyClientCertIfGiven
	}
	own = &tls.Config{
		MinVersion: tls.VersionTLS13,
		//nolint:gosec // VerifyConnection pins the certificate itself, which is stricter than any name.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			want, err := c.get()
			if err != nil {
				return err
			}
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, want.Certificate[0]) {
				return errors.New("the server has another certificate than this process")
			}
			return nil
		},
	}
	return server, own, nil
}

// ServerConfig returns the TLS configuration of a server on address. It is nil for plain text, which is an error off
// loopback unless insecure says that something else protects the traffic.
func (t TLS) ServerConfig(address string, insecure bool) (*tls.Config, error) {
	if !t.Enabled() {
		return nil, refusePlain(address, insecure)
	}
	server, _, err := t.configs()
	return server, err
}
