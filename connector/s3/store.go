package s3

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	gcblob "gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

const (
	attempts   = 5
	maxBackoff = 2 * time.Second
)

// store is the bucket with its client.
type store struct {
	blob.Store
	client *awss3.Client
	bucket string
	prefix string
	errors mapper
}

func newStore(ctx context.Context, cfg connector.Config, bucket, prefix string) (*store, error) {
	endpoint, region := cfg.Text("endpoint"), cfg.Text("region")
	httpClient := blob.NewHTTPClient()
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = attempts, maxBackoff
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(hopeless)}, o.Retryables...)
		})
	}
	awsCfg := aws.Config{Region: region, HTTPClient: httpClient, Retryer: retryer, AppID: "lume"}
	provider, err := identity(ctx, cfg, awsCfg)
	if err != nil {
		return nil, err
	}
	awsCfg.Credentials = provider
	// Stores other than Amazon's mostly refuse trailing checksums; the body is part of the signature or of TLS then.
	checksums := aws.RequestChecksumCalculationWhenSupported
	if !amazon(endpoint) {
		checksums = aws.RequestChecksumCalculationWhenRequired
	}
	client := awss3.NewFromConfig(awsCfg, func(o *awss3.Options) {
		o.UsePathStyle = endpoint != "" && cfg.Text("path_style") == "" || cfg.Bool("path_style")
		o.RequestChecksumCalculation = checksums
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
	opened, err := s3blob.OpenBucket(ctx, client, bucket, &s3blob.Options{RequestChecksumCalculation: checksums})
	if err != nil {
		return nil, &connector.Error{Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT", Message: "the bucket cannot be opened", Cause: err}
	}
	s := &store{client: client, bucket: bucket, prefix: prefix, errors: mapper{bucket: bucket, region: region, host: hostOf(endpoint, region)}}
	s.Store = blob.NewBucket(opened, blob.Hooks{
		Request: request, ListedKey: listedKey, Stat: s.stat, Delete: s.remove, Error: s.errors.object, Sweep: s.sweep,
		Close: httpClient.CloseIdleConnections,
	})
	return s, nil
}

// identity returns whose access it is: a key's, or the machine's, or a role's that one of these assumes.
func identity(ctx context.Context, cfg connector.Config, base aws.Config) (aws.CredentialsProvider, error) {
	if key := cfg.Text("access_key_id"); key != "" {
		base.Credentials = credentials.NewStaticCredentialsProvider(
			key, cfg.Secret("secret_access_key").Reveal(), cfg.Secret("session_token").Reveal())
	} else {
		// A client of the SDK's own takes certificates from AWS_CA_BUNDLE. Its connections end with each answer.
		client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })
		machine, err := config.LoadDefaultConfig(ctx, config.WithRegion(base.Region), config.WithHTTPClient(client))
		if err != nil {
			return nil, noIdentity(err)
		}
		base.Credentials = machine.Credentials
	}
	role := cfg.Text("role_arn")
	if role == "" {
		return aws.NewCredentialsCache(base.Credentials), nil
	}
	client := sts.NewFromConfig(base, func(o *sts.Options) {
		if endpoint := cfg.Text("sts_endpoint"); endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
	return aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(client, role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "lume"
		if id := cfg.Text("external_id"); id != "" {
			o.ExternalID = aws.String(id)
		}
	})), nil
}

// request sets what gocloud.dev does not: keys as they are, and the entity tag that the request depends on.
func request(as func(any) bool, key, etag string) error {
	var (
		get    *awss3.GetObjectInput
		upload *transfermanager.UploadObjectInput
		list   *awss3.ListObjectsV2Input
	)
	condition := aws.String(etag)
	if etag == "" {
		condition = nil
	}
	switch {
	case as(&get):
		get.Key, get.IfMatch = aws.String(key), condition
	case as(&upload):
		upload.Key, upload.IfMatch = aws.String(key), condition
	case as(&list):
		list.Prefix = aws.String(key)
	default:
		return errors.New("s3: a request of an unknown kind")
	}
	return nil
}

// listedKey undoes what gocloud.dev takes for its own escapes in a key.
func listedKey(o *gcblob.ListObject) string {
	var object types.Object
	if o.As(&object) {
		return aws.ToString(object.Key)
	}
	var prefix types.CommonPrefix
	if o.As(&prefix) {
		return aws.ToString(prefix.Prefix)
	}
	return o.Key
}

func (s *store) stat(ctx context.Context, key string) (blob.Attributes, error) {
	out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)})
	if err == nil {
		return blob.Attributes{
			Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), ModTime: aws.ToTime(out.LastModified),
		}, nil
	}
	err = s.errors.object(err, key, false)
	// The answer to a HEAD has no text: a missing bucket looks like a missing object, and a refused key like a missing right.
	var coded *connector.Error
	if errors.Is(err, blob.ErrNotExist) || errors.As(err, &coded) && coded.Kind == connector.KindPermission {
		var better *connector.Error
		if errors.As(s.look(ctx), &better) && better.Kind != connector.KindUnavailable && better.Kind != connector.KindPermission {
			return blob.Attributes{}, better
		}
	}
	return blob.Attributes{}, err
}

func (s *store) remove(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String(s.bucket), Key: aws.String(key)})
	if err = s.errors.object(err, key, true); !errors.Is(err, blob.ErrNotExist) {
		return err
	}
	return nil
}

// look asks for one key of the prefix, without much patience: unlike the answer to a HEAD, a listing's says why it fails.
func (s *store) look(ctx context.Context) error {
	_, err := s.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{
		Bucket: aws.String(s.bucket), Prefix: aws.String(s.prefix), MaxKeys: aws.Int32(1),
	}, func(o *awss3.Options) { o.RetryMaxAttempts = 2 })
	if err = s.errors.object(err, s.prefix, false); errors.Is(err, blob.ErrNotExist) {
		return s.errors.coded(s.errors.noBucket(), err, s.prefix)
	}
	return err
}

// sweep aborts multipart uploads below a prefix that processes have left when they were killed.
func (s *store) sweep(ctx context.Context, prefix string, dead func(key string) bool) error {
	pages := awss3.NewListMultipartUploadsPaginator(s.client, &awss3.ListMultipartUploadsInput{
		Bucket: aws.String(s.bucket), Prefix: aws.String(prefix),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.errors.object(err, prefix, true)
		}
		for _, u := range page.Uploads {
			if key := aws.ToString(u.Key); !strings.HasPrefix(key, prefix) || !dead(key) {
				continue
			}
			_, err := s.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
				Bucket: aws.String(s.bucket), Key: u.Key, UploadId: u.UploadId,
			})
			if err = s.errors.object(err, prefix, true); err != nil && !errors.Is(err, blob.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
