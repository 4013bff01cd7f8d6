package blob

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 60 * time.Second
	idleTimeout   = 60 * time.Second
	idleConns     = 16
)

// NewHTTPClient returns a client for one link. It waits 10 seconds for a connection and a minute for an answer to begin, and
// delivers bodies as they are stored, whatever their Content-Encoding. It follows no redirect, which would carry signed
// requests to a host that nobody configured. CloseIdleConnections of the client ends the link.
func NewHTTPClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   dialTimeout,
			ResponseHeaderTimeout: headerTimeout,
			IdleConnTimeout:       idleTimeout,
			MaxIdleConnsPerHost:   idleConns,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CheckEndpoint refuses a setting that is not the plain URL of a server; an empty one is none. Plain http is for this machine,
// unless insecure. The error says nothing of the URL itself: users do put passwords into them.
func CheckEndpoint(field, endpoint string, insecure bool) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return InvalidSetting(field, "must be a URL such as https://storage.example.com:9000")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return InvalidSetting(field, "must hold no user, password, query or fragment")
	case u.Scheme == "http" && !insecure && !Loopback(endpoint):
		return InvalidSetting(field, "must begin with https:// unless it is on this machine or insecure_endpoint is true")
	}
	return nil
}

// Loopback reports whether the URL's host is this machine.
func Loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap().IsLoopback()
}

// HostedBy reports whether a URL is of https and its host lies below one of the domains.
func HostedBy(endpoint string, domains ...string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	for _, domain := range domains {
		if strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}
