package s3_test

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

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

// proxy stands before a real server. answer may answer a request itself, or change the reply to it.
type proxy struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) bool
	reply  func(*http.Response) error
}

func newProxy(t *testing.T, srv *server.S3) *proxy {
	t.Helper()
	upstream, err := url.Parse(srv.Endpoint)
	require.NoError(t, err)
	p := &proxy{}
	forward := &httputil.ReverseProxy{
		// The host is part of the signature, so it stays that of the proxy.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = upstream.Scheme, upstream.Host, r.In.Host
		},
		ModifyResponse: func(r *http.Response) error { return p.modify(r) },
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.answer != nil && p.answer(w, r) {
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) modify(r *http.Response) error {
	if p.reply == nil {
		return nil
	}
	return p.reply(r)
}

// through opens a connector that reaches a server through a proxy.
func through(t *testing.T, srv *server.S3, p *proxy) connector.Connector {
	t.Helper()
	set := settings(srv)
	set["endpoint"] = p.URL
	c, err := open(t, set, secrets(srv))
	require.NoError(t, err)
	return c
}

func TestABodyThatIsCutIsReadOn(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
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
	r, err := through(t, srv, p).(connector.ObjectSource).ReadRange(t.Context(), "s3://"+srv.Bucket+"/cut.bin", "", 0, -1)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	require.NoError(t, r.Close())
	require.EqualValues(t, 4, gets.Load())
}

type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, errors.New("cut") }

func TestPassingErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	put(t, srv, "a.csv", "content")
	p := newProxy(t, srv)
	var n atomic.Int64
	p.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "<Error><Code>SlowDown</Code><Message>"+connectortest.Canary+"</Message></Error>")
			return true
		}
		return false
	}
	got, err := through(t, srv, p).(connector.ObjectSource).ReadRange(t.Context(), "s3://"+srv.Bucket+"/a.csv", "", 0, -1)
	require.NoError(t, err)
	content, err := io.ReadAll(got)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	require.NoError(t, got.Close())
}

// The store has written a marker, and its answer is lost: what the client sends again is refused, and is still its own.
func TestAMarkerWhoseAnswerIsLostIsFound(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	p := newProxy(t, srv)
	var lost atomic.Int64
	p.reply = func(r *http.Response) error {
		if r.Request.Method == http.MethodPut && strings.HasSuffix(r.Request.URL.Path, "/_metadata.json") && lost.Add(1) == 1 {
			require.Equal(t, http.StatusOK, r.StatusCode)
			return errors.New("lost")
		}
		return nil
	}
	spec := connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv", Columns: []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "name", Type: connector.Type{Name: connector.TypeString}},
	}}
	connectortest.Fill(t, through(t, srv, p).(connector.Target), spec, []connectortest.Row{connectortest.Values("1", "x")})
	require.EqualValues(t, 2, lost.Load(), "it was sent twice")
	require.Len(t, objects(t, srv, "out/"), 2)
}

func TestErrorsOfTheStoreAreCodedAndShowNothing(t *testing.T) {
	t.Parallel()
	for code, tt := range map[string]struct {
		status int
		reason string
		kind   connector.Kind
	}{
		"NoSuchBucket":                 {404, "BUCKET_NOT_FOUND", connector.KindNotFound},
		"NoSuchKey":                    {404, "BUCKET_NOT_FOUND", connector.KindNotFound},
		"AccessDenied":                 {403, "PERMISSION_DENIED", connector.KindPermission},
		"InvalidAccessKeyId":           {403, "CREDENTIALS_REFUSED", connector.KindUnauthenticated},
		"SignatureDoesNotMatch":        {403, "CREDENTIALS_REFUSED", connector.KindUnauthenticated},
		"ExpiredToken":                 {400, "CREDENTIALS_EXPIRED", connector.KindUnauthenticated},
		"RequestTimeTooSkewed":         {403, "CLOCK_SKEWED", connector.KindUnauthenticated},
		"PermanentRedirect":            {301, "WRONG_REGION", connector.KindInvalid},
		"AuthorizationHeaderMalformed": {400, "WRONG_REGION", connector.KindInvalid},
		"InternalError":                {500, "STORE_UNAVAILABLE", connector.KindUnavailable},
		"SlowDown":                     {503, "STORE_UNAVAILABLE", connector.KindUnavailable},
		"NotImplemented":               {501, "STORE_UNAVAILABLE", connector.KindUnavailable},
		"InvalidArgument":              {400, "STORE_REFUSED_REQUEST", connector.KindInvalid},
		"Odd " + connectortest.Canary:  {400, "STORE_REFUSED_REQUEST", connector.KindInvalid},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, connectortest.Canary)
			}))
			defer srv.Close()
			c, err := open(t, map[string]any{"bucket": "b", "endpoint": srv.URL, "access_key_id": "k"},
				map[string]connector.Secret{"secret_access_key": connector.NewSecret(connectortest.Canary), "session_token": connector.NewSecret(connectortest.Canary)})
			require.NoError(t, err)
			_, _, err = c.(connector.Discoverer).Discover(t.Context(), "", "", 1)
			if code == "NoSuchKey" {
				return
			}
			coded := requireReason(t, err, tt.reason)
			require.Equal(t, tt.kind, coded.Kind)
			require.NotContains(t, coded.Error()+coded.Next+fmt.Sprint(coded.Meta), "canary")
		})
	}
}

func TestRolesAreAssumedWithTheConnectorsKey(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	put(t, srv, "a.csv", "content")
	var form url.Values
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if form = r.PostForm; form.Get("ExternalId") != "ours" {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken></SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
			</Credentials></AssumeRoleResult></AssumeRoleResponse>`, srv.AccessKey, srv.SecretKey)
	}))
	defer sts.Close()
	set := settings(srv)
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

// wide are rows that do not compress and need several parts of an upload.
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

func TestLargeObjectsAreUploadedInPartsAndLeftoversSwept(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	p := newProxy(t, srv)
	var parts atomic.Int64
	p.reply = func(r *http.Response) error {
		if r.Request.URL.Query().Has("partNumber") {
			parts.Add(1)
		}
		return nil
	}
	spec := connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv", Columns: []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "name", Type: connector.Type{Name: connector.TypeString}},
	}}
	target := through(t, srv, p).(connector.Target)
	connectortest.Fill(t, target, spec, wide(t, 30))
	require.GreaterOrEqual(t, parts.Load(), int64(3))
	require.Empty(t, uploads(t, srv, "out/"))

	// A worker was killed in the middle of an upload; the run is given up.
	key := "out/run_id=run_killed/mapped/part-00000-1-1-aa.csv"
	created, err := srv.Client().CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &srv.Bucket, Key: &key})
	require.NoError(t, err)
	_, err = srv.Client().UploadPart(t.Context(), &awss3.UploadPartInput{
		Bucket: &srv.Bucket, Key: &key, UploadId: created.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("half"),
	})
	require.NoError(t, err)
	put(t, srv, "out/run_id=run_killed/mapped/part-00001-1-1-aa.csv", "left")
	require.NotEmpty(t, uploads(t, srv, "out/"))
	out, err := target.Settle(t.Context(), connector.Settlement{RunID: "run_killed", FlowVersion: "flow:v1", Fence: 5, Target: spec})
	require.NoError(t, err)
	require.False(t, out.Committed)
	require.Empty(t, uploads(t, srv, "out/"))
	left := objects(t, srv, "out/run_id=run_killed/")
	require.Len(t, left, 1)
	require.Contains(t, left, "_metadata.json")
}
