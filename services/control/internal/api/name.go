package api

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lume-data/lume/internal/fault"
)

// last returns the last part of a resource name.
func last(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// flowOf returns the flow of `flows/x/versions/4` or `flows/x/aliases/y`.
func flowOf(name string) string {
	flow, _, _ := strings.Cut(strings.TrimPrefix(name, "flows/"), "/")
	return flow
}

// number returns the number of a version's name, whose form is validated.
func number(name string) int32 {
	n, err := strconv.ParseInt(last(name), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// timestamp returns nil for a time that never was.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// instant returns the zero time for a timestamp that is not set.
func instant(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// required is the error of a field that the proto cannot require in this request.
func required(field string) error {
	return fault.Invalid(fault.Violation{Field: field, Reason: "REQUIRED", Message: "is required"})
}

// mismatch is the error of two fields that must agree.
func mismatch(field, other string) error {
	return fault.Invalid(fault.Violation{Field: field, Reason: "MISMATCH", Message: "must agree with " + other})
}
