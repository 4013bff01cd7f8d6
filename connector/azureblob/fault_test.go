package azureblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func newProxy(t *testing.T, srv *server.AzureBlob) *connectortest.Proxy {
	t.Helper()
	return connectortest.NewProxy(t, srv.Endpoint, false)
}

// through opens a connector that reaches a server through a proxy.
func through(t *testing.T, srv *server.AzureBlob, p *connectortest.Proxy) connector.Connector {
	t.Helper()
	upstream, err := url.Parse(srv.Endpoint)
	require.NoError(t, err)
	set := settings(srv)
	set["endpoint"] = p.URL + upstream.Path
	c, err := open(t, set, secrets(srv))
	require.NoError(t, err)
	return c
}

// stepOf returns what a request to the store does with blocks: block, blocklist or nothing.
func stepOf(r *http.Request) string {
	if r.Method != http.MethodPut {
		return ""
	}
	return r.URL.Query().Get("comp")
}

var spec = connectortest.FaultSpec()

func TestObjectFaults(t *testing.T) {
	t.Parallel()
	connectortest.ObjectFaults(t, func(t *testing.T) connectortest.FaultyStore {
		t.Helper()
		srv := server.StartAzureBlob(t)
		p := newProxy(t, srv)
		store := place(srv)
		store.Open = func(t *testing.T, _ map[string]any) connector.Connector { return through(t, srv, p) }
		return connectortest.FaultyStore{
			ObjectStore: store, Proxy: p, Parallel: 3,
			Busy: func(w http.ResponseWriter) { refuse(w, http.StatusServiceUnavailable, "ServerBusy") },
			Part: func(r *http.Request) bool { return stepOf(r) == "block" },
		}
	})
}

func TestRetriesAreBoundedAndCancelled(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		refuse(w, http.StatusServiceUnavailable, "ServerBusy")
	}))
	defer busy.Close()
	patient := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		refuse(w, http.StatusServiceUnavailable, "ServerBusy")
	}))
	defer patient.Close()
	stat := func(ctx context.Context, endpoint string) error {
		c, err := open(t, map[string]any{"account": "myaccount", "container": "batches", "endpoint": endpoint}, secret("account_key", "Y2FuYXJ5"))
		require.NoError(t, err)
		_, err = c.(connector.ObjectSource).Stat(ctx, "azblob://batches/a.csv")
		return err
	}
	connectortest.RequireReason(t, stat(t.Context(), busy.URL), "STORE_UNAVAILABLE")
	require.EqualValues(t, 5, requests.Load())

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, stat(ctx, busy.URL), context.DeadlineExceeded)
	require.LessOrEqual(t, requests.Load(), int64(7), "a cancelled request is not sent again")
	connectortest.RequireReason(t, stat(t.Context(), patient.URL), "STORE_UNAVAILABLE")
}

// A list of blocks was committed, and the answer is lost: what the client sends again is refused, and is still its own.
func TestABlockListWhoseAnswerIsLostIsFound(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	var lost atomic.Int64
	p.Reply = func(r *http.Response) error {
		if stepOf(r.Request) == "blocklist" && lost.Add(1) == 1 {
			require.Equal(t, http.StatusCreated, r.StatusCode)
			return errors.New("lost")
		}
		return nil
	}
	connectortest.Fill(t, through(t, srv, p).(connector.Target), spec, []connectortest.Row{connectortest.Values("1", "x")})
	require.EqualValues(t, 2, lost.Load(), "it was sent twice")
	require.Len(t, objects(t, srv, "out/"), 2)
}

func TestANameThatIsTakenFailsTheLoad(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	p.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "blocklist" {
			_, key, _ := strings.Cut(r.URL.Path, srv.Container+"/")
			put(t, srv, key, "theirs")
		}
		return false
	}
	_, err := through(t, srv, p).(connector.Target).Load(t.Context(), connectortest.EmptyLoad("run_taken", spec))
	connectortest.RequireReason(t, err, "OBJECT_TAKEN")
}

func TestABlockThatChangesOnItsWayIsRefused(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	p.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "block" {
			body, err := io.ReadAll(r.Body)
			if err == nil && len(body) > 0 {
				body[0] ^= 1
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	}
	_, err := through(t, srv, p).(connector.Target).Load(t.Context(), connectortest.EmptyLoad("run_changed", spec))
	coded := connectortest.RequireReason(t, err, "UPLOAD_CORRUPTED")
	require.Equal(t, connector.KindUnavailable, coded.Kind)
	require.Empty(t, objects(t, srv, "out/"))
	require.Empty(t, uploads(t, srv, "out/"))
}

// A run is given up while a worker that is thought dead still uploads: it finds that, and nothing of it stays.
func TestAnUploadThatWasSweptEndsAborted(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	target := through(t, srv, p).(connector.Target)
	load := connectortest.EmptyLoad("run_swept", spec)
	var settled atomic.Bool
	p.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "blocklist" && settled.CompareAndSwap(false, true) {
			out, err := target.Settle(t.Context(), connector.Settlement{RunID: "run_swept", FlowVersion: "flow:v1", Fence: load.Fence, Target: spec})
			if err != nil || out.Committed {
				t.Errorf("%v %v", out, err)
			}
		}
		return false
	}
	_, err := target.Load(t.Context(), load)
	require.ErrorIs(t, err, connector.ErrAborted)
	require.Empty(t, uploads(t, srv, "out/"))
	require.Len(t, objects(t, srv, "out/run_id=run_swept/"), 1)
}

func TestACancelledUploadEndsAtOnceAndLeavesNothing(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	p.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "blocklist" {
			cancel()
			// A server hears of a client that has gone once it has read the request.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := through(t, srv, p).(connector.Target).Load(ctx, connectortest.EmptyLoad("run_cancelled", spec))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, objects(t, srv, "out/"))
	require.Empty(t, uploads(t, srv, "out/"))
}

// refuse answers as Azure does.
func refuse(w http.ResponseWriter, status int, code string) {
	if code != "" && !strings.Contains(code, " ") {
		w.Header().Set("x-ms-error-code", code)
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s</Message></Error>", code, connectortest.Canary)
}

func TestErrorsOfTheStoreAreCodedAndShowNothing(t *testing.T) {
	t.Parallel()
	connectortest.StoreErrors(t, map[string]connectortest.StoreError{
		"ContainerNotFound":                  {Status: 404, Reason: "CONTAINER_NOT_FOUND", Kind: connector.KindNotFound},
		"AuthenticationFailed":               {Status: 403, Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
		"AuthorizationFailure":               {Status: 403, Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
		"InvalidAuthenticationInfo":          {Status: 401, Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
		"KeyBasedAuthenticationNotPermitted": {Status: 403, Reason: "KEY_ACCESS_DISABLED", Kind: connector.KindUnauthenticated},
		"AuthorizationPermissionMismatch":    {Status: 403, Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
		"AuthorizationSourceIPMismatch":      {Status: 403, Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
		"AccountIsDisabled":                  {Status: 403, Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
		"BlobArchived":                       {Status: 409, Reason: "OBJECT_ARCHIVED", Kind: connector.KindConflict},
		"LeaseIdMissing":                     {Status: 412, Reason: "OBJECT_LEASED", Kind: connector.KindConflict},
		"BlobImmutableDueToPolicy":           {Status: 409, Reason: "OBJECT_IMMUTABLE", Kind: connector.KindConflict},
		"ContainerBeingDeleted":              {Status: 409, Reason: "STORE_UNAVAILABLE", Kind: connector.KindUnavailable},
		"OperationTimedOut":                  {Status: 500, Reason: "STORE_UNAVAILABLE", Kind: connector.KindUnavailable},
		"ServerBusy":                         {Status: 503, Reason: "STORE_UNAVAILABLE", Kind: connector.KindUnavailable},
		"InvalidInput":                       {Status: 400, Reason: "STORE_REFUSED_REQUEST", Kind: connector.KindInvalid},
		"InvalidBlobType":                    {Status: 409, Reason: "STORE_REFUSED_REQUEST", Kind: connector.KindInvalid},
		"":                                   {Status: 403, Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
		"ResourceNotFound":                   {Status: 404, Reason: "CONTAINER_NOT_FOUND", Kind: connector.KindNotFound},
		"Odd " + connectortest.Canary:        {Status: 400, Reason: "STORE_REFUSED_REQUEST", Kind: connector.KindInvalid},
	}, refuse, func(t *testing.T, endpoint string) connector.Connector {
		c, err := open(t, map[string]any{"account": "myaccount", "container": "batches", "endpoint": endpoint}, secret("sas_token", "sv=2024&sig="+connectortest.Canary))
		require.NoError(t, err)
		return c
	})
}

func TestAClockThatIsWrongIsSaidToBe(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		refuse(w, http.StatusForbidden, "AuthenticationFailed")
	}))
	defer srv.Close()
	c, err := open(t, map[string]any{"account": "myaccount", "container": "batches", "endpoint": srv.URL}, secret("account_key", "Y2FuYXJ5"))
	require.NoError(t, err)
	checks := c.Check(t.Context())
	require.Equal(t, "authenticate", checks[1].Name)
	require.Equal(t, "CLOCK_SKEWED", checks[1].Err.Reason)
}

// Not even the cause of an error, which goes to the log, shows a signature, though it is part of each request's URL.
func TestSignaturesAreInNoError(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sig") == connectortest.Canary {
			seen.Add(1)
		}
		if r.Method == http.MethodHead {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer srv.Close()
	c, err := open(t, map[string]any{"account": "myaccount", "container": "batches", "endpoint": srv.URL},
		secret("sas_token", "sv=2024&sig="+connectortest.Canary))
	require.NoError(t, err)
	_, statErr := c.(connector.ObjectSource).Stat(t.Context(), "azblob://batches/a.csv")
	_, _, listErr := c.(connector.Discoverer).Discover(t.Context(), "", "", 1)
	_, loadErr := c.(connector.Target).Load(t.Context(), connectortest.EmptyLoad("run_signed", spec))
	require.Positive(t, seen.Load())
	for _, err := range []error{statErr, listErr, loadErr} {
		require.Error(t, err)
		for ; err != nil; err = errors.Unwrap(err) {
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), connectortest.Canary)
		}
	}
}

// Accounts with a hierarchical namespace list their folders among the blobs.
func TestFoldersOfAHierarchicalNamespaceAreNoObjects(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>
			<Blob><Name>in/folder</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType></Properties></Blob>
			<Blob><Name>in/a.csv</Name><Properties><Content-Length>7</Content-Length><ResourceType>file</ResourceType></Properties></Blob>
			</Blobs><NextMarker/></EnumerationResults>`)
	}))
	defer srv.Close()
	c, err := open(t, map[string]any{"account": "myaccount", "container": "batches", "endpoint": srv.URL}, secret("account_key", "Y2FuYXJ5"))
	require.NoError(t, err)
	items, next, err := c.(connector.Discoverer).Discover(t.Context(), "", "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, items, 1)
	require.Equal(t, "azblob://batches/in/a.csv", items[0].Path)
	require.EqualValues(t, 7, items[0].Size)
}
