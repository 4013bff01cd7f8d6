package s3

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

// mapper says what the errors of one bucket mean.
type mapper struct{ bucket, region, host string }

// answers are S3's error codes and what they mean. Codes that are not listed are judged by their HTTP status.
var answers = map[string]func(mapper) *connector.Error{
	"NoSuchBucket":                       mapper.noBucket,
	"InvalidAccessKeyId":                 mapper.refused,
	"SignatureDoesNotMatch":              mapper.refused,
	"XAdminUserNotFound":                 mapper.refused, // of versitygw
	"InvalidToken":                       mapper.refused,
	"InvalidClientTokenId":               mapper.refused,
	"UnrecognizedClientException":        mapper.refused,
	"ExpiredToken":                       mapper.expired,
	"ExpiredTokenException":              mapper.expired,
	"RequestTimeTooSkewed":               mapper.skewed,
	"PermanentRedirect":                  mapper.otherRegion,
	"MovedPermanently":                   mapper.otherRegion,
	"AuthorizationHeaderMalformed":       mapper.otherRegion,
	"IllegalLocationConstraintException": mapper.otherRegion,
	"AccessDenied":                       mapper.denied,
	"Forbidden":                          mapper.denied,
	"AllAccessDisabled":                  mapper.denied,
	"AccountProblem":                     mapper.denied,
	"InvalidObjectState":                 mapper.archived,
	"QuotaExceeded":                      mapper.full,
	"EntityTooLarge":                     mapper.full,
}

// object maps the error of a request. nil stays nil.
func (m mapper) object(err error, key string, write bool) error {
	if err == nil {
		return nil
	}
	if ended := blob.Ended(err); ended != nil {
		return fmt.Errorf("s3: %w", ended)
	}
	status := 0
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	code := ""
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	if ofTokenService(err) && status != 0 && status < http.StatusInternalServerError {
		return m.coded(m.role(), err, key)
	}
	switch {
	case code == "PreconditionFailed", status == http.StatusPreconditionFailed:
		if write {
			return fmt.Errorf("%w: %w", blob.ErrPrecondition, err)
		}
		return connector.ErrChanged
	case code == "ConditionalRequestConflict", code == "OperationAborted", status == http.StatusConflict && write:
		return fmt.Errorf("%w: %w", blob.ErrBusy, err)
	case code == "InvalidRange", status == http.StatusRequestedRangeNotSatisfiable:
		return blob.ErrRange
	}
	if answer, ok := answers[code]; ok {
		return m.coded(answer(m), err, key)
	}
	switch {
	case code == "NoSuchKey", code == "NotFound", code == "NoSuchUpload", status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", blob.ErrNotExist, err)
	case status == http.StatusUnauthorized:
		return m.coded(m.refused(), err, key)
	case status == http.StatusForbidden:
		return m.coded(m.denied(), err, key)
	case status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect:
		return m.coded(m.otherRegion(), err, key)
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		return m.coded(blob.Failing(m.host), err, key)
	case status != 0:
		return m.coded(blob.Refused(m.host, code, "check that endpoint and path_style fit the store"), err, key)
	}
	return m.coded(m.unreached(err), err, key)
}

// ofTokenService reports whether it was an inner call to STS that failed.
func ofTokenService(err error) bool {
	var operation *smithy.OperationError
	for errors.As(err, &operation) {
		if operation.ServiceID == "STS" {
			return true
		}
		err = operation.Err
	}
	return false
}

func (m mapper) coded(e *connector.Error, cause error, key string) error {
	if e.Meta == nil {
		e.Meta = map[string]string{}
	}
	e.Meta["bucket"], e.Meta["key"] = m.bucket, key
	e.Cause = cause
	return e
}

func (m mapper) noBucket() *connector.Error {
	return &connector.Error{Kind: connector.KindNotFound, Reason: "BUCKET_NOT_FOUND",
		Message: "there is no bucket " + m.bucket + " at " + m.host, Next: "correct bucket, region or endpoint of the connector"}
}

func (m mapper) refused() *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "CREDENTIALS_REFUSED",
		Message: m.host + " does not accept the connector's access key or its secret",
		Next:    "set access_key_id and secret_access_key of the connector again"}
}

func (m mapper) expired() *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "CREDENTIALS_EXPIRED",
		Message: "the session of the connector's temporary access key has expired",
		Next:    "set a new access key with its session token, or use role_arn, which renews itself"}
}

func (m mapper) skewed() *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "CLOCK_SKEWED",
		Message: "this machine's clock differs too much from that of " + m.host, Next: "set the clock, best by NTP"}
}

func (m mapper) role() *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "ROLE_REFUSED",
		Message: "the token service did not let the connector assume its role",
		Next:    "check role_arn and external_id, and that the role's trust policy names the identity of the connector"}
}

func (m mapper) otherRegion() *connector.Error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "WRONG_REGION",
		Message: "the bucket " + m.bucket + " is not served by region " + m.region + " at " + m.host,
		Next:    "set region of the connector to the bucket's region", Meta: map[string]string{"region": m.region}}
}

func (m mapper) denied() *connector.Error {
	return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
		Message: "the connector's identity lacks a right on bucket " + m.bucket,
		Next: "grant s3:ListBucket on the bucket and s3:GetObject on its objects; for a target also s3:PutObject, s3:DeleteObject, " +
			"s3:ListBucketMultipartUploads and s3:AbortMultipartUpload, or set read_only if the connector is only a source"}
}

func (m mapper) archived() *connector.Error {
	return &connector.Error{Kind: connector.KindConflict, Reason: "OBJECT_ARCHIVED",
		Message: "the object is in an archive class of the store", Next: "restore the object, then run again"}
}

func (m mapper) full() *connector.Error {
	return &connector.Error{Kind: connector.KindConflict, Reason: "NO_SPACE",
		Message: "the bucket " + m.bucket + " takes no more data", Next: "raise the quota of the bucket or make room in it"}
}

// unreached is about requests that got no answer.
func (m mapper) unreached(err error) *connector.Error {
	var send *smithyhttp.RequestSendError
	var signing *smithy.OperationError
	next := "check endpoint and region of the connector, and that this machine may connect there"
	if e := blob.Unreached(err, errors.As(err, &send), m.host, next); e != nil {
		return e
	}
	switch {
	case strings.Contains(err.Error(), "checksum did not match"):
		// The SDK exports no error for it.
		return &connector.Error{Kind: connector.KindUnavailable, Reason: "SOURCE_CORRUPTED",
			Message: "what " + m.host + " sent does not have the checksum of the object", Next: "the run tries again by itself",
			Meta: map[string]string{"host": m.host}}
	case errors.As(err, &signing):
		return noIdentity(err)
	}
	return &connector.Error{Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT",
		Message: "the connector failed; the service's log has the cause", Meta: map[string]string{"host": m.host}}
}

// hopeless says of errors that no further attempt of the same request can end otherwise.
func hopeless(err error) aws.Ternary {
	if blob.Hopeless(err) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// noIdentity is about requests that could not be signed.
func noIdentity(cause error) *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "NO_CREDENTIALS",
		Message: "the machine that runs this service has no identity of its own that could be used",
		Next:    "set access_key_id and secret_access_key, or give the machine or pod a role", Cause: cause}
}
