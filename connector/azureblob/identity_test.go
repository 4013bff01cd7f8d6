package azureblob_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

// newAuthority stands for Entra ID: it gives a token for storage to one client with its secret.
func newAuthority(t *testing.T) *httptest.Server {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	mux := http.NewServeMux()
	authority := httptest.NewUnstartedServer(mux)
	authority.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /"+tenant+"/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		base := authority.URL + "/" + tenant
		answer(w, http.StatusOK, map[string]string{
			"authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token", "issuer": base + "/v2.0",
		})
	})
	mux.HandleFunc("POST /"+tenant+"/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("client_id") != "lume-client" || r.PostFormValue("client_secret") != "lume-client-secret" {
			answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "AADSTS7000215: " + connectortest.Canary})
			return
		}
		now := time.Now().Unix()
		claims, _ := json.Marshal(map[string]any{
			"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/" + tenant + "/", "iat": now, "nbf": now - 60, "exp": now + 3600,
		})
		encode := base64.RawURLEncoding.EncodeToString
		answer(w, http.StatusOK, map[string]any{
			"token_type": "Bearer", "expires_in": 3600,
			"access_token": encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims) + "." + encode([]byte("signature")),
		})
	})
	authority.StartTLS()
	t.Cleanup(authority.Close)
	return authority
}

func TestServicePrincipalsReadAndWrite(t *testing.T) {
	t.Parallel()
	authority, srv := newAuthority(t), server.StartAzuriteTLS(t, certFile, keyFile)
	with := func(name, value string) map[string]any {
		set := settings(srv)
		set["tenant_id"], set["client_id"], set["authority_host"] = tenant, "lume-client", authority.URL
		set[name] = value
		return set
	}
	set := with("prefix", "in")
	put(t, srv, "in/a.csv", "content")
	c, err := open(t, set, secret("client_secret", "lume-client-secret"))
	require.NoError(t, err)
	for _, check := range c.Check(t.Context()) {
		require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
	}
	require.Equal(t, "content", get(t, c, srv.Endpoint+"/"+srv.Container+"/in/a.csv"))
	connectortest.Fill(t, c.(connector.Target), spec, []connectortest.Row{connectortest.Values("1", "x")})
	require.Len(t, objects(t, srv, "in/out/"), 2)

	for name, tt := range map[string]struct {
		settings      map[string]any
		secret        string
		check, reason string
		kind          connector.Kind
	}{
		"wrong secret": {set, connectortest.Canary, "authenticate", "IDENTITY_REFUSED", connector.KindUnauthenticated},
		"wrong client": {with("client_id", "nobody"), connectortest.Canary, "authenticate", "IDENTITY_REFUSED", connector.KindUnauthenticated},
		"wrong tenant": {with("tenant_id", "00000000-0000-0000-0000-000000000000"), connectortest.Canary, "authenticate", "IDENTITY_REFUSED",
			connector.KindUnauthenticated},
		"no authority": {with("authority_host", "https://127.0.0.1:1"), connectortest.Canary, "connect", "IDENTITY_UNAVAILABLE", connector.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := open(t, tt.settings, secret("client_secret", tt.secret))
			require.NoError(t, err)
			for _, check := range c.Check(t.Context()) {
				require.Equal(t, check.Name == tt.check, check.Status == connector.CheckFailed, "%s: %v", check.Name, check.Err)
				if check.Err != nil {
					require.Equal(t, tt.reason, check.Err.Reason, "%v", check.Err.Cause)
					require.Equal(t, tt.kind, check.Err.Kind)
					require.NotContains(t, check.Err.Error()+check.Err.Next+fmt.Sprint(check.Err.Meta), "canary")
				}
			}
		})
	}
}

// Without any credential the identity is the machine's: here that of a pod, by the variables that the environment sets.
func TestWithoutCredentialsTheIdentityIsThatOfTheMachine(t *testing.T) {
	for _, name := range []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"} {
		t.Setenv(name, "")
	}
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "WorkloadIdentityCredential")
	c, err := open(t, map[string]any{"account": "lumetest", "container": "batches"}, nil)
	require.NoError(t, err)
	_, err = c.(connector.ObjectSource).Stat(t.Context(), "azblob://batches/a.csv")
	coded := connectortest.RequireReason(t, err, "NO_CREDENTIALS")
	require.Equal(t, connector.KindUnauthenticated, coded.Kind)
}
