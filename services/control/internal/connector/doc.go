// Package connector keeps connectors: their settings, validated against the spec of their type, and their secrets,
// which are sealed before they reach the store and come out only for a worker.
package connector
