package fault_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

func whole() *fault.Error {
	return fault.New(codes.InvalidArgument, "BAD_CELL", "cell %s is wrong", "x").
		WithNext("fix %s", "x").WithMeta("cell", "x").WithMeta("stage", "shadowed").WithColumn("amount").
		WithStage(typev1.Stage_STAGE_TRANSFORM).AsRetryable().
		WithCoordinate(&typev1.Coordinate{File: "a.csv", Row: proto.Int64(3), Line: proto.Int64(5), ByteOffset: proto.Int64(99)}).
		WithViolation("columns[2].from", "SYNTAX_ERROR", "does not parse")
}

func TestStatusCarriesTheWholeErrorAndOneErrorInfo(t *testing.T) {
	t.Parallel()
	s := fault.ToStatus(fmt.Errorf("while testing: %w", whole()))
	infos := 0
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos++
			require.Equal(t, "lume", info.GetDomain())
			require.Equal(t, "fix x", info.GetMetadata()["next_action"])
		}
	}
	require.Equal(t, 1, infos)
	back := fault.From(s.Err())
	require.Empty(t, cmp.Diff(whole(), back, protocmp.Transform(), cmpopts.IgnoreFields(fault.Error{}, "Cause")))
}

func TestProtoCarriesTheWholeError(t *testing.T) {
	t.Parallel()
	require.Empty(t, cmp.Diff(whole(), fault.FromProto(whole().Proto()), protocmp.Transform()))
	require.Nil(t, fault.FromProto(nil))
}

func TestForeignErrorsShowNothingOfTheirText(t *testing.T) {
	t.Parallel()
	secret := "postgres://u:hunter2@h"
	for name, err := range map[string]error{
		"plain":  errors.New(secret),
		"url":    &url.Error{Op: "Get", URL: secret, Err: errors.New("x")},
		"status": status.Error(codes.Unavailable, secret),
		"odd":    status.Error(codes.Code(77), secret),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := fault.From(err)
			require.NotContains(t, fault.ToStatus(err).String(), "hunter2")
			require.NotContains(t, e.Error()+e.Next+e.Proto().String(), "hunter2")
			require.ErrorIs(t, e.Cause, err)
		})
	}
}

type described struct{ error }

func (described) Fault() (uint32, string, string, string, string, map[string]string) {
	return uint32(codes.Unavailable), "SYSTEM_DOWN", "it is down", "wait", "c", map[string]string{"host": "h"}
}
func (d described) Unwrap() error { return d.error }

func TestFromKnowsContextsAndDescribedErrors(t *testing.T) {
	t.Parallel()
	e := fault.From(fmt.Errorf("x: %w", described{errors.New("driver text")}))
	require.Equal(t, "SYSTEM_DOWN", e.Reason)
	require.True(t, e.Retryable)
	require.Equal(t, "driver text", e.Cause.Error())

	require.Equal(t, codes.Canceled, fault.From(context.Canceled).Code)
	require.False(t, fault.From(context.Canceled).Retryable)
	require.Equal(t, fault.ReasonCancelled, fault.From(context.Canceled).Reason)
	require.True(t, fault.From(fmt.Errorf("x: %w", context.DeadlineExceeded)).Retryable)
	require.Nil(t, fault.From(nil))
	require.Equal(t, codes.OK, fault.ToStatus(nil).Code())
}

func TestWithReturnsCopies(t *testing.T) {
	t.Parallel()
	base := fault.New(codes.NotFound, "X", "x").WithMeta("a", "1")
	_ = base.WithMeta("a", "2").WithViolation("f", "R", "m")
	require.Equal(t, "1", base.Meta["a"])
	require.Empty(t, base.Violations)
}
