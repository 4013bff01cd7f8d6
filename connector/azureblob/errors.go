package azureblob

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

// maxSkew is how far Azure lets the clock of a client be off.
const maxSkew = 15 * time.Minute

// mapper says what the errors of one container mean.
type mapper struct {
	account, container, host string
	// setting names the secret that the connector has; empty for the machine's own identity.
	setting string
	// expires is when the shared access signature ends; zero if there is none or it does not say.
	expires time.Time
}

func newMapper(cfg connector.Config, endpoint, container string) mapper {
	m := mapper{account: cfg.Text("account"), container: container, host: endpoint}
	if u, err := url.Parse(endpoint); err == nil {
		m.host = u.Host
	}
	for _, setting := range []string{"account_key", "sas_token", "client_secret"} {
		if cfg.Secret(setting).IsSet() {
			m.setting = setting
		}
	}
	if m.setting == "sas_token" {
		_, m.expires, _ = parseToken(cfg.Secret("sas_token"))
	}
	return m
}

// answers are Azure's error codes and what they mean. Codes that are not listed are judged by their HTTP status.
var answers = map[bloberror.Code]func(mapper) *connector.Error{
	bloberror.ContainerNotFound:                   mapper.noContainer,
	bloberror.AuthenticationFailed:                mapper.refused,
	bloberror.AuthorizationFailure:                mapper.refused,
	bloberror.InvalidAuthenticationInfo:           mapper.refused,
	bloberror.NoAuthenticationInformation:         mapper.refused,
	"KeyBasedAuthenticationNotPermitted":          mapper.noKeys,
	"PublicAccessNotPermitted":                    mapper.refused,
	bloberror.AuthorizationPermissionMismatch:     mapper.denied,
	bloberror.AuthorizationProtocolMismatch:       mapper.denied,
	bloberror.AuthorizationResourceTypeMismatch:   mapper.denied,
	bloberror.AuthorizationServiceMismatch:        mapper.denied,
	bloberror.AuthorizationSourceIPMismatch:       mapper.denied,
	bloberror.InsufficientAccountPermissions:      mapper.denied,
	bloberror.UnauthorizedBlobOverwrite:           mapper.denied,
	bloberror.AccountIsDisabled:                   mapper.denied,
	bloberror.ContainerDisabled:                   mapper.denied,
	bloberror.BlobArchived:                        mapper.archived,
	bloberror.BlobBeingRehydrated:                 mapper.archived,
	bloberror.LeaseIDMissing:                      mapper.leased,
	bloberror.BlobImmutableDueToPolicy:            mapper.immutable,
	bloberror.BlobUsesCustomerSpecifiedEncryption: mapper.encrypted,
	bloberror.CRC64Mismatch:                       mapper.corrupted,
	bloberror.AccountBeingCreated:                 mapper.failing,
	bloberror.ContainerBeingDeleted:               mapper.failing,
}

// object maps the error of a request. nil stays nil.
func (m mapper) object(err error, key string, write bool) error {
	if err == nil {
		return nil
	}
	if ended := blob.Ended(err); ended != nil {
		return fmt.Errorf("azureblob: %w", ended)
	}
	if e := m.identity(err); e != nil {
		return m.coded(e, err, key)
	}
	var response *azcore.ResponseError
	if !errors.As(err, &response) {
		return m.coded(m.unreached(err), err, key)
	}
	code, status := bloberror.Code(response.ErrorCode), response.StatusCode
	switch {
	case code == bloberror.ConditionNotMet, code == bloberror.TargetConditionNotMet, code == "" && status == http.StatusPreconditionFailed:
		if write {
			return fmt.Errorf("%w: %w", blob.ErrPrecondition, err)
		}
		return connector.ErrChanged
	case code == bloberror.BlobAlreadyExists, code == "" && status == http.StatusConflict && write:
		return fmt.Errorf("%w: %w", blob.ErrPrecondition, err)
	case code == bloberror.InvalidRange, status == http.StatusRequestedRangeNotSatisfiable:
		return blob.ErrRange
	case code == bloberror.InvalidBlockList:
		// The blocks were there: whoever decided the run has dropped them.
		return fmt.Errorf("%w: %w", blob.ErrNotExist, err)
	case code == bloberror.AuthenticationFailed && skewed(response.RawResponse):
		return m.coded(m.skewed(), err, key)
	}
	if answer, ok := answers[code]; ok {
		return m.coded(answer(m), err, key)
	}
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", blob.ErrNotExist, err)
	case status == http.StatusUnauthorized:
		return m.coded(m.refused(), err, key)
	case status == http.StatusForbidden:
		return m.coded(m.denied(), err, key)
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return m.coded(m.failing(), err, key)
	}
	return m.coded(blob.Refused(m.host, string(code), "check account, container and endpoint of the connector"), err, key)
}

// listing maps the error of a listing, which finds no container where another request finds no blob.
func (m mapper) listing(err error, prefix string) error {
	if err = m.object(err, prefix, false); errors.Is(err, blob.ErrNotExist) {
		return m.coded(m.noContainer(), err, prefix)
	}
	return err
}

// taken is about a name that only this upload could have, and that something else has.
func (m mapper) taken(cause error, key string) error {
	return m.coded(&connector.Error{Kind: connector.KindConflict, Reason: "OBJECT_TAKEN",
		Message: "another blob has taken the name " + key, Next: "look for what else writes below the target's prefix"}, cause, key)
}

func (m mapper) coded(e *connector.Error, cause error, key string) error {
	if e.Meta == nil {
		e.Meta = map[string]string{}
	}
	e.Meta["account"], e.Meta["container"], e.Meta["key"] = m.account, m.container, key
	e.Cause = cause
	return e
}

// skewed reports whether a server's clock says another time than this machine's.
func skewed(r *http.Response) bool {
	if r == nil {
		return false
	}
	date, err := http.ParseTime(r.Header.Get("Date"))
	return err == nil && time.Since(date).Abs() > maxSkew
}

func (m mapper) noContainer() *connector.Error {
	return &connector.Error{Kind: connector.KindNotFound, Reason: "CONTAINER_NOT_FOUND",
		Message: "there is no container " + m.container + " at " + m.host, Next: "correct container, account or endpoint of the connector"}
}

func (m mapper) refused() *connector.Error {
	e := &connector.Error{Kind: connector.KindUnauthenticated, Reason: "CREDENTIALS_REFUSED",
		Message: m.host + " does not accept the connector's " + m.setting + ", or does not let this network in",
		Next:    "set " + m.setting + " of the connector again, and see the networking rules of the storage account"}
	switch {
	case m.setting == "":
		e.Message = m.host + " does not accept the identity of this machine, or does not let this network in"
		e.Next = "give the identity a role on the container, and see the networking rules of the storage account"
	case !m.expires.IsZero() && time.Now().After(m.expires):
		e.Reason, e.Message = "CREDENTIALS_EXPIRED", "the connector's shared access signature has expired"
		e.Next = "set sas_token of the connector to a new one, or use client_id, which renews itself"
	}
	return e
}

func (m mapper) noKeys() *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "KEY_ACCESS_DISABLED",
		Message: "the storage account " + m.account + " permits no access by its keys or what they have signed",
		Next:    "use client_id and client_secret, or the identity of the machine"}
}

func (m mapper) skewed() *connector.Error {
	return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "CLOCK_SKEWED",
		Message: "this machine's clock differs too much from that of " + m.host, Next: "set the clock, best by NTP"}
}

func (m mapper) denied() *connector.Error {
	return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
		Message: "the connector's identity lacks a right on container " + m.container,
		Next: "grant the role Storage Blob Data Reader on the container, or a signature that permits to read and list; for a target " +
			"Storage Blob Data Contributor, or to create, write and delete too; or set read_only if the connector is only a source"}
}

func (m mapper) archived() *connector.Error {
	return &connector.Error{Kind: connector.KindConflict, Reason: "OBJECT_ARCHIVED",
		Message: "the blob is in the archive tier", Next: "rehydrate the blob, then run again"}
}

func (m mapper) leased() *connector.Error {
	return &connector.Error{Kind: connector.KindConflict, Reason: "OBJECT_LEASED",
		Message: "another program holds a lease on the blob", Next: "end the lease, or give the target another prefix"}
}

func (m mapper) immutable() *connector.Error {
	return &connector.Error{Kind: connector.KindConflict, Reason: "OBJECT_IMMUTABLE",
		Message: "a policy of the container keeps the blob from being changed", Next: "use a container without such a policy as target"}
}

func (m mapper) encrypted() *connector.Error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "OBJECT_ENCRYPTED",
		Message: "the blob is encrypted with a key that a client has provided", Next: "store the blob under the account's own encryption"}
}

func (m mapper) corrupted() *connector.Error {
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "UPLOAD_CORRUPTED",
		Message: "what reached " + m.host + " is not what was sent", Next: "the run tries again by itself"}
}

func (m mapper) failing() *connector.Error { return blob.Failing(m.host) }

// identity is about requests for which no token could be had; nil if it was not that.
func (m mapper) identity(err error) *connector.Error {
	var failed *azidentity.AuthenticationFailedError
	// How azidentity marks that there is no identity at all.
	var final interface{ NonRetriable() }
	switch {
	case errors.As(err, &failed) && (failed.RawResponse == nil || failed.RawResponse.StatusCode >= http.StatusInternalServerError):
		return &connector.Error{Kind: connector.KindUnavailable, Reason: "IDENTITY_UNAVAILABLE",
			Message: "Entra ID gave no token for the connector", Next: "check authority_host of the connector, and that this machine may connect there"}
	case errors.As(err, &failed) && m.setting == "client_secret":
		return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "IDENTITY_REFUSED",
			Message: "Entra ID does not accept the connector's client_secret",
			Next:    "check tenant_id and client_id of the connector, and set client_secret again; it may have expired"}
	case errors.As(err, &failed), m.setting == "" && errors.As(err, &final):
		return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "NO_CREDENTIALS",
			Message: "the machine that runs this service has no identity of its own that could be used",
			Next:    "set account_key, sas_token or client_secret, or give the machine or pod an identity"}
	}
	return nil
}

// unreached is about requests that got no answer.
func (m mapper) unreached(err error) *connector.Error {
	next := "check account and endpoint of the connector, and that this machine may connect there"
	if e := blob.Unreached(err, false, m.host, next); e != nil {
		return e
	}
	return &connector.Error{Kind: connector.KindInternal, Reason: "CONNECTOR_FAULT", Message: "the connector failed; the service's log has the cause"}
}
