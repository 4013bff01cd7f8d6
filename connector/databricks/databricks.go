package databricks

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	driverarrow "github.com/apache/arrow/go/v12/arrow"
	"github.com/databricks/databricks-sql-go/auth"
	driverlog "github.com/databricks/databricks-sql-go/logger"

	"github.com/lume-data/lume/connector"
)

var spec = connector.Spec{
	Type: "databricks", Title: "Databricks", Source: true, Target: true, Query: &syntax,
	Doc: "A SQL warehouse (or a cluster) of a Databricks workspace. As a target it writes Delta tables through Parquet files in a " +
		"Unity Catalog volume. Authentication is by a personal access token, or by a service principal's OAuth client (machine to machine).",
	Fields: []connector.Field{
		{Name: "host", Type: connector.String, Required: true, Address: true, Example: "dbc-a1b2345c-d6e7.cloud.databricks.com",
			Doc: "Host name of the workspace, with `:port` if it is not 443. A URL with http is accepted for this machine alone."},
		{Name: "http_path", Type: connector.String, Required: true, Address: true, Example: "/sql/1.0/warehouses/a1b234c567d8e9fa",
			Doc: "HTTP path of the warehouse or cluster, from its connection details."},
		{Name: "catalog", Type: connector.String, Required: true, Doc: "Catalog of the tables.", Example: "main"},
		{Name: "schema", Type: connector.String, Default: "default", Doc: "Schema of tables that are named without one.", Example: "sales"},
		{Name: "token", Type: connector.Sensitive, Doc: "Personal access token. Either this, or client_id and client_secret."},
		{Name: "client_id", Type: connector.String, Doc: "Application id of a service principal.", Example: "8c1f0a5e-0d3a-4e8f-9a57-0a6b1c2d3e4f"},
		{Name: "client_secret", Type: connector.Sensitive, Doc: "OAuth secret of the service principal."},
		{Name: "staging", Type: connector.String, Example: "/Volumes/main/lume/staging",
			Doc: "Folder of a Unity Catalog volume for the files of loads, which needs READ VOLUME and WRITE VOLUME. Required for a target."},
	},
}

// Definition declares the connector.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

// Connector is a link to one warehouse. Every operation opens a session of its own.
type Connector struct {
	host, path      string
	port            int
	protocol        string
	catalog, schema string
	auth            auth.Authenticator
	transport       *http.Transport
	// staging is nil if the connector is a source alone.
	staging staging
	log     *slog.Logger
}

var (
	_ connector.Target     = (*Connector)(nil)
	_ connector.RowSource  = (*Connector)(nil)
	_ connector.Discoverer = (*Connector)(nil)
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 60 * time.Second
	idleConns   = 4
)

// tame prepares the driver. It stops the driver's own log, which writes statements and the server's texts to standard error,
// and fills the time zone that a type shared by all results keeps from its first use on, which would be a data race.
var tame = sync.OnceFunc(func() {
	driverlog.SetLogOutput(io.Discard)
	_ = driverlog.SetLogLevel("disabled")
	_, _ = driverarrow.FixedWidthTypes.Timestamp_us.(*driverarrow.TimestampType).GetToTimeFunc()
})

func open(_ context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	tame()
	c := &Connector{path: "/" + strings.TrimLeft(cfg.Text("http_path"), "/"), catalog: cfg.Text("catalog"), schema: cfg.Text("schema"), log: env.Log}
	if err := c.address(cfg.Text("host")); err != nil {
		return nil, err
	}
	if strings.ContainsAny(c.path, "?# \t\r\n") {
		return nil, invalid("http_path", "must be a path such as /sql/1.0/warehouses/a1b234c567d8e9fa")
	}
	if c.catalog == "" || c.schema == "" {
		return nil, invalid("catalog", "and schema must not be empty")
	}
	if err := c.stage(cfg.Text("staging")); err != nil {
		return nil, err
	}
	c.transport = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		IdleConnTimeout:     idleTimeout,
		MaxIdleConnsPerHost: idleConns,
		ForceAttemptHTTP2:   true,
	}
	if err := c.authenticate(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// address reads the host, which may be a URL of this machine.
func (c *Connector) address(text string) error {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return invalid("host", "must be a host name, with :port if it is not 443")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return invalid("host", "must be reached by https")
	}
	c.protocol, c.host, c.port = u.Scheme, u.Hostname(), 443
	if u.Port() != "" {
		if c.port, err = net.LookupPort("tcp", u.Port()); err != nil {
			return invalid("host", "has a port that is no number")
		}
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// volume is a path inside a Unity Catalog volume that needs no quoting.
var volume = regexp.MustCompile(`^/Volumes(/[A-Za-z0-9_.-]+){3,}$`)

// stage reads the staging place. A folder of this machine is good for a server on this machine, as tests start one.
func (c *Connector) stage(text string) error {
	text = strings.TrimRight(text, "/")
	folder, local := strings.CutPrefix(text, "file://")
	switch {
	case text == "":
	case strings.Contains(text, "/.."):
		return invalid("staging", "must not hold ..")
	case local && loopback(c.host):
		c.staging = localFolder(folder)
	case volume.MatchString(text):
		c.staging = volumeFolder(text)
	default:
		return invalid("staging", "must be a folder such as /Volumes/CATALOG/SCHEMA/VOLUME, of letters, digits and _ . -")
	}
	return nil
}

// authenticate sets how requests are authorized.
func (c *Connector) authenticate(cfg connector.Config) error {
	token, id, secret := cfg.Secret("token"), cfg.Text("client_id"), cfg.Secret("client_secret")
	switch {
	case token.IsSet() && (id != "" || secret.IsSet()):
		return invalid("token", "and client_id exclude each other")
	case token.IsSet():
		c.auth = bearer{token}
	case id == "":
		return invalid("token", "is required (a secret), or client_id with client_secret")
	case !secret.IsSet():
		return invalid("client_secret", "is required with client_id (a secret)")
	default:
		c.auth = newMachine(c, id, secret)
	}
	return nil
}

func invalid(field, message string) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: field + " " + message,
		Next: "correct the connector's settings", Meta: map[string]string{"field": field}}
}

// Close implements connector.Connector.
func (c *Connector) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}
