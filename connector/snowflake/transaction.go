package snowflake

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// fenceTable has one row, which every load and settlement of the schema updates first: Snowflake lets the second of them
// wait until the transaction of the first has ended, and does not enforce the primary key of the markers.
const fenceTable = "_lume_fence"

func fence(plan sqlload.Plan) sqlload.Table {
	return sqlload.Table{Schema: plan.Runs.Schema, Name: fenceTable}
}

// transactionPrefix begins the names of the transactions of a run's loads into one target and of their settlements; a fence
// follows. It is an identifier that needs no quotes and is in upper case, so that it stands in the list of transactions as it was
// given, whether the server takes names for identifiers or for text.
func transactionPrefix(runID, target string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, strings.ToUpper(sqlload.SessionPrefix(runID, target)))
}

// transaction is one that holds the fence of its schema. Others can abort it at any time (see evict), and Snowflake does not say
// what its session sees then: an error, or that each further statement is a transaction of its own and COMMIT does nothing. So
// every statement that changes rows has the condition held.
type transaction struct {
	*session
	plan sqlload.Plan
	// token is what the transaction has written into the fence's row: with the transaction it is gone.
	token int64
}

// begin starts the transaction of a load or settlement and takes the fence, waiting for at most lockTimeout.
func (s *session) begin(ctx context.Context, plan sqlload.Plan, runID, target string, number int64) (*transaction, error) {
	// 0 is what the row begins with.
	t := &transaction{session: s, plan: plan, token: 1 + rand.Int64N(math.MaxInt64)}
	name, taken := dialect.Table(fence(plan)), dialect.Quote("taken")
	for range 2 {
		if err := s.exec(ctx, "BEGIN TRANSACTION NAME "+transactionPrefix(runID, target)+strconv.FormatInt(number, 10)); err != nil {
			return nil, err
		}
		n, err := s.changed(ctx, fmt.Sprintf("UPDATE %s SET %s = %d", name, taken, t.token))
		if err == nil && n > 0 {
			// The session might have lost its transaction before it wrote the token, which then stands there for good.
			if err = t.check(ctx); err == nil {
				return t, nil
			}
		}
		t.rollback(ctx)
		if err != nil {
			return nil, err
		}
		// Two sessions at once may each insert a row. That is no harm: whoever updates takes all.
		if err := s.exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM %s)", name, taken, name)); err != nil {
			return nil, err
		}
	}
	return nil, unexpected("the fence row cannot be taken")
}

// held is the condition that the statement is part of the transaction.
func (t *transaction) held() string {
	return fmt.Sprintf("EXISTS (SELECT 1 FROM %s WHERE %s = %d)", dialect.Table(fence(t.plan)), dialect.Quote("taken"), t.token)
}

// check returns an error if the transaction has been ended from outside.
func (t *transaction) check(ctx context.Context) error {
	answer, err := t.records(ctx, "SELECT CURRENT_TRANSACTION() AS id")
	if err != nil {
		return err
	}
	if len(answer) != 1 || answer[0]["id"] == "" {
		return ended()
	}
	return nil
}

// ended is the error of a transaction that was ended from outside: nothing of it is committed.
func ended() error {
	c := classes[transactionAborted]
	return &connector.Error{Kind: c.kind, Reason: c.reason, Message: c.message, Next: c.next}
}

// execute runs statements that change markers. Each of them ends with a condition.
func (t *transaction) execute(ctx context.Context) sqlload.Exec {
	return func(statement string, args ...any) (int64, error) {
		return t.changed(ctx, statement+" AND "+t.held(), args...)
	}
}

// commitLost is a COMMIT without an answer, or with one that could not be checked.
type commitLost struct{ cause error }

func (e *commitLost) Error() string { return "the answer to COMMIT was lost" }

func (e *commitLost) Unwrap() error { return e.cause }

// commit ends the transaction. An error of the server means that it has not committed; without an answer it is a
// commitLost. No error means nothing: the server answers so, too, if there is no transaction any more. The marker tells.
func (t *transaction) commit(ctx context.Context) error {
	_, err := t.conn.ExecContext(ctx, "COMMIT")
	if n := number(err); err != nil && (ctx.Err() != nil || n == 0 || n >= 250000) {
		return &commitLost{cause: err}
	}
	return coded(ctx, err)
}

// rollback ends the transaction if it is still open, even when ctx has ended.
func (t *transaction) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = t.exec(ctx, "ROLLBACK")
}
