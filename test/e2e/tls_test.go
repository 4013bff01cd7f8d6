package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFourServicesSpeakTLSToEachOtherAndToClients(t *testing.T) {
	t.Parallel()
	ca, cert, key := certificates(t)
	i := four(t, "LUME_TLS_CERT="+cert, "LUME_TLS_KEY="+key, "LUME_CA_FILE="+ca)
	s, target := files(t, i), postgresSink(t, i)
	list := orders(1, 50, 1)
	version := i.publish(t, flow(fresh("flow"), "connector: "+s.connector+", csv: {}", "region", target.yaml, "append", ""))
	run := i.execute(t, version, s.put(t, "a.csv", encodeCSV(t, list)))
	inState(t, partial, run)
	require.Equal(t, good(list), target.rows(t))

	_, err := http.DefaultClient.Get(i.url("control", "/healthz"))
	require.ErrorContains(t, err, "certificate", "whoever does not know the CA is not talked to")
}

// certificates makes a CA, and a certificate of 127.0.0.1 that it signs.
func certificates(t *testing.T) (caFile, certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	caKey, ca := certificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of the tests"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	key, cert := certificate(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "lume"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, caKey)
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600))
		return path
	}
	return write("ca.crt", "CERTIFICATE", ca.Raw), write("tls.crt", "CERTIFICATE", cert.Raw), write("tls.key", "PRIVATE KEY", keyBytes)
}

// certificate signs a certificate, by itself if there is no parent.
func certificate(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	return key, cert
}
