package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lume-data/lume/services/control/internal/store"
)

// outboxChunk bounds the rows of one statement.
const outboxChunk = 100

func scanMessage(row scanner) (store.Message, error) {
	var (
		m       store.Message
		headers []byte
		created int64
	)
	if err := row.Scan(&m.Seq, &m.ID, &m.Kind, &m.RunID, &m.Subject, &m.Body, &headers, &created); err != nil {
		return m, err
	}
	m.CreateTime = fromMicros(created)
	if headers != nil {
		if err := json.Unmarshal(headers, &m.Headers); err != nil {
			return m, fmt.Errorf("decode headers: %w", err)
		}
	}
	return m, nil
}

// Messages implements [store.OutboxReader].
func (r reader) Messages(ctx context.Context, after int64, limit int) ([]store.Message, error) {
	return all(ctx, r.conn, "read outbox", scanMessage,
		"SELECT seq, id, kind, run_id, subject, body, headers, create_time FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
}

// AddMessages implements [store.OutboxWriter].
func (t *tx) AddMessages(ctx context.Context, messages []store.Message) error {
	if len(messages) == 0 {
		return nil
	}
	now, err := t.Now(ctx)
	if err != nil {
		return err
	}
	for len(messages) > 0 {
		n := min(len(messages), outboxChunk)
		query := "INSERT INTO outbox (id, kind, run_id, subject, body, headers, create_time) VALUES "
		args := make([]any, 0, 7*n)
		for i, m := range messages[:n] {
			var headers []byte
			if len(m.Headers) > 0 {
				if headers, err = encodeJSON(m.Headers); err != nil {
					return err
				}
			}
			if i > 0 {
				query += ", "
			}
			query += "(?, ?, ?, ?, ?, ?, ?)"
			args = append(args, m.ID, string(m.Kind), m.RunID, m.Subject, nonNil(m.Body), headers, micros(now))
		}
		if _, err := t.exec(ctx, "add to outbox", query, args...); err != nil {
			return err
		}
		messages = messages[n:]
	}
	t.outbox = true
	return nil
}

// DeleteMessages implements [store.OutboxWriter].
func (t *tx) DeleteMessages(ctx context.Context, seqs []int64) error {
	for len(seqs) > 0 {
		n := min(len(seqs), outboxChunk)
		args := make([]any, n)
		for i, seq := range seqs[:n] {
			args[i] = seq
		}
		if _, err := t.exec(ctx, "delete from outbox", "DELETE FROM outbox WHERE seq IN ("+marks(n)+")", args...); err != nil {
			return err
		}
		seqs = seqs[n:]
	}
	return nil
}
