// Package api translates between the protos and control's domains, one file per service, and codes the errors that a
// domain returns uncoded. It decides nothing.
package api
