package blob

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/lume-data/lume/connector"
)

// The errors below are the same for every store that is reached over HTTP; what its answers mean each system says itself.

// Unreached is the error of a request that got no whole answer from host; nil if err is of another kind. sent says that the
// caller knows the request to have failed on its way. next is what to do if the host does not answer.
func Unreached(err error, sent bool, host, next string) *connector.Error {
	e := &connector.Error{
		Kind: connector.KindUnavailable, Reason: "ENDPOINT_UNREACHABLE", Next: next, Meta: map[string]string{"host": host}, Cause: err,
	}
	var dns *net.DNSError
	switch {
	case untrusted(err):
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "TLS_NOT_TRUSTED", "the certificate of "+host+" is not trusted"
		e.Next = "add the certificate's authority to the trusted ones of the machines that run ingest and egress"
	case notTLS(err):
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "TLS_NOT_SPOKEN", host+" does not speak TLS"
		e.Next = "correct the port or the scheme of endpoint"
	case errors.As(err, &dns):
		e.Message = "the host name of " + host + " does not resolve"
	case sent || isNetwork(err):
		e.Message = host + " does not answer"
	default:
		return nil
	}
	return e
}

// Hopeless reports whether no further attempt of the same request can end otherwise.
func Hopeless(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound || untrusted(err) || notTLS(err)
}

func untrusted(err error) bool {
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &verify) || errors.As(err, &authority)
}

func notTLS(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// Ended returns the context's error in err's chain, or nil.
func Ended(err error) error {
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return ended
		}
	}
	return nil
}

// Failing is the error of a store that answers that it cannot.
func Failing(host string) *connector.Error {
	return &connector.Error{
		Kind: connector.KindUnavailable, Reason: "STORE_UNAVAILABLE", Message: host + " is overloaded or out of order",
		Next: "the run tries again by itself",
	}
}

// Refused is the error of a request that the store did not take, for a reason that nobody foresaw. code is the store's own.
func Refused(host, code, next string) *connector.Error {
	e := &connector.Error{Kind: connector.KindInvalid, Reason: "STORE_REFUSED_REQUEST", Message: host + " refused the request", Next: next}
	if isCode(code) {
		e.Message += " (" + code + ")"
		e.Meta = map[string]string{"code": code}
	}
	return e
}

// isCode reports whether a server's error code looks like one, and not like text that it could hide something in.
func isCode(code string) bool {
	for _, r := range code {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return code != "" && len(code) <= 64
}

// InvalidSetting is the error of a setting that can never work; it does not show the value.
func InvalidSetting(field, problem string) *connector.Error {
	return &connector.Error{
		Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: field + " " + problem,
		Meta: map[string]string{"field": field},
	}
}
