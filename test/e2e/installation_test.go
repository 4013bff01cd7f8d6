package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/test/server"
)

// installation is a running Lume and a client of it.
type installation struct {
	// root is a folder that file and sqlite connectors may use.
	root string
	// processes by the name of what they serve; `up` serves everything.
	processes map[string]*process
	// http are the addresses of the REST gateways.
	http map[string]string
	key  string
	// ca is the file with the CA of servers that speak TLS; empty for plain text.
	ca string
	// database, nats and staging are those of four processes.
	database string
	nats     *server.NATS
	staging  func(t *testing.T) map[string][]byte
	// byCommand is true if connectors are made by the command line and not by the API.
	byCommand bool

	// owner is the test that the installation belongs to; its subtests may connect again.
	owner      *testing.T
	conn       *grpc.ClientConn
	connectors controlv1.ConnectorServiceClient
	flows      controlv1.FlowServiceClient
	runs       controlv1.RunServiceClient
	keys       controlv1.ApiKeyServiceClient
}

// services are the four of them.
var services = []string{"control", "ingest", "transform", "egress"}

// up starts `lume up` in a fresh folder.
func up(t *testing.T) *installation {
	t.Helper()
	root := t.TempDir()
	p := spawn(t, root, "lume", nil, "up", "--data", filepath.Join(root, "data"), "--port", "0", "--root", root, "--log-level", "info")
	i := &installation{owner: t, root: root, processes: map[string]*process{"up": p}}
	i.connectUp(t)
	return i
}

// endpoints is what `lume up` writes about itself.
type endpoints struct {
	PID           int    `json:"pid"`
	ControlGRPC   string `json:"control_grpc"`
	ControlHTTP   string `json:"control_http"`
	IngestHTTP    string `json:"ingest_http"`
	TransformHTTP string `json:"transform_http"`
	EgressHTTP    string `json:"egress_http"`
}

// connectUp waits until a fresh start of `lume up` answers, and connects.
func (i *installation) connectUp(t *testing.T) {
	t.Helper()
	var e endpoints
	eventually(t, time.Minute, "lume up is ready", func() bool {
		i.processes["up"].alive(t)
		text, err := os.ReadFile(filepath.Join(i.root, "data", "endpoints.json"))
		return err == nil && json.Unmarshal(text, &e) == nil && e.PID == i.processes["up"].cmd.Process.Pid
	})
	key, err := os.ReadFile(filepath.Join(i.root, "data", "admin.key"))
	require.NoError(t, err)
	i.http = map[string]string{"control": e.ControlHTTP, "ingest": e.IngestHTTP, "transform": e.TransformHTTP, "egress": e.EgressHTTP}
	i.connect(t, e.ControlGRPC, string(key))
}

// restart starts a killed process again and waits until the installation answers.
func (i *installation) restart(t *testing.T, name string) {
	t.Helper()
	i.processes[name].start(t)
	if name == "up" {
		i.connectUp(t)
		return
	}
	i.ready(t, name)
}

// four starts the four services as processes of their own, on an external NATS server, PostgreSQL and S3. more are
// variables that all of them get.
func four(t *testing.T, more ...string) *installation {
	t.Helper()
	root := t.TempDir()
	s3 := server.StartS3(t)
	ports := freePorts(t, 2*len(services))
	grpcAt, httpAt := map[string]string{}, map[string]string{}
	for n, name := range services {
		grpcAt[name], httpAt[name] = loopback(ports[2*n]), loopback(ports[2*n+1])
	}
	database, bus := server.StartPostgres(t), server.NewNATS(t)
	keyFile := filepath.Join(root, "admin.key")
	common := []string{
		"LUME_NATS_URL=" + bus.URL,
		"LUME_STAGING=" + s3.StagingURL("staging"),
		"LUME_WORKER_TOKENS=worker-token-of-the-tests-0123456789",
	}
	common = append(common, more...)
	own := map[string][]string{
		"control": {
			"LUME_DATABASE=" + database, "LUME_KEYSET_FILE=" + filepath.Join(root, "keyset.json"),
			"LUME_CREATE_KEYSET=true", "LUME_LEASE=10s", "LUME_BOOTSTRAP_KEY_FILE=" + keyFile,
			"LUME_INGEST_ADDRESS=" + grpcAt["ingest"], "LUME_TRANSFORM_ADDRESS=" + grpcAt["transform"], "LUME_EGRESS_ADDRESS=" + grpcAt["egress"],
		},
		"ingest": {"LUME_ROOT=" + root}, "transform": nil, "egress": {"LUME_ROOT=" + root},
	}
	i := &installation{owner: t, root: root, processes: map[string]*process{}, http: httpAt, database: database, nats: bus}
	for _, variable := range more {
		if ca, ok := strings.CutPrefix(variable, "LUME_CA_FILE="); ok {
			i.ca = ca
		}
	}
	i.staging = func(t *testing.T) map[string][]byte {
		t.Helper()
		return objects(t, s3, "")
	}
	for _, name := range services {
		env := append([]string{"LUME_GRPC_ADDRESS=" + grpcAt[name], "LUME_HTTP_ADDRESS=" + httpAt[name]}, common...)
		if name != "control" {
			work := filepath.Join(root, "work-"+name)
			require.NoError(t, os.Mkdir(work, 0o700))
			env = append(env, "LUME_CONTROL_ADDRESS="+grpcAt["control"], "LUME_WORK_DIR="+work)
		}
		i.processes[name] = spawn(t, root, "lume-"+name, append(env, own[name]...))
	}
	for _, name := range services {
		i.ready(t, name)
	}
	key, err := os.ReadFile(keyFile)
	require.NoError(t, err)
	i.connect(t, grpcAt["control"], string(key))
	return i
}

// ready waits until a service says so.
func (i *installation) ready(t *testing.T, name string) {
	t.Helper()
	eventually(t, time.Minute, name+" is ready", func() bool {
		i.processes[name].alive(t)
		response, err := i.client(t).Get(i.url(name, "/readyz"))
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode == http.StatusOK
	})
}

// client returns an HTTP client that trusts the installation, and nobody else if it speaks TLS.
func (i *installation) client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	if i.ca != "" {
		text, err := os.ReadFile(i.ca)
		require.NoError(t, err)
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		require.True(t, transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text))
	}
	return &http.Client{Transport: transport}
}

// url of a path of a service's gateway.
func (i *installation) url(service, path string) string {
	if i.ca != "" {
		return "https://" + i.http[service] + path
	}
	return "http://" + i.http[service] + path
}

func (i *installation) connect(t *testing.T, address, key string) {
	t.Helper()
	i.key = strings.TrimSpace(key)
	if i.conn != nil {
		_ = i.conn.Close()
	}
	conn, err := rpcclient.Dial(rpcclient.Config{Address: address, APIKey: i.key, CAFile: i.ca})
	require.NoError(t, err)
	i.owner.Cleanup(func() { _ = conn.Close() })
	i.conn = conn
	i.connectors = controlv1.NewConnectorServiceClient(conn)
	i.flows = controlv1.NewFlowServiceClient(conn)
	i.runs = controlv1.NewRunServiceClient(conn)
	i.keys = controlv1.NewApiKeyServiceClient(conn)
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// freePorts returns ports that nobody listens on, below those that the kernel gives to outgoing connections.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	for range 100 {
		base := 12_000 + rand.IntN(18_000)
		ports := make([]int, 0, n)
		for port := base; port < base+n; port++ {
			l, err := net.Listen("tcp", loopback(port))
			if err != nil {
				break
			}
			_ = l.Close()
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports
		}
	}
	t.Fatal("no free ports")
	return nil
}
