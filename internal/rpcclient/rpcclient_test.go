package rpcclient_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/rpcclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flaky is unavailable for the first calls.
type flaky struct {
	controlv1.UnimplementedTaskServiceServer
	calls    atomic.Int32
	deadline atomic.Bool
	token    atomic.Value
}

func (f *flaky) answer(ctx context.Context) error {
	_, ok := ctx.Deadline()
	f.deadline.Store(ok)
	md, _ := metadata.FromIncomingContext(ctx)
	f.token.Store(fmt.Sprint(md.Get("lume-worker-token")))
	if f.calls.Add(1) < 3 {
		return status.Error(codes.Unavailable, "soon")
	}
	return nil
}

func (f *flaky) Heartbeat(ctx context.Context, _ *controlv1.HeartbeatRequest) (*controlv1.HeartbeatResponse, error) {
	return &controlv1.HeartbeatResponse{}, f.answer(ctx)
}

func (f *flaky) Claim(ctx context.Context, _ *controlv1.ClaimRequest) (*controlv1.ClaimResponse, error) {
	return &controlv1.ClaimResponse{}, f.answer(ctx)
}

func setup(t *testing.T) (*flaky, controlv1.TaskServiceClient) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, f := grpc.NewServer(), &flaky{}
	controlv1.RegisterTaskServiceServer(server, f)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	conn, err := rpcclient.Dial(rpcclient.Config{Address: listener.Addr().String(), WorkerToken: "the token"})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-done)
	})
	return f, controlv1.NewTaskServiceClient(conn)
}

func TestCallsThatMayBeRepeatedAreAndCarryTokenAndDeadline(t *testing.T) {
	t.Parallel()
	f, client := setup(t)
	_, err := client.Heartbeat(context.WithoutCancel(t.Context()), &controlv1.HeartbeatRequest{})
	require.NoError(t, err)
	require.Equal(t, int32(3), f.calls.Load())
	require.True(t, f.deadline.Load())
	require.Equal(t, "[the token]", f.token.Load())
}

func TestCallsThatCouldBeDoneTwiceAreNotRepeated(t *testing.T) {
	t.Parallel()
	f, client := setup(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Claim(ctx, &controlv1.ClaimRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, int32(1), f.calls.Load())
}

func TestOffLoopbackTheConnectionIsEncryptedOrRefused(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	hello := make(chan byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		first := make([]byte, 1)
		_, _ = conn.Read(first)
		hello <- first[0]
		_ = conn.Close()
	}()
	// The name is of this machine, but nothing says so.
	conn, err := rpcclient.Dial(rpcclient.Config{Address: "passthrough:///lume.example:1", WorkerToken: "secret token"},
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
		}), grpc.WithNoProxy())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	conn.Connect()
	require.Equal(t, byte(22), <-hello, "a TLS handshake record")
	_, err = rpcclient.Dial(rpcclient.Config{Address: "h:1", CAFile: "missing"})
	require.Error(t, err)
	_, err = rpcclient.Dial(rpcclient.Config{})
	require.Error(t, err)
}

func TestAConfigDoesNotPrintItsCredentials(t *testing.T) {
	t.Parallel()
	cfg := rpcclient.Config{Address: "h:1", WorkerToken: "hunter2", APIKey: "hunter2"}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg), "hunter2")
}
