package connector

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	contract "github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/control/internal/store"
)

// place is what a secret is sealed for: the same bytes in another connector or field do not open.
func place(connector, field string) string {
	return "lume/v1|connectors/" + connector + "|" + field + "|1"
}

// seal seals the secrets that are sent and not empty.
func (s *Service) seal(ctx context.Context, name string, secrets map[string]string) (map[string]store.SealedSecret, error) {
	sealed := make(map[string]store.SealedSecret, len(secrets))
	for field, value := range secrets {
		if value == "" {
			continue
		}
		text, err := s.sealer.Seal(ctx, place(name, field), []byte(value))
		if err != nil {
			return nil, fault.New(codes.Unavailable, "SEALING_FAILED", "the secret %s could not be sealed", field).
				WithNext("retry; if it persists see control's log about its key").WithCause(err)
		}
		sealed[field] = store.SealedSecret{Sealed: text, Fingerprint: s.keys.Fingerprint(value)}
	}
	return sealed, nil
}

// merge returns the secrets that are kept, those that were sent in their place, and without those that were sent empty.
func merge(kept, fresh map[string]store.SealedSecret, sent map[string]string) map[string]store.SealedSecret {
	out := make(map[string]store.SealedSecret, len(kept)+len(fresh))
	maps.Copy(out, kept)
	maps.Copy(out, fresh)
	for field, value := range sent {
		if value == "" {
			delete(out, field)
		}
	}
	return out
}

// stamp notes when the secrets that were sent were set.
func stamp(secrets map[string]store.SealedSecret, sent map[string]string, now time.Time) {
	for field, value := range sent {
		if secret, ok := secrets[field]; ok && value != "" {
			secret.UpdateTime = now
			secrets[field] = secret
		}
	}
}

// validate checks a connector against its spec and returns every problem. cleared are secrets that an address change
// took away.
func validate(spec contract.Spec, c store.Connector, sent map[string]string, cleared []string) error {
	set := make(map[string]bool, len(c.Secrets))
	for field := range c.Secrets {
		set[field] = true
	}
	for field := range sent {
		if f, ok := spec.Field(field); !ok || f.Type != contract.Sensitive {
			set[field] = true // So that an unknown name is told even if it is sent empty.
		}
	}
	var violations []fault.Violation
	for _, p := range spec.Validate(c.Settings, set) {
		f, known := spec.Field(p.Field)
		area := "settings"
		_, isSetting := c.Settings[p.Field]
		if (known && f.Type == contract.Sensitive && !isSetting) || (!known && !isSetting) {
			area = "secrets"
		}
		v := fault.Violation{Field: "connector." + area + "." + p.Field, Reason: "INVALID_SETTING", Message: p.Message}
		if slices.Contains(cleared, p.Field) {
			v.Reason = "SECRET_REQUIRED_AGAIN"
			v.Message = "must be sent again: the address of the system changes, and secrets are not carried to another system"
		}
		violations = append(violations, v)
	}
	if len(violations) > 0 {
		return fault.Invalid(violations...)
	}
	return nil
}
