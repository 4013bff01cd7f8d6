// Package openapi holds the generated OpenAPI description of all services.
package openapi

import _ "embed"

// JSON is the description in OpenAPI 2.0.
//
//go:embed lume.swagger.json
var JSON []byte
