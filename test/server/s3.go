package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// versitygw is how the S3 server is installed, below the project's root.
const versitygw = "GOBIN=$PWD/.tools/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0"

var gateway struct {
	sync.Mutex
	server  *S3
	process *process // Held: the server ends with the pipe in it.
	next    atomic.Int64
}

// S3 is a bucket on an S3 server.
type S3 struct {
	// Endpoint is the server's URL; buckets are named by path.
	Endpoint, Region     string
	AccessKey, SecretKey string
	Bucket               string
	// CredentialsFile is a shared credentials file with these keys as its default profile.
	CredentialsFile string
}

// StartS3 returns a fresh, empty bucket on the S3 server of this test process. It honours conditional writes, ranges,
// multipart uploads and checksums, and refuses a wrong secret.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	s := *startGateway(t)
	s.Bucket = fmt.Sprintf("bucket-%d", gateway.next.Add(1))
	if _, err := s.Client().CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &s.Bucket}); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	return &s
}

// Client returns a client of the server that keeps no connection open.
func (s *S3) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: s.Region, UsePathStyle: true,
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, "")),
	})
}

// StagingURL returns the bucket as a staging URL; prefix may be empty.
func (s *S3) StagingURL(prefix string) string {
	q := url.Values{
		"endpoint": {s.Endpoint}, "region": {s.Region}, "use_path_style": {"true"}, "credentials_file": {s.CredentialsFile},
	}
	return (&url.URL{Scheme: "s3", Host: s.Bucket, Path: "/" + prefix, RawQuery: q.Encode()}).String()
}

func startGateway(t testing.TB) *S3 {
	t.Helper()
	gateway.Lock()
	defer gateway.Unlock()
	if gateway.server != nil {
		return gateway.server
	}
	binary := filepath.Join(root(t), ".tools", "bin", "versitygw")
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("the S3 server versitygw is missing; install it in the project's folder: %s", versitygw)
	}
	dir, err := os.MkdirTemp("", "lume-s3-")
	if err != nil {
		t.Fatal(err)
	}
	s := &S3{Region: "us-east-1", AccessKey: "lume-test-access", SecretKey: "lume-test-secret", CredentialsFile: filepath.Join(dir, "credentials")}
	for _, sub := range []string{"data", "meta"} {
		if err = os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	profile := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s.AccessKey, s.SecretKey)
	if err = os.WriteFile(s.CredentialsFile, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p, err := launch(dir, false, "TERM", nil, []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey},
		binary, "--port", "127.0.0.1:"+strconv.Itoa(port), "--region", s.Region, "--keep-alive", "--quiet",
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if err = p.await("versitygw", func() error { return answers(port) }); err != nil {
		p.stop()
		t.Fatal(err)
	}
	s.Endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	gateway.server, gateway.process = s, p
	return s
}
