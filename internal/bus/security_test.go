package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	"github.com/lume-data/lume/test/server"
)

// certificates writes a CA (ca.pem) and a certificate of it for this machine (cert.pem, key.pem), and returns the folder.
func certificates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	make509 := func(serial int64, isCA bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "lume test"}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), IsCA: isCA, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	ca, leaf := make509(1, true), make509(2, false)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", der)
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	write("cert.pem", "CERTIFICATE", der)
	der, err = x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	write("key.pem", "EC PRIVATE KEY", der)
	return dir
}

func TestMutualTLSToAnExternalServer(t *testing.T) {
	t.Parallel()
	dir := certificates(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	n := server.NewNATS(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", at("cert.pem"), at("key.pem"), at("ca.pem")))
	b := connect(t, Config{URL: n.URL, CAFile: at("ca.pem"), CertFile: at("cert.pem"), KeyFile: at("key.pem")})
	require.NoError(t, b.Health())
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))

	_, err := Connect(t.Context(), Config{URL: n.URL, CAFile: at("key.pem")})
	require.ErrorContains(t, err, "no certificate")
	_, err = Connect(t.Context(), Config{URL: n.URL, CertFile: at("ca.pem"), KeyFile: at("key.pem")})
	require.Error(t, err)
}

func TestAWorkerNeedsNoRightBeyondItsOwnStage(t *testing.T) {
	t.Parallel()
	user := func() (public, seedFile string) {
		pair, err := nkeys.CreateUser()
		require.NoError(t, err)
		public, err = pair.PublicKey()
		require.NoError(t, err)
		seed, err := pair.Seed()
		require.NoError(t, err)
		seedFile = filepath.Join(t.TempDir(), "seed")
		require.NoError(t, os.WriteFile(seedFile, seed, 0o600))
		return public, seedFile
	}
	control, controlSeed := user()
	worker, workerSeed := user()
	n := server.NewNATS(t, fmt.Sprintf(`authorization { users: [
		{ nkey: %s }
		{ nkey: %s, permissions: {
			publish: { allow: [ %s ] }
			subscribe: { allow: [ "_INBOX_ingest.>" ] } } }
	] }`, control, worker, strings.Join([]string{
		`"$JS.API.CONSUMER.INFO.LUME_STAGES.ingest"`, `"$JS.API.CONSUMER.MSG.NEXT.LUME_STAGES.ingest"`,
		`"$JS.ACK.LUME_STAGES.ingest.>"`, `"lume.progress.>"`,
	}, ", ")))
	full := connect(t, Config{URL: n.URL, NKeyFile: controlSeed})
	require.NoError(t, full.Health())
	narrow := connect(t, Config{URL: n.URL, NKeyFile: workerSeed, NoSetup: true, InboxPrefix: "_INBOX_ingest"})
	require.NoError(t, narrow.Health())

	progress := make(chan int64, 1)
	require.NoError(t, full.WatchProgress(t.Context(), "run_1", func(p *eventv1.Progress) { progress <- p.GetRows() }))
	got := make(chan string, 1)
	stop := consume(t, narrow, 1, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		noError(t, narrow.PublishProgress(&eventv1.Progress{RunId: "run_1", Rows: 9}))
		noError(t, d.Ack(ctx))
		got <- ev.GetTaskId()
	})
	require.NoError(t, full.PublishStage(t.Context(), "1", event("t1"), nil))
	require.Equal(t, "t1", <-got)
	require.Equal(t, int64(9), <-progress)
	stop()

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	require.Error(t, narrow.PublishStage(ctx, "2", event("forged"), nil), "a worker cannot make work")
	require.Error(t, narrow.PublishRun(ctx, "3", RunSubject("f", "run_1", "succeeded"), []byte("{}"), nil))
}
