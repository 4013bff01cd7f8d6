package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// versitygw is how the S3 server is installed, below the project's root.
const versitygw = "GOBIN=$PWD/.tools/bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// s3Env names the environment variable with the DSN of a store that stands for the S3 server of the tests.
const s3Env = "LUME_TEST_S3_DSN"

var gateway struct {
	sync.Mutex
	server  *S3
	process *process // Held: the server ends with the pipe in it.
}

// S3 is a bucket on an S3 server.
type S3 struct {
	// Endpoint is the server's URL. Buckets are named by path, or else in the host's name. Insecure accepts http on another machine.
	Endpoint, Region    string
	PathStyle, Insecure bool
	// AccessKey and SecretKey are an access key, SessionToken its token if it is a temporary one.
	AccessKey, SecretKey, SessionToken string
	Bucket                             string
	// CredentialsFile is a shared credentials file with these keys as its default profile.
	CredentialsFile string
}

// StartS3 returns a fresh, empty bucket on the S3 server of this test process. It honours conditional writes, ranges,
// multipart uploads and checksums, and refuses a wrong secret.
//
// LUME_TEST_S3_DSN, if set, names a store to use instead, by an access key and settings of the connector:
// s3://KEY:SECRET@/?region=eu-central-1, with endpoint, path_style and insecure_endpoint for another store than Amazon's, and
// session_token for a temporary key. The bucket is removed when the test ends.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	if dsn := os.Getenv(s3Env); dsn != "" {
		s := parseS3(t, dsn).fresh(t)
		t.Cleanup(func() { s.remove(t) })
		return s
	}
	return startGateway(t).fresh(t)
}

// OwnS3 is StartS3 on the server of this test process, whatever LUME_TEST_S3_DSN names. reason says what a store of somebody else
// cannot be asked; the test's log shows it.
func OwnS3(t testing.TB, reason string) *S3 {
	t.Helper()
	if os.Getenv(s3Env) != "" {
		t.Logf("this test starts an S3 server itself and does not use that of %s: %s", s3Env, reason)
	}
	return startGateway(t).fresh(t)
}

// parseS3 reads a DSN.
func parseS3(t testing.TB, dsn string) *S3 {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "s3" || u.User == nil || u.Host != "" {
		t.Fatalf("%s is not a DSN such as s3://KEY:SECRET@/?region=eu-central-1; tests make buckets of their own", s3Env)
	}
	query := u.Query()
	s := &S3{
		Endpoint: query.Get("endpoint"), Region: query.Get("region"), PathStyle: query.Get("path_style") != "false",
		Insecure: query.Get("insecure_endpoint") == "true", AccessKey: u.User.Username(), SessionToken: query.Get("session_token"),
	}
	s.SecretKey, _ = u.User.Password()
	if s.Region == "" {
		s.Region = "us-east-1"
	}
	if s.Endpoint == "" {
		s.Endpoint = "https://s3." + s.Region + ".amazonaws.com"
	}
	if err := s.writeCredentials(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return s
}

// writeCredentials writes the credentials file into a folder.
func (s *S3) writeCredentials(dir string) error {
	s.CredentialsFile = filepath.Join(dir, "credentials")
	profile := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", s.AccessKey, s.SecretKey)
	if s.SessionToken != "" {
		profile += "aws_session_token = " + s.SessionToken + "\n"
	}
	return os.WriteFile(s.CredentialsFile, []byte(profile), 0o600)
}

// fresh returns the server with a bucket of its own.
func (s S3) fresh(t testing.TB) *S3 {
	t.Helper()
	s.Bucket = "lume-test-" + strings.ToLower(rand.Text())
	input := &s3.CreateBucketInput{Bucket: &s.Bucket}
	if s.Region != "us-east-1" {
		input.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.Region)}
	}
	if _, err := s.Client().CreateBucket(context.Background(), input); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	return &s
}

// remove removes the bucket with all that is in it.
func (s *S3) remove(t testing.TB) {
	t.Helper()
	ctx, client := context.Background(), s.Client()
	err := func() error {
		uploads := s3.NewListMultipartUploadsPaginator(client, &s3.ListMultipartUploadsInput{Bucket: &s.Bucket})
		for uploads.HasMorePages() {
			page, err := uploads.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, u := range page.Uploads {
				if _, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.Bucket, Key: u.Key, UploadId: u.UploadId}); err != nil {
					return err
				}
			}
		}
		objects := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &s.Bucket})
		for objects.HasMorePages() {
			page, err := objects.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, o := range page.Contents {
				if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.Bucket, Key: o.Key}); err != nil {
					return err
				}
			}
		}
		_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &s.Bucket})
		return err
	}()
	if err != nil {
		t.Errorf("remove bucket %s: %v", s.Bucket, err)
	}
}

// Settings returns a connector's settings for the bucket.
func (s *S3) Settings() map[string]any {
	return map[string]any{
		"bucket": s.Bucket, "region": s.Region, "endpoint": s.Endpoint, "path_style": s.PathStyle, "insecure_endpoint": s.Insecure,
		"access_key_id": s.AccessKey,
	}
}

// Secrets returns a connector's secrets for the bucket.
func (s *S3) Secrets() map[string]string {
	secrets := map[string]string{"secret_access_key": s.SecretKey}
	if s.SessionToken != "" {
		secrets["session_token"] = s.SessionToken
	}
	return secrets
}

// Client returns a client of the server that keeps no connection open.
func (s *S3) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: s.Region, UsePathStyle: s.PathStyle,
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, s.SessionToken)),
	})
}

// StagingURL returns the bucket as a staging URL; prefix may be empty.
func (s *S3) StagingURL(prefix string) string {
	q := url.Values{
		"endpoint": {s.Endpoint}, "region": {s.Region}, "use_path_style": {strconv.FormatBool(s.PathStyle)}, "credentials_file": {s.CredentialsFile},
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
	s := &S3{Region: "us-east-1", PathStyle: true, AccessKey: "lume-test-access", SecretKey: "lume-test-secret"}
	for _, sub := range []string{"data", "meta"} {
		if err = os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err = s.writeCredentials(dir); err != nil {
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
