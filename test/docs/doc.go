// Package docs tests that the documentation says what the code does.
package docs
