package load

import (
	"context"
	"errors"
	"io"
	"sort"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
)

// span is the staged rows of one record: from <= _row < to.
type span struct{ from, to int64 }

// refusedRecords returns the records of an unnested batch of which a row is refused, upwards. Rows of a record are adjacent.
func (j *job) refusedRecords(ctx context.Context, refused []refusal) ([]span, error) {
	var spans []span
	for _, part := range j.task.GetIngest().GetParts() {
		first, rows := part.GetFirstRow(), part.GetData().GetRows()
		lo := sort.Search(len(refused), func(i int) bool { return refused[i].row >= first })
		hi := sort.Search(len(refused), func(i int) bool { return refused[i].row >= first+rows })
		if lo == hi {
			continue
		}
		path, err := j.files.get(ctx, part.GetData())
		if err != nil {
			return nil, err
		}
		found, err := j.partRecords(ctx, path, first, rows, refused[lo:hi])
		if err != nil {
			return nil, err
		}
		spans = append(spans, found...)
	}
	return spans, nil
}

func (j *job) partRecords(ctx context.Context, path string, first, rows int64, refused []refusal) (spans []span, err error) {
	file, err := openParquet(path, j.memory, recordColumn)
	if err != nil {
		return nil, err
	}
	records := &cursor{file: file}
	defer func() { err = errors.Join(err, records.close()) }()
	start, current := int64(0), int64(0)
	end := func(at int64) {
		taken := false
		for len(refused) > 0 && refused[0].row < first+at {
			refused, taken = refused[1:], true
		}
		if taken {
			spans = append(spans, span{from: first + start, to: first + at})
		}
	}
	for n := int64(0); n < rows && len(refused) > 0; n++ {
		batch, i, err := records.seek(ctx, n)
		if err != nil {
			return nil, err
		}
		record := batch.Column(0).(*array.Int64).Value(i)
		if n > 0 && record != current {
			end(n)
			start = n
		}
		current = record
	}
	end(rows)
	return spans, nil
}

// siblings returns the mapped rows of these records that are not refused and not left out, upwards.
func (j *job) siblings(ctx context.Context, records []span, refused []refusal) ([]int64, error) {
	var found []int64
	for _, s := range records {
		reader := j.rows.open(s.from, s.to)
		var err error
		found, err = j.notRefused(ctx, reader, refused, found)
		if err := errors.Join(err, reader.Close()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (j *job) notRefused(ctx context.Context, reader connector.RowReader, refused []refusal, found []int64) ([]int64, error) {
	for {
		batch, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		for _, row := range batch.Column(0).(*array.Int64).Int64Values() {
			i := sort.Search(len(refused), func(i int) bool { return refused[i].row >= row })
			if i == len(refused) || refused[i].row != row {
				found = append(found, row)
			}
		}
		batch.Release()
	}
}
