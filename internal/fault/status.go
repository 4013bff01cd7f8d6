package fault

import (
	"maps"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Domain of every ErrorInfo.
const Domain = "lume"

// Keys of ErrorInfo.metadata that hold the error's own fields; every other key is one of its dynamic values.
const (
	keyNext      = "next_action"
	keyColumn    = "column"
	keyStage     = "stage"
	keyRetryable = "retryable"
	keyRow       = "row"
	keyFile      = "file"
	keyLine      = "line"
	keyByte      = "byte_offset"
)

// reserved keys of a dynamic value get this prefix on the wire.
const escape = "meta."

var reserved = map[string]bool{
	keyNext: true, keyColumn: true, keyStage: true, keyRetryable: true, keyRow: true, keyFile: true, keyLine: true, keyByte: true,
}

// CodeName returns the canonical name of a code, for example INVALID_ARGUMENT.
func CodeName(c codes.Code) string { return code.Code(c).String() }

// ToStatus returns the status of an error: its code, its message, exactly one ErrorInfo and, if fields are wrong,
// BadRequest. ToStatus(nil) is OK.
func ToStatus(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	e := From(err)
	s := status.New(e.Code, e.Message)
	info := &errdetails.ErrorInfo{Reason: e.Reason, Domain: Domain, Metadata: e.wireMeta()}
	if len(e.Violations) == 0 {
		return withDetails(s, info)
	}
	bad := &errdetails.BadRequest{}
	for _, v := range e.Violations {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: v.Field, Description: v.Message, Reason: v.Reason,
		})
	}
	return withDetails(s, info, bad)
}

// GRPCStatus makes gRPC answer with the whole error when a handler returns it.
func (e *Error) GRPCStatus() *status.Status { return ToStatus(e) }

func withDetails(s *status.Status, info *errdetails.ErrorInfo, more ...*errdetails.BadRequest) *status.Status {
	with, err := s.WithDetails(info)
	if err != nil {
		return s // Only for code OK, or a detail that does not marshal; neither is built here.
	}
	for _, bad := range more {
		if next, err := with.WithDetails(bad); err == nil {
			with = next
		}
	}
	return with
}

func (e *Error) wireMeta() map[string]string {
	meta := make(map[string]string, len(e.Meta)+4)
	for key, value := range e.Meta {
		if reserved[key] {
			key = escape + key
		}
		meta[key] = value
	}
	set := func(key, value string) {
		if value != "" {
			meta[key] = value
		}
	}
	set(keyNext, e.Next)
	set(keyColumn, e.Column)
	if e.Stage != typev1.Stage_STAGE_UNSPECIFIED {
		set(keyStage, e.Stage.String())
	}
	set(keyRetryable, strconv.FormatBool(e.Retryable))
	if at := e.Coordinate; at != nil {
		set(keyFile, at.GetFile())
		number := func(key string, n *int64) {
			if n != nil {
				set(key, strconv.FormatInt(*n, 10))
			}
		}
		number(keyRow, at.Row)
		number(keyLine, at.Line)
		number(keyByte, at.ByteOffset)
	}
	return meta
}

// fromStatus reads what ToStatus wrote. A status of another origin shows only its code, since its text is a
// library's.
func fromStatus(s *status.Status, cause error) *Error {
	var info *errdetails.ErrorInfo
	var violations []Violation
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				info = d
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				violations = append(violations, Violation{Field: v.GetField(), Reason: v.GetReason(), Message: v.GetDescription()})
			}
		}
	}
	if info == nil {
		return generic(s.Code(), cause)
	}
	e := &Error{Code: s.Code(), Reason: info.GetReason(), Message: s.Message(), Violations: violations, Cause: cause}
	e.readMeta(maps.Clone(info.GetMetadata()))
	return e
}

func (e *Error) readMeta(meta map[string]string) {
	take := func(key string) (string, bool) {
		value, ok := meta[key]
		delete(meta, key)
		return value, ok
	}
	e.Next, _ = take(keyNext)
	e.Column, _ = take(keyColumn)
	if name, ok := take(keyStage); ok {
		e.Stage = typev1.Stage(typev1.Stage_value[name])
	}
	if text, ok := take(keyRetryable); ok {
		e.Retryable = text == "true"
	} else {
		e.Retryable = passing(e.Code)
	}
	at, has := &typev1.Coordinate{}, false
	if file, ok := take(keyFile); ok {
		at.File, has = file, true
	}
	for key, field := range map[string]**int64{keyRow: &at.Row, keyLine: &at.Line, keyByte: &at.ByteOffset} {
		if text, ok := take(key); ok {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				*field, has = &n, true
			}
		}
	}
	if has {
		e.Coordinate = at
	}
	for key, value := range meta {
		if bare, ok := strings.CutPrefix(key, escape); ok && reserved[bare] {
			delete(meta, key)
			meta[bare] = value
		}
	}
	if len(meta) > 0 {
		e.Meta = meta
	}
}

// Proto returns the error as the API, events and run metadata show it.
func (e *Error) Proto() *typev1.Error {
	if e == nil {
		return nil
	}
	p := &typev1.Error{
		Code: CodeName(e.Code), Reason: e.Reason, Message: e.Message, Stage: e.Stage, Column: e.Column,
		NextAction: e.Next, Metadata: maps.Clone(e.Meta), Retryable: e.Retryable,
	}
	if e.Coordinate != nil {
		p.Coordinate = proto.CloneOf(e.Coordinate)
	}
	for _, v := range e.Violations {
		p.Violations = append(p.Violations, &typev1.FieldViolation{Field: v.Field, Reason: v.Reason, Message: v.Message})
	}
	return p
}

// FromProto reads what Proto wrote. An unknown code is INTERNAL. FromProto(nil) is nil.
func FromProto(p *typev1.Error) *Error {
	if p == nil {
		return nil
	}
	c, ok := code.Code_value[p.GetCode()]
	if !ok || c == 0 {
		c = int32(codes.Internal)
	}
	e := &Error{
		Code: codes.Code(c), Reason: p.GetReason(), Message: p.GetMessage(), Next: p.GetNextAction(), Stage: p.GetStage(),
		Column: p.GetColumn(), Meta: maps.Clone(p.GetMetadata()), Retryable: p.GetRetryable(),
	}
	if p.GetCoordinate() != nil {
		e.Coordinate = proto.CloneOf(p.GetCoordinate())
	}
	for _, v := range p.GetViolations() {
		e.Violations = append(e.Violations, Violation{Field: v.GetField(), Reason: v.GetReason(), Message: v.GetMessage()})
	}
	return e
}
