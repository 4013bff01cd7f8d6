package mysql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/test/server"
)

// otherCA is a certificate that signed nothing here.
const otherCA = `-----BEGIN CERTIFICATE-----
MIIBtjCCAVugAwIBAgITBmyf1XSXNmY/Owua2eiedgPySjAKBggqhkjOPQQDAjA5
MQswCQYDVQQGEwJVUzEPMA0GA1UEChMGQW1hem9uMRkwFwYDVQQDExBBbWF6b24g
Um9vdCBDQSAzMB4XDTE1MDUyNjAwMDAwMFoXDTQwMDUyNjAwMDAwMFowOTELMAkG
A1UEBhMCVVMxDzANBgNVBAoTBkFtYXpvbjEZMBcGA1UEAxMQQW1hem9uIFJvb3Qg
Q0EgMzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCmXp8ZBf8ANm+gBG1bG8lKl
ui2yEujSLtf6ycXYqm0fc4E7O5hrOXwzpcVOho6AF2hiRVd9RFgdszflZwjrZt6j
QjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgGGMB0GA1UdDgQWBBSr
ttvXBp43rDCGB5Fwx5zEGbF4wDAKBggqhkjOPQQDAgNJADBGAiEA4IWSoxe3jfkr
BqWTrBqYaGFy+uGh0PsceGCmQ5nFuMQCIQCcAu/xlJyzlvnrxir4tiz+OpAUFteM
YyRIHN8wfdVoOw==
-----END CERTIFICATE-----
`

func TestTLSIsVerifiedAsFarAsTheModeSays(t *testing.T) {
	t.Parallel()
	own := server.OwnMySQL(t)
	for name, c := range map[string]struct {
		mode, host, ca string
		fails          bool
	}{
		"full, right name":    {"verify-full", "localhost", own.CA, false},
		"full, wrong name":    {"verify-full", "127.0.0.1", own.CA, true},
		"full, wrong CA":      {"verify-full", "localhost", otherCA, true},
		"full, CAs of system": {"verify-full", "localhost", "", true},
		"CA, wrong name":      {"verify-ca", "127.0.0.1", own.CA, false},
		"CA, wrong CA":        {"verify-ca", "127.0.0.1", otherCA, true},
		"require, unknown CA": {"require", "127.0.0.1", "", false},
	} {
		settings := map[string]any{"host": c.host, "sslmode": c.mode}
		if c.ca != "" {
			settings["ca_certificate"] = c.ca
		}
		link := connect(t, own, settings)
		_, err := link.Describe(t.Context(), "SELECT 1 AS a", false)
		if !c.fails {
			require.NoError(t, err, name)
			require.NotEmpty(t, all(t, link, "SELECT variable_value AS cipher FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'", "", false)[0], name)
			continue
		}
		require.NotEmpty(t, coded(t, err, "TLS_FAILED").Next, name)
	}
}

func TestNothingIsSentInTheClearWhereTLSIsRequired(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plain := startProxy(t, b.server, true)
	for _, mode := range []string{"require", "verify-ca", "verify-full"} {
		link := connect(t, b.server, map[string]any{"host": "127.0.0.1", "port": float64(plain.port), "sslmode": mode})
		_, err := link.Describe(t.Context(), "SELECT 1 AS a", false)
		coded(t, err, "TLS_FAILED")
	}
}
