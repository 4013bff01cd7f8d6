package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/lume-data/lume/internal/loopback"
)

// Config says which NATS a bus talks to: an embedded server, or a cluster by URL.
type Config struct {
	// Embedded is a server in this process; URL and what follows it are then ignored.
	Embedded *Embedded
	// URL of the servers, separated by commas: nats:// or tls://.
	URL string
	// CredsFile holds a user's JWT and seed; NKeyFile holds the seed of an nkey. At most one of them is set.
	CredsFile, NKeyFile string
	// CAFile verifies the servers instead of the system's roots. CertFile and KeyFile are this client's certificate. Any
	// of them demands TLS.
	CAFile, CertFile, KeyFile string
	// Insecure permits plain text to servers that are not on this machine. Never a default.
	Insecure bool
	// InboxPrefix is where answers arrive, for users that may not subscribe to `_INBOX.>`.
	InboxPrefix string
	// Replicas of each stream; default 3 on a cluster and 1 otherwise.
	Replicas int
	// NoSetup leaves streams and consumers to somebody with more rights: control, or an operator.
	NoSetup bool
	// Name of the connection, for operators.
	Name string
	// Log gets connection changes; nil for none.
	Log *slog.Logger
}

// Validate checks a configuration.
func (c Config) Validate() error {
	if c.Embedded != nil {
		return nil
	}
	if c.URL == "" {
		return errors.New("the NATS URL is empty")
	}
	if c.CredsFile != "" && c.NKeyFile != "" {
		return errors.New("set either a NATS credentials file or an nkey file")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("a NATS client certificate needs both a certificate and a key file")
	}
	for server := range strings.SplitSeq(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Hostname() == "" {
			return errors.New("the NATS URL must be nats://host:port or tls://host:port, or several separated by commas")
		}
		switch u.Scheme {
		case "tls":
		case "nats":
			if !c.wantsTLS() && !c.Insecure && !loopback.Is(u.Hostname()) {
				return fmt.Errorf("NATS server %s is not on this machine: TLS is required there; use tls:// or set a CA file", u.Hostname())
			}
		default:
			return errors.New("the NATS URL must start with nats:// or tls://")
		}
	}
	return nil
}

func (c Config) wantsTLS() bool { return c.CAFile != "" || c.CertFile != "" }

// options translates the configuration for the client.
func (c Config) options() ([]nats.Option, error) {
	opts := []nats.Option{nats.Name(c.Name)}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.Embedded != nil {
		return append(opts, nats.InProcessServer(c.Embedded)), nil
	}
	if c.wantsTLS() {
		own := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("read the NATS CA file: %w", err)
			}
			own.RootCAs = x509.NewCertPool()
			if !own.RootCAs.AppendCertsFromPEM(pem) {
				return nil, errors.New("the NATS CA file holds no certificate")
			}
		}
		if c.CertFile != "" {
			// Read for every handshake, so that a renewed certificate is used.
			own.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
				return &pair, err
			}
			if _, err := own.GetClientCertificate(nil); err != nil {
				return nil, fmt.Errorf("read the NATS client certificate: %w", err)
			}
		}
		opts = append(opts, nats.Secure(own))
	}
	if c.CredsFile != "" {
		if _, err := os.Stat(c.CredsFile); err != nil {
			return nil, fmt.Errorf("read the NATS credentials file: %w", err)
		}
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.NKeyFile != "" {
		nkey, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the NATS nkey file: %w", err)
		}
		opts = append(opts, nkey)
	}
	return opts, nil
}
