package databricks

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/lume-data/lume/connector"
)

// bearer authorizes requests by a personal access token.
type bearer struct{ token connector.Secret }

// Authenticate implements auth.Authenticator.
func (b bearer) Authenticate(r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	return nil
}

const (
	// tokenEarly is how long before its end a token is replaced.
	tokenEarly = 2 * time.Minute
	// tokenTimeout bounds one request for a token.
	tokenTimeout = 30 * time.Second
	// tokenLimit bounds what is read of the answer to it.
	tokenLimit = 1 << 20
)

// machine authorizes requests by a service principal: it exchanges the client's secret for tokens. It is safe for
// concurrent use.
type machine struct {
	url    string
	id     string
	secret connector.Secret
	client *http.Client

	mu      sync.Mutex
	token   connector.Secret
	expires time.Time
}

func newMachine(c *Connector, id string, secret connector.Secret) *machine {
	return &machine{
		url: fmt.Sprintf("%s://%s:%d/oidc/v1/token", c.protocol, c.host, c.port), id: id, secret: secret,
		client: &http.Client{Transport: c.transport, Timeout: tokenTimeout,
			// A redirect would carry the secret to a host that nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Authenticate implements auth.Authenticator.
func (m *machine) Authenticate(r *http.Request) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Until(m.expires) < tokenEarly {
		if err := m.refresh(r); err != nil {
			return err
		}
	}
	r.Header.Set("Authorization", "Bearer "+m.token.Reveal())
	return nil
}

// refresh gets a token; its caller holds mu.
func (m *machine) refresh(r *http.Request) error {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"all-apis"}}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, m.url, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(m.id), url.QueryEscape(m.secret.Reveal()))
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &statusError{resp.StatusCode}
	}
	var answer struct {
		Token   string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, tokenLimit)).Decode(&answer); err != nil || answer.Token == "" {
		return &connector.Error{Kind: connector.KindUnavailable, Reason: "TOKEN_MALFORMED",
			Message: "the workspace's answer to the request for a token is not understood", Next: "check the connector's host", Cause: err}
	}
	m.token, m.expires = connector.NewSecret(answer.Token), time.Now().Add(time.Duration(answer.Seconds)*time.Second)
	return nil
}

// statusError is an answer of the token endpoint that holds no token.
type statusError struct{ status int }

// Error implements error.
func (e *statusError) Error() string { return fmt.Sprintf("token endpoint: HTTP status %d", e.status) }
