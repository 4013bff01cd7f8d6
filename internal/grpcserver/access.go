package grpcserver

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// accessTable maps full method names (`/package.Service/Method`) to the access they need. A method that is not in it
// is denied.
type accessTable map[string]typev1.Access

// builtIn returns the access of services that are not ours: health is public; reflection is public on loopback and
// needs a key elsewhere.
func builtIn(service string, onLoopback bool) (typev1.Access, bool) {
	switch {
	case service == "grpc.health.v1.Health":
		return typev1.Access_ACCESS_PUBLIC, true
	case strings.HasPrefix(service, "grpc.reflection.") && onLoopback:
		return typev1.Access_ACCESS_PUBLIC, true
	case strings.HasPrefix(service, "grpc.reflection."):
		return typev1.Access_ACCESS_READ, true
	}
	return 0, false
}

// newAccessTable reads the access of every registered method from its descriptor. Methods without one are an error
// that names all of them.
func newAccessTable(services map[string]grpc.ServiceInfo, onLoopback bool) (accessTable, error) {
	table := make(accessTable)
	var missing []string
	for service, info := range services {
		for _, method := range info.Methods {
			full := "/" + service + "/" + method.Name
			access, ok := builtIn(service, onLoopback)
			if !ok {
				access = declared(service, method.Name)
			}
			if access == typev1.Access_ACCESS_UNSPECIFIED {
				missing = append(missing, full)
				continue
			}
			table[full] = access
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("methods without the option lume.type.v1.access: %w", errors.New(strings.Join(missing, ", ")))
	}
	return table, nil
}

func declared(service, method string) typev1.Access {
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return typev1.Access_ACCESS_UNSPECIFIED
	}
	options := descriptor.Options()
	if !proto.HasExtension(options, typev1.E_Access) {
		return typev1.Access_ACCESS_UNSPECIFIED
	}
	access, _ := proto.GetExtension(options, typev1.E_Access).(typev1.Access)
	return access
}
