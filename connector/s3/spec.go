package s3

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

var spec = connector.Spec{
	Type:  "s3",
	Title: "Amazon S3 and compatible stores",
	Doc: "Objects in one bucket of Amazon S3 or of a store that speaks its protocol. Batches are named by URIs such as " +
		"`s3://my-invoices/new/batch-001.csv`, in which the key stands as it is, without any encoding. As a target the store must " +
		"honour conditional writes (`If-None-Match` and `If-Match` on PutObject), as Amazon S3 does; `lume connectors test` finds out.",
	Source: true, Target: true, ObjectStore: true,
	Fields: []connector.Field{
		{Name: "bucket", Type: connector.String, Required: true, Doc: "The bucket's name.", Example: "my-invoices"},
		{Name: "prefix", Type: connector.String, Doc: "Confines the connector to a folder of the bucket.", Example: "landing/invoices"},
		{Name: "region", Type: connector.String, Default: "us-east-1", Address: true, Doc: "The bucket's region.", Example: "eu-central-1"},
		{Name: "endpoint", Type: connector.String, Address: true, Example: "https://minio.example.com:9000",
			Doc: "URL of another store than Amazon's. Plain http is accepted for this machine alone, unless insecure_endpoint is set."},
		{Name: "insecure_endpoint", Type: connector.Boolean, Default: "false",
			Doc: "Accepts an http endpoint on another machine: whoever listens on the way can read the data, though not the secret key."},
		{Name: "path_style", Type: connector.Boolean,
			Doc: "Puts the bucket into the path and not into the host name. By default this is so if there is an endpoint."},
		{Name: "access_key_id", Type: connector.String, Example: "AKIAIOSFODNN7EXAMPLE",
			Doc: "Access key. Without one, ingest and egress use the identity of the machine or pod that they run on (Amazon only)."},
		{Name: "secret_access_key", Type: connector.Sensitive, Doc: "The access key's secret."},
		{Name: "session_token", Type: connector.Sensitive, Doc: "Session token of a temporary access key."},
		{Name: "role_arn", Type: connector.String, Doc: "Role to assume before any access, as arn:aws:iam::123456789012:role/lume."},
		{Name: "external_id", Type: connector.String, Doc: "External id that the role's trust policy asks for."},
		{Name: "sts_endpoint", Type: connector.String, Address: true,
			Doc: "URL of another token service than Amazon's for role_arn. The rules of endpoint hold."},
		{Name: "read_only", Type: connector.Boolean, Default: "false",
			Doc: "The connector is a source alone: nothing is ever written, not even by a test."},
	},
}

// Definition is the line for the registry.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

func open(ctx context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	bucket := cfg.Text("bucket")
	if bucket == "" || strings.ContainsAny(bucket, "/\\?#% \t\r\n") {
		return nil, blob.InvalidSetting("bucket", "must be a bucket's name, without a path")
	}
	prefix, ok := blob.CleanPrefix(cfg.Text("prefix"))
	if !ok {
		return nil, blob.InvalidSetting("prefix", "must be a folder of the bucket, without . or .. in it")
	}
	for _, field := range []string{"endpoint", "sts_endpoint"} {
		if err := blob.CheckEndpoint(field, cfg.Text(field), cfg.Bool("insecure_endpoint")); err != nil {
			return nil, err
		}
	}
	if err := checkCredentials(cfg); err != nil {
		return nil, err
	}
	store, err := newStore(ctx, cfg, bucket, prefix)
	if err != nil {
		return nil, err
	}
	return blob.New(blob.Options{
		Store: store, Location: location(bucket, prefix), ReadOnly: cfg.Bool("read_only"),
		Trusted: amazon(cfg.Text("endpoint")), Steps: blob.LinkSteps(store.look), Log: env.Log,
	}), nil
}

// checkCredentials refuses halves, and the machine's own identity for anything but Amazon.
func checkCredentials(cfg connector.Config) error {
	key, secret, token := cfg.Text("access_key_id"), cfg.Secret("secret_access_key"), cfg.Secret("session_token")
	switch {
	case key != "" && !secret.IsSet():
		return blob.InvalidSetting("secret_access_key", "is required with access_key_id (a secret)")
	case key == "" && secret.IsSet():
		return blob.InvalidSetting("access_key_id", "is required with secret_access_key")
	case key == "" && token.IsSet():
		return blob.InvalidSetting("access_key_id", "is required with session_token")
	case key == "" && !(amazon(cfg.Text("endpoint")) && amazon(cfg.Text("sts_endpoint"))):
		return blob.InvalidSetting("access_key_id", "is required with an endpoint that is not Amazon's")
	case cfg.Text("role_arn") == "" && cfg.Text("external_id") != "":
		return blob.InvalidSetting("role_arn", "is required with external_id")
	}
	return nil
}

// amazon reports whether an endpoint is Amazon's own, by default or by name.
func amazon(endpoint string) bool {
	if endpoint == "" {
		return true
	}
	return blob.HostedBy(endpoint, "amazonaws.com", "amazonaws.com.cn")
}

// location maps URIs to keys as they are: s3 URIs know no encoding.
func location(bucket, prefix string) blob.Location {
	base := "s3://" + bucket + "/"
	return blob.Location{
		Prefix: prefix,
		Format: func(key string) string { return base + key },
		Parse: func(path string) (string, error) {
			key, ok := strings.CutPrefix(path, base)
			switch {
			case !ok:
				return "", blob.Outside(path, base+prefix)
			case len(key) > maxKeyBytes:
				return "", blob.InvalidPath(path, "is longer than a key can be ("+strconv.Itoa(maxKeyBytes)+" bytes)", "check the path")
			}
			return key, blob.CheckKey(path, key)
		},
	}
}

const maxKeyBytes = 1024

// hostOf returns host and port of the store for messages.
func hostOf(endpoint, region string) string {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		if _, _, err := net.SplitHostPort(u.Host); err == nil {
			return u.Host
		}
		return u.Hostname()
	}
	return "s3." + region + ".amazonaws.com"
}
