package connector

import (
	"maps"
	"strings"

	"github.com/lume-data/lume/internal/fault"
)

// mask says what an update changes.
type mask struct {
	description       bool
	settings, secrets part
}

// part is a map as a whole, or some of its keys.
type part struct {
	whole bool
	keys  map[string]bool
}

var everything = mask{description: true, settings: part{whole: true}, secrets: part{whole: true}}

// ignored are the fields that clients send back as they read them.
var ignored = map[string]bool{
	"name": true, "type": true, "etag": true, "secrets_set": true, "create_time": true, "update_time": true,
}

func parseMask(paths []string) (mask, error) {
	if len(paths) == 0 {
		return everything, nil
	}
	var m mask
	var wrong []fault.Violation
	for _, path := range paths {
		head, key, nested := strings.Cut(path, ".")
		switch {
		case path == "*":
			m = everything
		case path == "description":
			m.description = true
		case head == "settings":
			m.settings.add(key, nested)
		case head == "secrets":
			m.secrets.add(key, nested)
		case !ignored[head]:
			wrong = append(wrong, fault.Violation{
				Field: "update_mask", Reason: "UNKNOWN_FIELD", Message: path + " is none of description, settings and secrets",
			})
		}
	}
	if len(wrong) > 0 {
		return mask{}, fault.Invalid(wrong...)
	}
	return m, nil
}

func (p *part) add(key string, nested bool) {
	if !nested {
		p.whole = true
		return
	}
	if p.keys == nil {
		p.keys = make(map[string]bool)
	}
	p.keys[key] = true
}

func (p part) any() bool { return p.whole || len(p.keys) > 0 }

// pick returns the secrets of the mask.
func (p part) pick(sent map[string]string) map[string]string {
	if p.whole {
		return sent
	}
	out := maps.Clone(sent)
	maps.DeleteFunc(out, func(key, _ string) bool { return !p.keys[key] })
	return out
}

// merge returns old with the settings of the mask as in sent: a setting of the mask that is not sent is unset.
func (p part) merge(old, sent map[string]any) map[string]any {
	if p.whole {
		return sent
	}
	out := maps.Clone(old)
	if out == nil {
		out = make(map[string]any)
	}
	for key := range p.keys {
		if v, ok := sent[key]; ok {
			out[key] = v
		} else {
			delete(out, key)
		}
	}
	return out
}
