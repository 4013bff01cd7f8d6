package auth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/fault"
)

func TestAKeyReadsBackAndEveryTypingErrorIsTold(t *testing.T) {
	t.Parallel()
	key := auth.NewKey()
	back, err := auth.ParseKey(key.Reveal())
	require.NoError(t, err)
	require.Equal(t, key.ID(), back.ID())
	require.True(t, back.Matches([]byte("pepper"), key.Hash([]byte("pepper"))))
	require.False(t, back.Matches([]byte("other"), key.Hash([]byte("pepper"))))
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(key.Reveal())
		i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		c := rapid.Byte().Draw(t, "char")
		if text[i] == c {
			return
		}
		text[i] = c
		_, err := auth.ParseKey(string(text))
		require.ErrorIs(t, err, auth.ErrMalformedKey)
	})
}

func TestAKeyCannotBePrinted(t *testing.T) {
	t.Parallel()
	key := auth.NewKey()
	secret := key.Reveal()[18:]
	marshalled, err := json.Marshal(map[string]any{"k": key, "c": auth.Credentials{APIKey: key.Reveal()}.String()})
	require.NoError(t, err)
	printed := fmt.Sprintf("%v %+v %#v %s %v %#v", key, key, key, marshalled, auth.Credentials{APIKey: key.Reveal()}, auth.Credentials{APIKey: key.Reveal()})
	require.NotContains(t, printed, secret)
}

func TestScopesIncludeThoseBelowAndNothingElse(t *testing.T) {
	t.Parallel()
	scopes := []auth.Scope{auth.Read, auth.Run, auth.Edit, auth.Admin}
	accesses := []typev1.Access{typev1.Access_ACCESS_READ, typev1.Access_ACCESS_RUN, typev1.Access_ACCESS_EDIT, typev1.Access_ACCESS_ADMIN}
	for i, scope := range scopes {
		identity := auth.Identity{Kind: auth.Client, Scopes: []auth.Scope{scope}}
		for j, access := range accesses {
			require.Equal(t, j <= i, identity.Allows(access), "%s %s", scope, access)
		}
		require.False(t, identity.Allows(typev1.Access_ACCESS_WORKER))
		require.False(t, identity.Allows(typev1.Access_ACCESS_UNSPECIFIED))
		require.False(t, identity.Allows(99))
	}
	worker := auth.Identity{Kind: auth.Worker}
	require.True(t, worker.Allows(typev1.Access_ACCESS_WORKER))
	require.False(t, worker.Allows(typev1.Access_ACCESS_READ))
	require.False(t, auth.Identity{Scopes: []auth.Scope{"root"}}.Allows(typev1.Access_ACCESS_READ))
}

func TestWorkersAreKnownByTokenOrCertificate(t *testing.T) {
	t.Parallel()
	token := "0123456789abcdef0123456789"
	workers, err := auth.WorkerTokens([]string{token}, auth.Edit)
	require.NoError(t, err)
	both := auth.Combine(nil, workers)
	for name, c := range map[string]struct {
		credentials auth.Credentials
		ok          bool
	}{
		"token":          {auth.Credentials{WorkerToken: token}, true},
		"wrong token":    {auth.Credentials{WorkerToken: token + "x"}, false},
		"certificate":    {auth.Credentials{CertificateURIs: []string{"spiffe://lume/worker"}}, true},
		"other role":     {auth.Credentials{CertificateURIs: []string{"spiffe://lume/visitor"}}, false},
		"other domain":   {auth.Credentials{CertificateURIs: []string{"spiffe://evil/worker"}}, false},
		"nothing":        {auth.Credentials{}, false},
		"key of nobody":  {auth.Credentials{APIKey: "x"}, false},
		"token wins key": {auth.Credentials{APIKey: "x", WorkerToken: token}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			identity, err := both.Authenticate(t.Context(), c.credentials)
			if !c.ok {
				require.Equal(t, codes.Unauthenticated, fault.From(err).Code)
				return
			}
			require.NoError(t, err)
			require.Equal(t, auth.Worker, identity.Kind)
			require.True(t, identity.Allows(typev1.Access_ACCESS_EDIT))
		})
	}
	_, err = auth.WorkerTokens([]string{"short"})
	require.ErrorContains(t, err, "shorter")
}

func TestCredentialsComeFromHeadersAndVerifiedCertificates(t *testing.T) {
	t.Parallel()
	uri, err := url.Parse("spiffe://lume/worker")
	require.NoError(t, err)
	certificate := &x509.Certificate{URIs: []*url.URL{uri}}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "bearer  K ", "lume-worker-token", "W"))
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate}}
	unverified := peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	require.Equal(t, auth.Credentials{APIKey: "K", WorkerToken: "W"}, auth.FromRequest(unverified))
	state.VerifiedChains = [][]*x509.Certificate{{certificate}}
	verified := peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	require.Equal(t, []string{"spiffe://lume/worker"}, auth.FromRequest(verified).CertificateURIs)
	require.True(t, auth.FromRequest(t.Context()).IsZero())
}

type control struct {
	asked int
	err   error
}

func (c *control) CheckApiKey(context.Context, *controlv1.CheckApiKeyRequest, ...grpc.CallOption) (*controlv1.CheckApiKeyResponse, error) {
	c.asked++
	if c.err != nil {
		return nil, c.err
	}
	return &controlv1.CheckApiKeyResponse{KeyId: "id", Scopes: []string{"run"}, Ttl: durationpb.New(time.Minute)}, nil
}

func TestRemoteAsksOnceAndKeepsOnlyGoodAnswers(t *testing.T) {
	t.Parallel()
	key := auth.Credentials{APIKey: auth.NewKey().Reveal()}
	c := &control{err: fault.New(codes.Unauthenticated, auth.ReasonAPIKeyInvalid, "no").GRPCStatus().Err()}
	remote := auth.Remote(c)

	_, err := remote.Authenticate(t.Context(), auth.Credentials{APIKey: "not a key"})
	require.Equal(t, codes.Unauthenticated, fault.From(err).Code)
	require.Zero(t, c.asked)

	_, err = remote.Authenticate(t.Context(), key)
	require.Equal(t, codes.Unauthenticated, fault.From(err).Code)
	for _, c.err = range []error{errors.New("down"), fault.ToStatus(auth.ErrUnauthenticated).Err()} {
		_, err = remote.Authenticate(t.Context(), key)
		require.Equal(t, codes.Unavailable, fault.From(err).Code, "a wrong worker token is not the client's fault")
	}
	require.Equal(t, 3, c.asked)

	c.err = nil
	for range 3 {
		identity, err := remote.Authenticate(t.Context(), key)
		require.NoError(t, err)
		require.True(t, identity.Allows(typev1.Access_ACCESS_RUN))
		require.False(t, identity.Allows(typev1.Access_ACCESS_EDIT))
	}
	require.Equal(t, 4, c.asked)
}
