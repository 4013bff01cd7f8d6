package connector

import (
	"slices"
	"strconv"
	"strings"

	contract "github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/services/control/internal/storefault"
)

// Spec returns the spec of a type.
func (s *Service) Spec(typ string) (contract.Spec, error) {
	for _, spec := range s.specs {
		if spec.Type == typ {
			return spec, nil
		}
	}
	return contract.Spec{}, storefault.NotFound("connector spec", typ).WithNext("list the types with `lume connectors specs`")
}

// spec is Spec for a type that a caller sent as a field.
func (s *Service) spec(typ string) (contract.Spec, error) {
	spec, err := s.Spec(typ)
	if err == nil {
		return spec, nil
	}
	known := make([]string, 0, len(s.specs))
	for _, spec := range s.specs {
		known = append(known, spec.Type)
	}
	slices.Sort(known)
	message := "must be one of " + strings.Join(known, ", ")
	if typ != "" {
		message = strconv.Quote(typ) + " is not a connector type; " + message
	}
	return contract.Spec{}, fault.Invalid(fault.Violation{Field: "connector.type", Reason: "UNKNOWN_CONNECTOR_TYPE", Message: message})
}

// Specs lists the types of connectors by name.
func (s *Service) Specs(size int32, token string) ([]contract.Spec, string, error) {
	var after string
	if err := page.Decode(s.pages, token, &after, "connectorSpecs"); err != nil {
		return nil, "", err
	}
	specs := slices.Clone(s.specs)
	slices.SortFunc(specs, func(a, b contract.Spec) int { return strings.Compare(a.Type, b.Type) })
	specs = slices.DeleteFunc(specs, func(spec contract.Spec) bool { return after != "" && spec.Type <= after })
	next := ""
	if n := page.Size(size); len(specs) > n {
		specs = specs[:n]
		next = specs[n-1].Type
	}
	return specs, page.Encode(s.pages, next, "connectorSpecs"), nil
}
