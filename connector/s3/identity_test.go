package s3_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

// failed returns the check that has failed, or nil.
func failed(link connector.Connector, t *testing.T) *connector.Check {
	t.Helper()
	for _, check := range link.Check(t.Context()) {
		if check.Status == connector.CheckFailed {
			return &check
		}
	}
	return nil
}

func TestAMissingPermissionIsThatOfItsCheck(t *testing.T) {
	t.Parallel()
	srv := server.OwnS3(t, "requests pass through a proxy, whose host is in their signature")
	upstream, err := url.Parse(srv.Endpoint)
	require.NoError(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstream)
		r.Out.Host = r.In.Host
	}}
	for check, denied := range map[string]func(r *http.Request) bool{
		"read":  func(r *http.Request) bool { return r.URL.Query().Has("list-type") },
		"write": func(r *http.Request) bool { return r.Method == http.MethodPut },
	} {
		t.Run(check, func(t *testing.T) {
			t.Parallel()
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if denied(r) {
					refuse(w, http.StatusForbidden, "AccessDenied")
					return
				}
				forward.ServeHTTP(w, r)
			}))
			t.Cleanup(proxy.Close)
			found := failed(place(srv).Open(t, map[string]any{"endpoint": proxy.URL}), t)
			require.NotNil(t, found)
			require.Equal(t, check, found.Name)
			require.Equal(t, "PERMISSION_DENIED", found.Err.Reason)
			require.NotContains(t, found.Err.Error()+found.Err.Next, connectortest.Canary)
		})
	}
}

// A bucket is part of the path, or of the host's name.
func TestPathStyleSaysWhereTheBucketStands(t *testing.T) {
	t.Parallel()
	hosts := make(chan string, 100)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host + r.URL.Path
		refuse(w, http.StatusNotFound, "NoSuchKey")
	}))
	defer store.Close()
	at, err := url.Parse(store.URL)
	require.NoError(t, err)
	stat := func(settings map[string]any) error {
		settings["bucket"], settings["access_key_id"] = "batches", "k"
		link, err := open(t, settings, map[string]connector.Secret{"secret_access_key": connector.NewSecret(connectortest.Canary)})
		require.NoError(t, err)
		_, err = link.(connector.ObjectSource).Stat(t.Context(), "s3://batches/a.csv")
		return err
	}
	for _, settings := range []map[string]any{{}, {"path_style": true}} {
		settings["endpoint"] = store.URL
		_ = connectortest.RequireReason(t, stat(settings), "SOURCE_OBJECT_NOT_FOUND")
		require.Equal(t, at.Host+"/batches/a.csv", <-hosts)
		for len(hosts) > 0 {
			<-hosts
		}
	}
	err = stat(map[string]any{"endpoint": "http://localhost:" + at.Port(), "path_style": false})
	select {
	case host := <-hosts:
		require.Equal(t, "batches.localhost:"+at.Port()+"/a.csv", host)
	default: // Where names below localhost are not this machine's.
		_ = connectortest.RequireReason(t, err, "ENDPOINT_UNREACHABLE")
	}
}
