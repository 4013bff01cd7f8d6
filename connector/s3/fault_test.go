package s3_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestObjectFaults(t *testing.T) {
	t.Parallel()
	connectortest.ObjectFaults(t, func(t *testing.T) connectortest.FaultyStore {
		t.Helper()
		srv := server.OwnS3(t, "requests pass through a proxy, whose host is in their signature")
		p := connectortest.NewProxy(t, srv.Endpoint, true)
		store := place(srv)
		direct := store.Open
		store.Open = func(t *testing.T, settings map[string]any) connector.Connector {
			t.Helper()
			through := map[string]any{"endpoint": p.URL}
			maps.Copy(through, settings)
			return direct(t, through)
		}
		return connectortest.FaultyStore{
			ObjectStore: store, Proxy: p, Parallel: 5,
			Busy: func(w http.ResponseWriter) { refuse(w, http.StatusServiceUnavailable, "SlowDown") },
			Part: func(r *http.Request) bool { return r.URL.Query().Has("partNumber") },
		}
	})
}

// refuse answers as S3 does.
func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, connectortest.Canary)
}

func TestErrorsOfTheStoreAreCodedAndShowNothing(t *testing.T) {
	t.Parallel()
	connectortest.StoreErrors(t, map[string]connectortest.StoreError{
		"NoSuchBucket":                 {Status: 404, Reason: "BUCKET_NOT_FOUND", Kind: connector.KindNotFound},
		"AccessDenied":                 {Status: 403, Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
		"InvalidAccessKeyId":           {Status: 403, Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
		"SignatureDoesNotMatch":        {Status: 403, Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
		"ExpiredToken":                 {Status: 400, Reason: "CREDENTIALS_EXPIRED", Kind: connector.KindUnauthenticated},
		"RequestTimeTooSkewed":         {Status: 403, Reason: "CLOCK_SKEWED", Kind: connector.KindUnauthenticated},
		"PermanentRedirect":            {Status: 301, Reason: "WRONG_REGION", Kind: connector.KindInvalid},
		"AuthorizationHeaderMalformed": {Status: 400, Reason: "WRONG_REGION", Kind: connector.KindInvalid},
		"InternalError":                {Status: 500, Reason: "STORE_UNAVAILABLE", Kind: connector.KindUnavailable},
		"SlowDown":                     {Status: 503, Reason: "STORE_UNAVAILABLE", Kind: connector.KindUnavailable},
		"NotImplemented":               {Status: 501, Reason: "STORE_UNAVAILABLE", Kind: connector.KindUnavailable},
		"InvalidArgument":              {Status: 400, Reason: "STORE_REFUSED_REQUEST", Kind: connector.KindInvalid},
		"Odd " + connectortest.Canary:  {Status: 400, Reason: "STORE_REFUSED_REQUEST", Kind: connector.KindInvalid},
	}, refuse, func(t *testing.T, endpoint string) connector.Connector {
		c, err := open(t, map[string]any{"bucket": "b", "endpoint": endpoint, "access_key_id": "k"},
			map[string]connector.Secret{"secret_access_key": connector.NewSecret(connectortest.Canary), "session_token": connector.NewSecret(connectortest.Canary)})
		require.NoError(t, err)
		return c
	})
}

func TestRolesAreAssumedWithTheConnectorsKey(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	place(srv).Put(t, "a.csv", "content")
	var form url.Values
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if form = r.PostForm; form.Get("ExternalId") != "ours" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
			</Credentials></AssumeRoleResult></AssumeRoleResponse>`, srv.AccessKey, srv.SecretKey, srv.SessionToken)
	}))
	defer sts.Close()
	set := srv.Settings()
	set["access_key_id"], set["role_arn"], set["external_id"], set["sts_endpoint"] = "base", "arn:aws:iam::1:role/lume", "ours", sts.URL
	secret := map[string]connector.Secret{"secret_access_key": connector.NewSecret("base-secret")}
	c, err := open(t, set, secret)
	require.NoError(t, err)
	_, err = c.(connector.ObjectSource).Stat(t.Context(), "s3://"+srv.Bucket+"/a.csv")
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iam::1:role/lume", form.Get("RoleArn"))

	set["external_id"] = "theirs"
	c, err = open(t, set, secret)
	require.NoError(t, err)
	checks := c.Check(t.Context())
	require.Equal(t, connector.CheckPassed, checks[0].Status, "%v", checks[0].Err)
	require.Equal(t, "authenticate", checks[1].Name)
	require.Equal(t, "ROLE_REFUSED", checks[1].Err.Reason)
}
