// Package openapi cuts the description of the whole API down to what one service serves.
package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lume-data/lume/gen/openapi"
)

// definitionPrefix starts every reference to a definition.
const definitionPrefix = "#/definitions/"

// For returns the description of these services, by their names in the protos without package, for example RunService.
func For(services ...string) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(openapi.JSON, &doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI description: %w", err)
	}
	paths, _ := doc["paths"].(map[string]any)
	for path, item := range paths {
		operations, _ := item.(map[string]any)
		for verb, operation := range operations {
			if !tagged(operation, services) {
				delete(operations, verb)
			}
		}
		if len(operations) == 0 {
			delete(paths, path)
		}
	}
	if tags, ok := doc["tags"].([]any); ok {
		doc["tags"] = slices.DeleteFunc(tags, func(tag any) bool {
			t, _ := tag.(map[string]any)
			name, _ := t["name"].(string)
			return !slices.Contains(services, name)
		})
	}
	doc["info"] = map[string]any{"title": "Lume: " + strings.Join(services, ", "), "version": "v1"}
	doc["securityDefinitions"] = map[string]any{
		"key": map[string]any{"type": "apiKey", "in": "header", "name": "lume-api-key"},
	}
	doc["security"] = []any{map[string]any{"key": []any{}}}
	for _, operation := range operations(paths) {
		answerWithError(operation)
	}
	prune(doc, paths)
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI description: %w", err)
	}
	return out, nil
}

func tagged(operation any, services []string) bool {
	o, _ := operation.(map[string]any)
	tags, _ := o["tags"].([]any)
	return slices.ContainsFunc(tags, func(tag any) bool {
		name, _ := tag.(string)
		return slices.Contains(services, name)
	})
}

// operations lists what can be called.
func operations(paths map[string]any) []map[string]any {
	var all []map[string]any
	for _, item := range paths {
		verbs, _ := item.(map[string]any)
		for _, operation := range verbs {
			if o, ok := operation.(map[string]any); ok {
				all = append(all, o)
			}
		}
	}
	return all
}

// answerWithError describes the errors as the gateway writes them: as lume.type.v1.Error, not as google.rpc.Status.
func answerWithError(operation map[string]any) {
	responses, _ := operation["responses"].(map[string]any)
	if _, ok := responses["default"]; ok {
		responses["default"] = map[string]any{
			"description": "An error, with the HTTP status of its code.",
			"schema":      map[string]any{"$ref": definitionPrefix + "Error"},
		}
	}
}

// prune takes out the definitions that no path needs.
func prune(doc, paths map[string]any) {
	definitions, _ := doc["definitions"].(map[string]any)
	needed := make(map[string]bool)
	var visit func(node any)
	visit = func(node any) {
		switch n := node.(type) {
		case []any:
			for _, child := range n {
				visit(child)
			}
		case map[string]any:
			for key, child := range n {
				ref, isText := child.(string)
				if key != "$ref" || !isText {
					visit(child)
					continue
				}
				if name := strings.TrimPrefix(ref, definitionPrefix); !needed[name] {
					needed[name] = true
					visit(definitions[name])
				}
			}
		}
	}
	visit(paths)
	for name := range definitions {
		if !needed[name] {
			delete(definitions, name)
		}
	}
}
