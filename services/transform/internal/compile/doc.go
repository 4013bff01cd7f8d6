// Package compile turns a flow into a [Plan] and a plan into the SQL of the engine.
//
// [Compiler.Compile] checks everything that can be known before a row is read and answers with every problem and its
// place. Expressions are read by package expr, conversions written by package cast. What the flow alone cannot tell (the
// columns of a file and their types) comes in a [Source]; a plan is compiled again, cheaply, when a part is mapped.
//
// The SQL of a part evaluates every expression once per row, in layers of subqueries: the values, the attempts to convert
// them, what is accepted, and one predicate. One COPY writes the rows that pass. What is rejected is the complement of
// what was mapped and filtered, and only for those few rows the same layers are read again to build the reasons:
// so a good row hardly pays for the rules, and no row can vanish between the two. Optimizers that would copy expressions
// through the layers are switched off ([DisabledOptimizers]); without that every expression would run twice.
package compile
