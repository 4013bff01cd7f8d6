package cli

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Env is what the process gives to a command.
type Env struct {
	Args   []string
	Getenv func(string) string
	// Lookup tells a variable that is empty from one that is not set.
	Lookup func(string) (string, bool)
	// Home is the user's home folder; empty if there is none.
	Home string
	In   io.Reader
	Out  io.Writer
	Err  io.Writer
}

// app holds the flags that every command has.
type app struct {
	env    Env
	target target
	output string
}

// Main executes one command and returns its exit code. servers are the commands that run the platform; they are given
// so that this package, and its tests, link none of the services.
func Main(ctx context.Context, env Env, servers ...*cobra.Command) int {
	a := &app{env: env}
	root := a.root(servers)
	root.SetArgs(env.Args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	return a.exit(root.ExecuteContext(ctx))
}

func (a *app) root(servers []*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "lume",
		Short: "Load batches that other people made, valid, once, and explainable later",
		Long: `Lume turns batches (files in object stores, rows in databases) into rows of your target schema.

A flow says how; publishing it makes an immutable version; a run of a version loads one batch exactly once,
keeps every record that it had to reject, and ends with a receipt that balances.

Start with 'lume up', then 'lume connectors apply', 'lume flows apply', 'lume flows publish' and 'lume run'.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "", "`format` of the output: table, json, yaml, or jsonl where rows are listed (default: what suits the command)")
	root.SetFlagErrorFunc(usage)
	root.AddGroup(
		&cobra.Group{ID: "work", Title: "Work with flows:"},
		&cobra.Group{ID: "serve", Title: "Run the platform:"},
	)
	for _, c := range []*cobra.Command{a.connectors(), a.flows(), a.versions(), a.runs(), a.run(), a.keys()} {
		c.GroupID = "work"
		a.target.flags(c.PersistentFlags())
		root.AddCommand(c)
	}
	for _, c := range servers {
		c.GroupID = "serve"
		root.AddCommand(c)
	}
	root.AddCommand(a.version(), docs())
	checkArgs(root)
	return root
}

// checkArgs makes every complaint about arguments a usage error, and every mistyped verb below a noun too.
func checkArgs(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		checkArgs(c)
	}
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(c, err)
		}
		return nil
	}
}

// noun returns a command that only holds others.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(verbs...)
	return c
}

// verb is what a command does once it is connected to control.
type verb func(ctx context.Context, c *client, args []string) error

// online makes a command of a verb that needs control.
func (a *app) online(do verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := a.checkOutput(); err != nil {
			return usage(cmd, err)
		}
		c, err := a.dial()
		if err != nil {
			return err
		}
		defer c.close()
		return do(cmd.Context(), c, args)
	}
}

// Process returns what this process was started with.
func Process() Env {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // Then a data folder has to be named.
	}
	return Env{
		Args: os.Args[1:], Getenv: os.Getenv, Lookup: os.LookupEnv, Home: home,
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
	}
}
