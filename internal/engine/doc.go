// Package engine runs SQL of the DuckDB library in child processes, so that a query which eats memory, hangs or crashes
// fails one job and nothing else.
//
// A [Pool] starts children by executing the running program again: mains and TestMains begin with
//
//	if engine.IsChild() {
//		os.Exit(engine.Main())
//	}
//
// A [Job] is a private directory and a list of SQL steps. A child opens a fresh in-memory instance per job that can reach
// files of that directory only, locks its configuration, runs the steps and answers over a pipe with a bounded message.
// The process is the boundary: no environment, resource limits, Landlock where the kernel has it, its own process group,
// and death with its parent, at the job's deadline or when the job's context ends. Settings inside the instance are
// hygiene on top. A child that ends a job clean and small takes further jobs; any other is killed and replaced.
package engine
