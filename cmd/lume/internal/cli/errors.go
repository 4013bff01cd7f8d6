package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lume-data/lume/internal/fault"
)

// Exit codes.
const (
	// ExitOK is success; a run that ended SUCCEEDED or PARTIAL_FAILED is one.
	ExitOK = 0
	// ExitError is a request that was refused or could not be sent, or a file that is wrong.
	ExitError = 1
	// ExitUsage is a wrong flag or argument.
	ExitUsage = 2
	// ExitFailed is a run that ended FAILED.
	ExitFailed = 3
	// ExitCrashed is a run that ended CRASHED.
	ExitCrashed = 4
	// ExitRejects is a run that ended PARTIAL_FAILED, only with --fail-on-rejects.
	ExitRejects = 5
	// ExitTimeout is a run that had not ended after --timeout. It goes on.
	ExitTimeout = 6
	// ExitInterrupted is an interrupt while waiting. The run goes on.
	ExitInterrupted = 130
)

// exitCodes is shown by the help of commands that wait for a run.
const exitCodes = `Exit codes: 0 the run committed (SUCCEEDED or PARTIAL_FAILED), 1 error, 2 wrong usage, 3 FAILED, 4 CRASHED,
5 PARTIAL_FAILED with --fail-on-rejects, 6 not ended after --timeout, 130 interrupted. After 6 and 130 the run goes on.`

// exitError ends the process with a code of its own. Its text, if any, is printed as it is.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// usageError is a wrong flag or argument.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(cmd *cobra.Command, err error) error {
	return &usageError{command: cmd.CommandPath(), err: err}
}

// problem is an error of the CLI itself, with what to do next.
type problem struct {
	text, next string
}

func (p *problem) Error() string { return p.text }

func problemf(next, format string, args ...any) error {
	return &problem{text: fmt.Sprintf(format, args...), next: next}
}

// exit prints an error and returns the exit code of the command.
func (a *app) exit(err error) int {
	var (
		end   *exitError
		wrong *usageError
		own   *problem
		file  *fileError
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &end):
		if end.text != "" {
			fmt.Fprintln(a.env.Err, end.text)
		}
		return end.code
	case errors.As(err, &wrong):
		fmt.Fprintf(a.env.Err, "Error: %v\nNext: see '%s --help'\n", wrong.err, wrong.command)
		return ExitUsage
	case errors.As(err, &file):
		fmt.Fprint(a.env.Err, file.Error())
		return ExitError
	case errors.As(err, &own):
		fmt.Fprintf(a.env.Err, "Error: %s\n", own.text)
		printNext(a.env.Err, own.next)
		return ExitError
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.env.Err, "Interrupted.")
		return ExitInterrupted
	}
	a.printFault(err)
	return ExitError
}

// printFault shows an error of a call, or of this process.
func (a *app) printFault(err error) {
	f := fault.From(err)
	if f.Reason == fault.ReasonInternal && f.Cause != nil && !isStatus(err) {
		// Not an answer of a server: a file that cannot be read, a port that is taken. Its text is the user's own.
		fmt.Fprintf(a.env.Err, "Error: %v\n", err)
		return
	}
	if a.output == formatJSON || a.output == formatJSONL {
		text, jsonErr := protojson.MarshalOptions{UseProtoNames: true}.Marshal(f.Proto())
		if jsonErr == nil {
			fmt.Fprintf(a.env.Err, `{"error":%s}`+"\n", compact(text))
			return
		}
	}
	fmt.Fprintf(a.env.Err, "Error: %s (%s)\n", printable(f.Message), f.Reason)
	for _, v := range f.Violations {
		fmt.Fprintf(a.env.Err, "  %s: %s\n", v.Field, printable(v.Message))
	}
	printNext(a.env.Err, f.Next)
}

func printNext(w io.Writer, next string) {
	if next != "" {
		fmt.Fprintf(w, "Next: %s\n", printable(next))
	}
}
