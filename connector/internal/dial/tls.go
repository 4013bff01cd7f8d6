package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/lume-data/lume/connector"
)

// TLS modes.
const (
	Disable    = "disable"
	Require    = "require"
	VerifyCA   = "verify-ca"
	VerifyFull = "verify-full"
)

// TLSFields are the settings that [TLS] reads.
func TLSFields() []connector.Field {
	return []connector.Field{
		{Name: "sslmode", Type: connector.Enum, Default: VerifyFull, Address: true,
			Values: []string{Disable, Require, VerifyCA, VerifyFull},
			Doc: "`verify-full` encrypts and checks the server's certificate and name; `verify-ca` does not check the name; " +
				"`require` encrypts but checks nothing; `disable` sends everything in the clear."},
		{Name: "ca_certificate", Type: connector.String, Doc: "Certificates (PEM) that the server's must be signed by. Default: those of the system."},
		{Name: "client_certificate", Type: connector.String, Doc: "Client certificate (PEM)."},
		{Name: "client_key", Type: connector.Sensitive, Doc: "Key (PEM) of the client certificate."},
	}
}

// TLS returns the TLS configuration of a link to host, or nil if its mode is disable. Errors are *connector.Error of KindInvalid.
func TLS(host string, cfg connector.Config) (*tls.Config, error) {
	mode := cfg.Text("sslmode")
	if mode == Disable {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if pem := cfg.Text("ca_certificate"); pem != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM([]byte(pem)) {
			return nil, InvalidSetting("ca_certificate", "holds no certificate in PEM")
		}
	}
	if pem := cfg.Text("client_certificate"); pem != "" {
		pair, err := tls.X509KeyPair([]byte(pem), []byte(cfg.Secret("client_key").Reveal()))
		if err != nil {
			return nil, InvalidSetting("client_certificate", "and client_key are not a pair in PEM")
		}
		t.Certificates = []tls.Certificate{pair}
	}
	switch mode {
	case Require:
		t.InsecureSkipVerify = true
	case VerifyCA:
		t.InsecureSkipVerify = true
		t.VerifyConnection = verifyChain(t.RootCAs)
	}
	return t, nil
}

// InvalidSetting is the error of a setting that cannot work.
func InvalidSetting(field, message string) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: field + " " + message,
		Meta: map[string]string{"field": field}}
}

// verifyChain checks the server's certificate but not its name.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		chain := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			chain.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: chain})
		return err
	}
}

// IsTLS reports whether an error is one of the TLS handshake or of a certificate.
func IsTLS(err error) bool {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		alert    tls.AlertError
		record   tls.RecordHeaderError
	)
	return errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) || errors.As(err, &verify) ||
		errors.As(err, &alert) || errors.As(err, &record)
}
