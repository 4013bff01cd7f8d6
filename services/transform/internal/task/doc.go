// Package task does the tasks of stage transform: it brings the files of a part or of a batch into a private folder, has
// the engine run the steps of the compiled flow there, checks that what came out balances, and stages the outputs.
//
// A part's records are counted three times over and independently: by ingest's scanner (in the manifest), by the engine
// over the staged file, and in the footers of the files that were written. Anything that does not add up fails the task.
package task
