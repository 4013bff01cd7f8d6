package azureblob

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

const (
	// retries come after the first attempt of a request, retryDelay to maxRetryDelay apart. A store that asks for a longer
	// pause is taken for out of order.
	retries       = 4
	retryDelay    = 200 * time.Millisecond
	maxRetryDelay = 2 * time.Second
)

// newClient returns the client of a container, and what gives its connections back.
func newClient(cfg connector.Config, endpoint, name string) (*container.Client, func(), error) {
	httpClient := blob.NewHTTPClient()
	common := policy.ClientOptions{
		Transport: httpClient,
		Retry:     policy.RetryOptions{MaxRetries: retries, RetryDelay: retryDelay, MaxRetryDelay: maxRetryDelay, ShouldRetry: passing},
		Telemetry: policy.TelemetryOptions{ApplicationID: "lume"},
	}
	address, opts := endpoint+"/"+name, &container.ClientOptions{ClientOptions: common}
	var client *container.Client
	var err error
	switch key, token := cfg.Secret("account_key"), cfg.Secret("sas_token"); {
	case key.IsSet():
		var shared *container.SharedKeyCredential
		if shared, err = container.NewSharedKeyCredential(cfg.Text("account"), key.Reveal()); err == nil {
			client, err = container.NewClientWithSharedKeyCredential(address, shared, opts)
		}
	case token.IsSet():
		var query string
		if query, _, err = parseToken(token); err != nil {
			return nil, nil, err
		}
		httpClient.Transport = &signer{Transport: httpClient.Transport.(*http.Transport), query: query}
		client, err = container.NewClientWithNoCredential(address, opts)
	default:
		var identity azcore.TokenCredential
		if identity, err = newIdentity(cfg, common); err == nil {
			client, err = container.NewClient(address, identity, opts)
		}
	}
	if err != nil {
		return nil, nil, &connector.Error{
			Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: "the connector's credentials cannot be used",
			Next: "check account_key, tenant_id, client_id and authority_host of the connector", Cause: err,
		}
	}
	return client, httpClient.CloseIdleConnections, nil
}

// newIdentity returns a service principal's identity, or the machine's or pod's.
func newIdentity(cfg connector.Config, common policy.ClientOptions) (azcore.TokenCredential, error) {
	secret := cfg.Secret("client_secret")
	if !secret.IsSet() {
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: common})
	}
	opts := &azidentity.ClientSecretCredentialOptions{ClientOptions: common}
	if authority := strings.TrimRight(cfg.Text("authority_host"), "/"); authority != "" {
		opts.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: authority + "/"}
		// Only Microsoft's own authorities know each other.
		opts.DisableInstanceDiscovery = !blob.HostedBy(authority, "microsoftonline.com", "microsoftonline.us", "chinacloudapi.cn")
	}
	return azidentity.NewClientSecretCredential(cfg.Text("tenant_id"), cfg.Text("client_id"), secret.Reveal(), opts)
}

// passing reports whether a request can end otherwise when it is sent again.
func passing(r *http.Response, err error) bool {
	if err != nil {
		return !blob.Hopeless(err)
	}
	switch r.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// parseToken returns the query that a shared access signature is, and when it expires; a zero time if it does not say.
func parseToken(token connector.Secret) (query string, expires time.Time, err error) {
	query = strings.TrimPrefix(strings.TrimSpace(token.Reveal()), "?")
	values, err := url.ParseQuery(query)
	if err != nil || values.Get("sig") == "" || strings.ContainsAny(query, "?# \r\n") {
		return "", time.Time{}, blob.InvalidSetting("sas_token", "must be a shared access signature such as sv=…&sig=…, without a URL in front")
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z", time.DateOnly} {
		if expires, err = time.Parse(layout, values.Get("se")); err == nil {
			return query, expires, nil
		}
	}
	return query, time.Time{}, nil
}

// signer adds a shared access signature to requests on their way out: no URL that an error, a log or a trace could show has it.
type signer struct {
	*http.Transport
	query string
}

// RoundTrip implements http.RoundTripper.
func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	if out.URL.RawQuery != "" {
		out.URL.RawQuery += "&"
	}
	out.URL.RawQuery += s.query
	response, err := s.Transport.RoundTrip(out)
	if response != nil {
		response.Request = r
	}
	return response, err
}
