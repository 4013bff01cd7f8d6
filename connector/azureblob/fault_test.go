package azureblob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

// proxy stands before a real server. answer may answer a request itself or change it, reply may change the reply to it.
type proxy struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) bool
	reply  func(*http.Response) error
}

func newProxy(t *testing.T, srv *server.AzureBlob) *proxy {
	t.Helper()
	upstream, err := url.Parse(srv.Endpoint)
	require.NoError(t, err)
	p := &proxy{}
	transport := &http.Transport{DisableCompression: true}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = upstream.Scheme, upstream.Host, ""
		},
		ModifyResponse: func(r *http.Response) error {
			if p.reply == nil {
				return nil
			}
			return p.reply(r)
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.answer != nil && p.answer(w, r) {
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// through opens a connector that reaches a server through a proxy.
func through(t *testing.T, srv *server.AzureBlob, p *proxy) connector.Connector {
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

var spec = connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv", Columns: []connector.Column{
	{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "name", Type: connector.Type{Name: connector.TypeString}},
}}

// wide are rows that do not compress and need several blocks.
func wide(t *testing.T, megabytes int) []connectortest.Row {
	t.Helper()
	rows := make([]connectortest.Row, megabytes)
	for i := range rows {
		noise := make([]byte, 1<<19)
		_, err := rand.Read(noise)
		require.NoError(t, err)
		rows[i] = connectortest.Values(fmt.Sprint(i), hex.EncodeToString(noise))
	}
	return rows
}

func TestABodyThatIsCutIsReadOn(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	content := make([]byte, 3<<20)
	_, err := rand.Read(content)
	require.NoError(t, err)
	put(t, srv, "cut.bin", string(content))
	p := newProxy(t, srv)
	var gets atomic.Int64
	p.reply = func(r *http.Response) error {
		if r.Request.Method == http.MethodGet && strings.HasSuffix(r.Request.URL.Path, "/cut.bin") && gets.Add(1) <= 3 {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, 500_000), cut{}), r.Body}
		}
		return nil
	}
	require.True(t, bytes.Equal(content, []byte(get(t, through(t, srv, p), "azblob://"+srv.Container+"/cut.bin"))))
	require.EqualValues(t, 4, gets.Load())
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, errors.New("cut") }

func TestPassingErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	put(t, srv, "a.csv", "content")
	p := newProxy(t, srv)
	var n atomic.Int64
	p.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1)%2 == 1 {
			refuse(w, http.StatusServiceUnavailable, "ServerBusy")
			return true
		}
		return false
	}
	require.Equal(t, "content", get(t, through(t, srv, p), "azblob://"+srv.Container+"/a.csv"))
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
	requireReason(t, stat(t.Context(), busy.URL), "STORE_UNAVAILABLE")
	require.EqualValues(t, 5, requests.Load())

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, stat(ctx, busy.URL), context.DeadlineExceeded)
	require.LessOrEqual(t, requests.Load(), int64(7), "a cancelled request is not sent again")
	requireReason(t, stat(t.Context(), patient.URL), "STORE_UNAVAILABLE")
}

// The store has written a marker, and its answer is lost: what the client sends again is refused, and is still its own.
func TestAMarkerWhoseAnswerIsLostIsFound(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	var lost atomic.Int64
	p.reply = func(r *http.Response) error {
		if r.Request.Method == http.MethodPut && strings.HasSuffix(r.Request.URL.Path, "/_metadata.json") && lost.Add(1) == 1 {
			require.Equal(t, http.StatusCreated, r.StatusCode)
			return errors.New("lost")
		}
		return nil
	}
	connectortest.Fill(t, through(t, srv, p).(connector.Target), spec, []connectortest.Row{connectortest.Values("1", "x")})
	require.EqualValues(t, 2, lost.Load(), "it was sent twice")
	require.Len(t, objects(t, srv, "out/"), 2)
}

// So is a data object whose list of blocks was committed without an answer.
func TestABlockListWhoseAnswerIsLostIsFound(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	var lost atomic.Int64
	p.reply = func(r *http.Response) error {
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
	p.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "blocklist" {
			_, key, _ := strings.Cut(r.URL.Path, srv.Container+"/")
			put(t, srv, key, "theirs")
		}
		return false
	}
	_, err := through(t, srv, p).(connector.Target).Load(t.Context(), emptyLoad("run_taken"))
	requireReason(t, err, "OBJECT_TAKEN")
}

func TestABlockThatChangesOnItsWayIsRefused(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	p.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "block" {
			body, err := io.ReadAll(r.Body)
			if err == nil && len(body) > 0 {
				body[0] ^= 1
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return false
	}
	_, err := through(t, srv, p).(connector.Target).Load(t.Context(), emptyLoad("run_changed"))
	coded := requireReason(t, err, "UPLOAD_CORRUPTED")
	require.Equal(t, connector.KindUnavailable, coded.Kind)
	require.Empty(t, objects(t, srv, "out/"))
	require.Empty(t, uploads(t, srv, "out/"))
}

// emptyLoad is a load of no rows into spec.
func emptyLoad(run string) connector.Load {
	return connector.Load{
		RunID: run, Attempt: 1, Fence: 1, FlowVersion: "flow:v1", Target: spec, Rows: noRows{},
		Rejects: func() (connector.Rejects, error) { return noRejects{}, nil },
		Restart: func() {},
		Balance: func(int64, int64) ([]byte, error) { return []byte("{}"), nil },
	}
}

type noRows struct{}

func (noRows) Count() int64 { return 0 }

func (noRows) Open(context.Context, int64, int64) (connector.RowReader, error) { return noRows{}, nil }

func (noRows) Next(context.Context) (arrow.RecordBatch, error) { return nil, io.EOF }

func (noRows) Close() error { return nil }

type noRejects struct{}

func (noRejects) Next(context.Context) (connector.Reject, error) { return connector.Reject{}, io.EOF }

func (noRejects) Close() error { return nil }

func TestLargeObjectsAreUploadedInBlocksAndLeftoversSwept(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	var blocks, parallel, most atomic.Int64
	p.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "block" {
			blocks.Add(1)
			if now := parallel.Add(1); now > most.Load() {
				most.Store(now)
			}
		}
		return false
	}
	p.reply = func(r *http.Response) error {
		if stepOf(r.Request) == "block" {
			parallel.Add(-1)
		}
		return nil
	}
	target := through(t, srv, p).(connector.Target)
	connectortest.Fill(t, target, spec, wide(t, 40))
	require.GreaterOrEqual(t, blocks.Load(), int64(5))
	require.LessOrEqual(t, most.Load(), int64(3))
	require.Empty(t, uploads(t, srv, "out/"))

	// A worker was killed in the middle of an upload; the run is given up.
	folder := "out/run_id=run_killed/"
	_, err := srv.Client(t).NewBlockBlobClient(folder+"mapped/part-00000-1-1-aa.csv").
		StageBlock(t.Context(), "YWE=", streaming.NopCloser(strings.NewReader("half")), nil)
	require.NoError(t, err)
	put(t, srv, folder+"mapped/part-00001-1-1-aa.csv", "left")
	require.NotEmpty(t, uploads(t, srv, "out/"))
	out, err := target.Settle(t.Context(), connector.Settlement{RunID: "run_killed", FlowVersion: "flow:v1", Fence: 5, Target: spec})
	require.NoError(t, err)
	require.False(t, out.Committed)
	require.Empty(t, uploads(t, srv, "out/"))
	left := objects(t, srv, folder)
	require.Len(t, left, 1)
	require.Contains(t, left, "_metadata.json")
}

// A run is given up while a worker that is thought dead still uploads: it finds that, and nothing of it stays.
func TestAnUploadThatWasSweptEndsAborted(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	p := newProxy(t, srv)
	target := through(t, srv, p).(connector.Target)
	var settled atomic.Bool
	p.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "blocklist" && settled.CompareAndSwap(false, true) {
			out, err := target.Settle(t.Context(), connector.Settlement{RunID: "run_swept", FlowVersion: "flow:v1", Fence: 5, Target: spec})
			if err != nil || out.Committed {
				t.Errorf("%v %v", out, err)
			}
		}
		return false
	}
	load := emptyLoad("run_swept")
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
	p.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if stepOf(r) == "blocklist" {
			cancel()
			// A server hears of a client that has gone once it has read the request.
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := through(t, srv, p).(connector.Target).Load(ctx, emptyLoad("run_cancelled"))
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
	for code, tt := range map[string]struct {
		status int
		reason string
		kind   connector.Kind
	}{
		"ContainerNotFound":                  {404, "CONTAINER_NOT_FOUND", connector.KindNotFound},
		"AuthenticationFailed":               {403, "CREDENTIALS_REFUSED", connector.KindUnauthenticated},
		"AuthorizationFailure":               {403, "CREDENTIALS_REFUSED", connector.KindUnauthenticated},
		"InvalidAuthenticationInfo":          {401, "CREDENTIALS_REFUSED", connector.KindUnauthenticated},
		"KeyBasedAuthenticationNotPermitted": {403, "KEY_ACCESS_DISABLED", connector.KindUnauthenticated},
		"AuthorizationPermissionMismatch":    {403, "PERMISSION_DENIED", connector.KindPermission},
		"AuthorizationSourceIPMismatch":      {403, "PERMISSION_DENIED", connector.KindPermission},
		"AccountIsDisabled":                  {403, "PERMISSION_DENIED", connector.KindPermission},
		"BlobArchived":                       {409, "OBJECT_ARCHIVED", connector.KindConflict},
		"LeaseIdMissing":                     {412, "OBJECT_LEASED", connector.KindConflict},
		"BlobImmutableDueToPolicy":           {409, "OBJECT_IMMUTABLE", connector.KindConflict},
		"ContainerBeingDeleted":              {409, "STORE_UNAVAILABLE", connector.KindUnavailable},
		"OperationTimedOut":                  {500, "STORE_UNAVAILABLE", connector.KindUnavailable},
		"ServerBusy":                         {503, "STORE_UNAVAILABLE", connector.KindUnavailable},
		"InvalidInput":                       {400, "STORE_REFUSED_REQUEST", connector.KindInvalid},
		"InvalidBlobType":                    {409, "STORE_REFUSED_REQUEST", connector.KindInvalid},
		"":                                   {403, "PERMISSION_DENIED", connector.KindPermission},
		"ResourceNotFound":                   {404, "CONTAINER_NOT_FOUND", connector.KindNotFound},
		"Odd " + connectortest.Canary:        {400, "STORE_REFUSED_REQUEST", connector.KindInvalid},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, tt.status, code) }))
			defer srv.Close()
			c, err := open(t, map[string]any{"account": "myaccount", "container": "batches", "endpoint": srv.URL},
				secret("sas_token", "sv=2024&sig="+connectortest.Canary))
			require.NoError(t, err)
			_, _, err = c.(connector.Discoverer).Discover(t.Context(), "", "", 1)
			coded := requireReason(t, err, tt.reason)
			require.Equal(t, tt.kind, coded.Kind)
			require.NotContains(t, coded.Error()+coded.Next+fmt.Sprint(coded.Meta), "canary")
		})
	}
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
	_, loadErr := c.(connector.Target).Load(t.Context(), emptyLoad("run_signed"))
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
