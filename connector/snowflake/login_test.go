package snowflake_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// keyFile returns a key of testdata, made by openssl; that of all files is the same, and the passphrase `open-sesame`.
func keyFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(text)
}

func publicKey(t *testing.T) *rsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(keyFile(t, "plain.p8")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return &key.(*rsa.PrivateKey).PublicKey
}

func TestAKeyPairLogsIn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.p8", "pkcs1.pem", "des3.p8", "aes128.p8", "aes256.p8", "sha1.p8"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := snowflaketest.Start(t, numbers(t, 1))
			s.Key = publicKey(t)
			link, err := open(t, settings(s.URL), map[string]string{"private_key": keyFile(t, name), "private_key_passphrase": "open-sesame"})
			require.NoError(t, err)
			values, _, err := all(t, t.Context(), link)
			require.NoError(t, err)
			require.Equal(t, upTo(10), values)
		})
	}
}

func TestAKeyThatCannotBeReadIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ key, passphrase, want string }{
		"no key":               {"not a key", "", "private_key is not a PEM block of an RSA key in PKCS #8"},
		"broken":               {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", "private_key is not a PEM block of an RSA key in PKCS #8"},
		"a certificate":        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "", "private_key is not a PEM block of an RSA key in PKCS #8"},
		"the wrong passphrase": {keyFile(t, "aes256.p8"), connectortest.Canary, "private_key is encrypted, and private_key_passphrase does not open it"},
		"no passphrase":        {keyFile(t, "des3.p8"), "", "private_key is encrypted, and private_key_passphrase does not open it"},
		"an old cipher":        {keyFile(t, "v1.p8"), "open-sesame", "private_key is encrypted in a way that is not known: use PKCS #8 with -v2 aes256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := open(t, settings("http://127.0.0.1:1"), map[string]string{"private_key": tt.key, "private_key_passphrase": tt.passphrase})
			require.Equal(t, tt.want, coded(t, err, "INVALID_CONNECTOR_SETTING").Message)
		})
	}
}

func TestASettingThatCanNeverWorkIsRefused(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(map[string]any){
		"host": func(s map[string]any) { s["host"] = "http://example.com" }, "account": func(s map[string]any) { delete(s, "host"); s["account"] = "evil.example.com/x" },
		"role": func(s map[string]any) { s["role"] = "a\x00" },
	} {
		changed := settings("127.0.0.1")
		change(changed)
		_, err := open(t, changed, map[string]string{"password": "x"})
		require.Equal(t, field, coded(t, err, "INVALID_CONNECTOR_SETTING").Meta["field"])
	}
	for _, host := range []string{"http://", "a/b", "user@host", "host:0", "host:99999", "host?x=1", "a b"} {
		_, err := open(t, settings(host), map[string]string{"password": "x"})
		require.Equal(t, "host", coded(t, err, "INVALID_CONNECTOR_SETTING").Meta["field"], host)
	}
	_, err := open(t, settings("127.0.0.1"), nil)
	coded(t, err, "INVALID_CONNECTOR_SETTING")
}

func TestALoginThatIsRefusedIsUnderstandable(t *testing.T) {
	t.Parallel()
	fake := func(t *testing.T, number int) *snowflaketest.Server {
		t.Helper()
		s := snowflaketest.Start(t, numbers(t, 1))
		s.Login = func(map[string]any) int { return number }
		return s
	}
	number := func(n int) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return connect(t, fake(t, n)), nil
		}
	}
	hidden := []string{"driver text", "JWT", "fake-trace-id", "Incorrect"}
	connectortest.Checks(t, connectortest.ChecksHarness{
		Open: func(t *testing.T) connector.Connector { return connect(t, newAccount(t).Server) },
		Broken: []connectortest.Broken{
			{Name: "WrongPassword", Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated, Hidden: hidden,
				Open: func(t *testing.T) (connector.Connector, error) {
					return open(t, settings(fake(t, 0).URL), map[string]string{"password": connectortest.Canary})
				}},
			{Name: "WrongKey", Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated, Hidden: hidden,
				Open: func(t *testing.T) (connector.Connector, error) {
					s := fake(t, 0)
					s.Key = &rsa.PublicKey{N: publicKey(t).N, E: 3}
					return open(t, settings(s.URL), map[string]string{"private_key": keyFile(t, "plain.p8")})
				}},
			{Name: "RoleNotGranted", Check: "authenticate", Reason: "ROLE_NOT_GRANTED", Kind: connector.KindPermission, Hidden: hidden, Open: number(390189)},
			{Name: "NetworkPolicy", Check: "authenticate", Reason: "NETWORK_POLICY", Kind: connector.KindPermission, Hidden: hidden, Open: number(390422)},
			{Name: "NoSuchDatabase", Check: "authenticate", Reason: "DATABASE_NOT_FOUND", Kind: connector.KindNotFound, Hidden: hidden, Open: number(390201)},
			{Name: "TLSWhereThereIsNone", Check: "connect", Reason: "TLS_FAILED", Kind: connector.KindInvalid, Hidden: hidden,
				Open: func(t *testing.T) (connector.Connector, error) {
					return open(t, settings(strings.TrimPrefix(fake(t, 0).URL, "http://")), map[string]string{"password": "secret"})
				}},
			{Name: "UnknownHost", Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable, Hidden: hidden,
				Open: func(t *testing.T) (connector.Connector, error) {
					return open(t, settings("no-such-host.invalid"), map[string]string{"password": connectortest.Canary})
				}},
			{Name: "NobodyListens", Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable, Hidden: hidden,
				Open: func(t *testing.T) (connector.Connector, error) {
					return open(t, settings("http://127.0.0.1:1"), map[string]string{"password": connectortest.Canary})
				}},
		},
	})
}
