// Package snowflaketest is a server that speaks enough of Snowflake's protocol for the real driver: log in by password or
// key pair, query with JSON and Arrow results in several batches, PUT, renewal of tokens, abort and log out.
//
// It knows no SQL. A test says what each statement answers, and can let the server fail in every way that a network and an
// account can: cut connections, expired tokens, errors, statements that never end.
package snowflaketest
