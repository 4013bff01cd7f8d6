// Package sqlstore is the store contract over database/sql, for every engine that speaks the SQL written here. What
// engines do differently is in their [Dialect]; the statements are the same for all, with `?` for parameters.
package sqlstore
