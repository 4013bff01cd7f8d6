// Package s3 is the connector to Amazon S3 and to every store that speaks its protocol.
//
// It is connector/internal/blob over the S3 bucket of gocloud.dev/blob; what is here is the spec, the client with its
// credentials, conditional requests, and what S3's errors mean.
package s3
