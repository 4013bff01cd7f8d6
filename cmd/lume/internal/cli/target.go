package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/lume-data/lume/cmd/internal/datadir"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/rpcclient"
)

// target says which control a command talks to, and with which key.
type target struct {
	server, apiKey, data, caFile string
	callTimeout                  time.Duration
}

func (t *target) flags(f *pflag.FlagSet) {
	f.StringVar(&t.server, "server", "", "gRPC `address` of control (LUME_SERVER; default: what 'lume up' wrote into the data folder)")
	f.StringVar(&t.apiKey, "api-key", "", "API `key` (LUME_API_KEY; better there, since arguments show in process lists)")
	f.StringVar(&t.data, "data", "", "data `folder` of 'lume up' (LUME_DATA; default ~/.lume)")
	f.StringVar(&t.caFile, "ca-file", "", "`file` with the CA certificates of a server with TLS (LUME_CA_FILE; default: the system's)")
	f.DurationVar(&t.callTimeout, "call-timeout", time.Minute, "longest time of one call")
}

// client is an open connection to control.
type client struct {
	conn       *grpc.ClientConn
	connectors controlv1.ConnectorServiceClient
	flows      controlv1.FlowServiceClient
	runs       controlv1.RunServiceClient
	keys       controlv1.ApiKeyServiceClient
}

func (c *client) close() { _ = c.conn.Close() }

// dial connects to control. The key is never sent off loopback without TLS.
func (a *app) dial() (*client, error) {
	server, key, err := a.resolve()
	if err != nil {
		return nil, err
	}
	conn, err := rpcclient.Dial(
		rpcclient.Config{Address: server, APIKey: key, CAFile: first(a.target.caFile, a.getenv("LUME_CA_FILE"))},
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			ctx, cancel := context.WithTimeout(ctx, a.target.callTimeout)
			defer cancel()
			return invoke(ctx, method, req, reply, cc, opts...)
		}),
	)
	if err != nil {
		return nil, err
	}
	return &client{
		conn:       conn,
		connectors: controlv1.NewConnectorServiceClient(conn),
		flows:      controlv1.NewFlowServiceClient(conn),
		runs:       controlv1.NewRunServiceClient(conn),
		keys:       controlv1.NewApiKeyServiceClient(conn),
	}, nil
}

// resolve finds address and key: flags first, then the environment, then the data folder.
func (a *app) resolve() (server, key string, err error) {
	server = first(a.target.server, a.getenv("LUME_SERVER"))
	key = first(a.target.apiKey, a.getenv("LUME_API_KEY"))
	if server != "" && key != "" {
		return server, key, nil
	}
	dir, err := a.dataDir()
	if err != nil {
		return "", "", err
	}
	local, err := readServer(dir)
	if server == "" {
		if err != nil {
			return "", "", err
		}
		server = local
	}
	if key != "" {
		return server, key, nil
	}
	// The key in the data folder opens the Lume of that folder; no other server gets to see it.
	text, err := os.ReadFile(dir.AdminKey())
	if server != local || err != nil {
		return "", "", problemf("give one by LUME_API_KEY or --api-key", "there is no API key for %s", server)
	}
	return server, strings.TrimSpace(string(text)), nil
}

func readServer(dir datadir.Dir) (string, error) {
	text, err := os.ReadFile(dir.Endpoints())
	if errors.Is(err, fs.ErrNotExist) {
		return "", problemf("start it by 'lume up', or say where control is by --server or LUME_SERVER",
			"no Lume runs with the data folder %s", dir.Path)
	}
	if err != nil {
		return "", err
	}
	var e datadir.Endpoints
	if err := json.Unmarshal(text, &e); err != nil || e.ControlGRPC == "" {
		return "", problemf("start 'lume up' again, which writes it", "%s is damaged", dir.Endpoints())
	}
	return e.ControlGRPC, nil
}

// dataDir is the data folder of `lume up` that commands and servers agree on.
func (a *app) dataDir() (datadir.Dir, error) {
	path := first(a.target.data, a.getenv("LUME_DATA"))
	if path == "" {
		if a.env.Home == "" {
			return datadir.Dir{}, problemf("give a folder by --data or LUME_DATA", "there is no home folder to keep data in")
		}
		path = filepath.Join(a.env.Home, ".lume")
	}
	abs, err := filepath.Abs(path)
	return datadir.Dir{Path: abs}, err
}

func (a *app) getenv(name string) string {
	if a.env.Getenv == nil {
		return ""
	}
	return a.env.Getenv(name)
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func isStatus(err error) bool {
	var s interface{ GRPCStatus() *status.Status }
	return errors.As(err, &s)
}
