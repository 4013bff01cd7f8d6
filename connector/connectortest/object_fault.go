package connectortest

import (
	"bytes"
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

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Proxy stands before a real server. Answer may answer a request itself, or change it; Reply may change the reply to it.
type Proxy struct {
	*httptest.Server
	Answer func(w http.ResponseWriter, r *http.Request) bool
	Reply  func(*http.Response) error
}

// NewProxy starts a proxy before the server of an endpoint until the test ends. With keepHost the server sees the proxy's name, for
// requests whose signature holds it.
func NewProxy(t *testing.T, endpoint string, keepHost bool) *Proxy {
	t.Helper()
	upstream, err := url.Parse(endpoint)
	require.NoError(t, err)
	p := &Proxy{}
	transport := &http.Transport{DisableCompression: true}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = upstream.Scheme, upstream.Host, ""
			if keepHost {
				r.Out.Host = r.In.Host
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if p.Reply == nil {
				return nil
			}
			return p.Reply(r)
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Answer != nil && p.Answer(w, r) {
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

// FaultyStore is an object store whose links reach it through a proxy.
type FaultyStore struct {
	ObjectStore
	Proxy *Proxy
	// Busy answers as the store does when it has too much to do.
	Busy func(w http.ResponseWriter)
	// Part reports whether a request sends a part of an object.
	Part func(r *http.Request) bool
	// Parallel is how many parts the connector has on the way at most.
	Parallel int64
}

// ObjectFaults runs the suite of faults of object stores. new makes a store of its own.
func ObjectFaults(t *testing.T, store func(t *testing.T) FaultyStore) {
	for name, test := range map[string]func(*testing.T, FaultyStore){
		"ABodyThatIsCutIsReadOn": bodyIsCut, "PassingErrorsAreTriedAgain": passingErrors, "AMarkerWhoseAnswerIsLostIsFound": lostAnswer,
		"LargeObjectsAreUploadedInPartsAndLeftoversSwept": largeObjects,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, store(t))
		})
	}
}

func (s FaultyStore) read(t *testing.T, key string) []byte {
	t.Helper()
	r, err := s.source(t, nil).ReadRange(t.Context(), s.URI(key), "", 0, -1)
	require.NoError(t, err)
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return content
}

func bodyIsCut(t *testing.T, s FaultyStore) {
	content := make([]byte, 3<<20)
	_, err := rand.Read(content)
	require.NoError(t, err)
	s.Put(t, "cut.bin", string(content))
	var gets atomic.Int64
	s.Proxy.Reply = func(r *http.Response) error {
		if r.Request.Method == http.MethodGet && strings.HasSuffix(r.Request.URL.Path, "/cut.bin") && gets.Add(1) <= 3 {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, 500_000), cut{}), r.Body}
		}
		return nil
	}
	require.True(t, bytes.Equal(content, s.read(t, "cut.bin")))
	require.EqualValues(t, 4, gets.Load())
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, errors.New("cut") }

func passingErrors(t *testing.T, s FaultyStore) {
	s.Put(t, "a.csv", "content")
	var n atomic.Int64
	s.Proxy.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1)%2 == 1 {
			s.Busy(w)
			return true
		}
		return false
	}
	require.Equal(t, "content", string(s.read(t, "a.csv")))
}

// FaultSpec is the target of loads through a proxy.
func FaultSpec() connector.TargetSpec {
	return connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv", Columns: people()}
}

// lostAnswer: the store has written a marker, and its answer is lost. What the client sends again is refused, and is still its own.
func lostAnswer(t *testing.T, s FaultyStore) {
	var lost atomic.Int64
	s.Proxy.Reply = func(r *http.Response) error {
		if r.Request.Method == http.MethodPut && strings.HasSuffix(r.Request.URL.Path, "/_metadata.json") && lost.Add(1) == 1 {
			require.Equal(t, 2, r.StatusCode/100)
			return errors.New("lost")
		}
		return nil
	}
	Fill(t, s.target(t, nil), FaultSpec(), []Row{Values("1", "x")})
	require.EqualValues(t, 2, lost.Load(), "it was sent twice")
	require.Len(t, s.Objects(t, "out/"), 2)
}

func largeObjects(t *testing.T, s FaultyStore) {
	var parts, parallel, most atomic.Int64
	s.Proxy.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if s.Part(r) {
			parts.Add(1)
			if now := parallel.Add(1); now > most.Load() {
				most.Store(now)
			}
		}
		return false
	}
	s.Proxy.Reply = func(r *http.Response) error {
		if s.Part(r.Request) {
			parallel.Add(-1)
		}
		return nil
	}
	// Rows that do not compress.
	rows := make([]Row, 40)
	for i := range rows {
		noise := make([]byte, 1<<19)
		_, err := rand.Read(noise)
		require.NoError(t, err)
		rows[i] = Values(fmt.Sprint(i), hex.EncodeToString(noise))
	}
	target := s.target(t, nil)
	Fill(t, target, FaultSpec(), rows)
	require.GreaterOrEqual(t, parts.Load(), int64(4))
	require.LessOrEqual(t, most.Load(), s.Parallel, "parts are held in memory until they are sent")
	require.Empty(t, s.Uploads(t, "out/"))

	// A worker was killed in the middle of an upload; the run is given up.
	folder := "out/run_id=run_killed/"
	s.Begin(t, folder+"mapped/part-00000-1-1-aa.csv")
	s.Put(t, folder+"mapped/part-00001-1-1-aa.csv", "left")
	require.NotEmpty(t, s.Uploads(t, "out/"))
	out, err := target.Settle(t.Context(), connector.Settlement{RunID: "run_killed", FlowVersion: "flow:v1", Fence: 5, Target: FaultSpec()})
	require.NoError(t, err)
	require.False(t, out.Committed)
	require.Empty(t, s.Uploads(t, "out/"))
	left := s.Objects(t, folder)
	require.Len(t, left, 1)
	require.Contains(t, left, "_metadata.json")
}

// StoreError is an answer of a store, and what becomes of it.
type StoreError struct {
	Status int
	Reason string
	Kind   connector.Kind
}

// StoreErrors lists a store that refuses every request by an error code. What comes of it is coded, and shows nothing of the answer.
func StoreErrors(t *testing.T, codes map[string]StoreError, refuse func(w http.ResponseWriter, status int, code string),
	open func(t *testing.T, endpoint string) connector.Connector,
) {
	for code, want := range codes {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, want.Status, code) }))
			defer srv.Close()
			_, _, err := open(t, srv.URL).(connector.Discoverer).Discover(t.Context(), "", "", 1)
			coded := codedError(t, err)
			require.Equal(t, want, StoreError{Status: want.Status, Reason: coded.Reason, Kind: coded.Kind}, "%v", coded.Cause)
			require.NotContains(t, strings.ToLower(coded.Error()+coded.Next+fmt.Sprint(coded.Meta)), "canary")
		})
	}
}
