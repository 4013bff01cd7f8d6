package engine

import "time"

// Job is work for one child.
type Job struct {
	// Dir is the job's private directory, below [Config.Root]: the only place that the SQL can read and write, and the
	// place that relative paths start from. The engine keeps its temporary files in it and leaves none.
	Dir string
	// Timeout is how long the job may take. Default [Config.Timeout].
	Timeout time.Duration
	// Threads of the job, if it needs fewer than [Config.Threads]. Default that number.
	Threads int
	// DisabledOptimizers are steps of the library's planner to leave out. Default: common_subexpressions, which hoists
	// parts of an expression out of TRY.
	DisabledOptimizers []string
	// Steps run in order; the first that fails ends the job.
	Steps []Step
}

// Step is one statement.
type Step struct {
	// Name says what the step does, in errors and explanations.
	Name string
	// SQL is one statement or several with semicolons between.
	SQL string
	// Args are bound to the statement's parameters, as text.
	Args []string
	// Rows asks for the rows of the last statement.
	Rows bool
	// Enough, if it is set and the first value of the step's rows, ends the job in success: no further step is needed.
	Enough string
	// MayFail makes an error that the library raises (running out of memory aside) a part of the result.
	MayFail bool
}

// Result is what a job that succeeded came to.
type Result struct {
	// Steps are the outcomes, one per step that ran.
	Steps []StepResult
	// PeakBytes is the highest resident size of the child during the job; 0 if the system does not tell.
	PeakBytes int64
	// Wall is how long the child took.
	Wall time.Duration
}

// StepResult is the outcome of one step.
type StepResult struct {
	// Columns and Rows are set if the step asked for rows. Values are text; nil is NULL.
	Columns []string    `json:"columns,omitempty"`
	Rows    [][]*string `json:"rows,omitempty"`
	// Err is the library's text of a step that may fail and did; empty otherwise.
	Err string `json:"err,omitempty"`
	// Wall is how long the step took.
	Wall time.Duration `json:"wall"`
}

// Text returns the value of row i and column j, and false if it is NULL or not there.
func (r StepResult) Text(i, j int) (string, bool) {
	if i >= len(r.Rows) || j >= len(r.Rows[i]) || r.Rows[i][j] == nil {
		return "", false
	}
	return *r.Rows[i][j], true
}
