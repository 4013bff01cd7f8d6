package gateway

import (
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// strictQuery refuses parameters that the request does not have. The default ignores them, and so answers a misspelt
// filter with everything.
type strictQuery struct{ runtime.DefaultQueryParser }

// useStrictQuery sets the parser of the process: grpc-gateway has one for all.
var useStrictQuery = sync.OnceFunc(func() { runtime.NewServeMux(runtime.SetQueryParameterParser(strictQuery{})) })

// Parse implements runtime.QueryParameterParser.
func (q strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	for key := range values {
		path, _, _ := strings.Cut(key, "[")
		if !hasField(msg.ProtoReflect().Descriptor(), strings.Split(path, ".")) {
			return fmt.Errorf("unknown parameter %q", key)
		}
	}
	return q.DefaultQueryParser.Parse(msg, values, filter)
}

func hasField(message protoreflect.MessageDescriptor, path []string) bool {
	field := message.Fields().ByName(protoreflect.Name(path[0]))
	if field == nil {
		field = message.Fields().ByJSONName(path[0])
	}
	switch {
	case field == nil:
		return false
	case len(path) == 1:
		return true
	case field.Message() == nil:
		return false
	}
	return hasField(field.Message(), path[1:])
}
