package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// closing is what closing a batch came to. The files are in the folder.
type closing struct {
	rejected, deduplicated, dropped int64
	digest                          *typev1.RowsDigest
	warnings                        map[string]int64
}

func (c *closing) warn(rule string, rows int64) {
	if c.warnings == nil {
		c.warnings = map[string]int64{}
	}
	c.warnings[rule] = rows
}

// closeBatch finds duplicates over the keys of all parts.
func (m *Mapper) closeBatch(ctx context.Context, b batch, parts []*typev1.PartManifest, dir string) (*closing, error) {
	plan, err := m.plans.plan(ctx, b.spec, compile.IngestSource(b.ingest))
	if err != nil {
		return nil, err
	}
	c := &closing{digest: &typev1.RowsDigest{}}
	objects := map[string]*typev1.StagedObject{}
	var files []string
	var ranges []compile.Range
	byPart := map[int32]*typev1.StagedPart{}
	var rows int64
	for i, p := range b.ingest.GetParts() {
		byPart[int32(i)] = p
		ranges = append(ranges, compile.Range{Part: int32(i), FirstRow: p.GetFirstRow(), Count: p.GetData().GetRows()})
	}
	for _, p := range parts {
		if p.GetKeys() != nil {
			name := compile.PartKeysFile(p.GetPart())
			objects[name] = p.GetKeys()
			rows += p.GetCounts().GetRowsToWrite()
			files = append(files, name)
		}
	}
	if len(files) == 0 || !plan.Batch() {
		return c, nil
	}
	if err := fetch(ctx, m.store, dir, objects); err != nil {
		return nil, err
	}
	if rows <= smallBatch {
		paths := make([]string, len(files))
		for i, name := range files {
			paths[i] = filepath.Join(dir, name)
		}
		if unique, err := distinct(ctx, paths, plan.KeySets()); err != nil || unique {
			for _, name := range plan.UniqueWarnings() {
				c.warn(name, 0)
			}
			return c, err
		}
	}
	b.rows = rows
	results, err := m.job(ctx, b, dir, plan.FindDuplicates(files, ranges))
	if err != nil {
		return nil, err
	}
	for name := range objects {
		_ = os.Remove(filepath.Join(dir, name)) // The disk is needed for parts.
	}
	if r, ok := results[compile.StepFatal]; ok && len(r.Rows) > 0 {
		return nil, m.duplicateFault(plan, r.Rows[0], b.ingest.GetSourceFile())
	}
	n, err := numbers(results[compile.StepSummary], 0, 1, 2)
	if err != nil {
		return nil, err
	}
	c.rejected, c.deduplicated, c.dropped = n[0], n[1], n[2]
	if c.digest, err = digest(results[compile.StepSummary], 3, c.dropped); err != nil {
		return nil, err
	}
	for i, name := range plan.UniqueWarnings() {
		count, err := numbers(results[compile.StepWarnings], 1+i)
		if err != nil {
			return nil, err
		}
		c.warn(name, count[0])
	}
	var hit []compile.Range
	for i := range results[compile.StepParts].Rows {
		part, err := numbers(engineRow(results[compile.StepParts].Rows[i]), 0)
		if err != nil {
			return nil, err
		}
		hit = append(hit, ranges[part[0]])
	}
	if err := m.rejectDuplicates(ctx, b, dir, byPart, hit); err != nil {
		return nil, err
	}
	return c, m.checkClosing(c, dir)
}

// Parts whose duplicates are rejected: one job takes so many of them as have atOnce staged bytes, and jobs of them run at once, so
// that the engine is at work while parts are fetched. The product bounds what is on the disk at a time.
const (
	atOnce     = 64 << 20
	rejectJobs = 3
)

// rejectDuplicates writes the reject file of the parts that are hit, in their order.
func (m *Mapper) rejectDuplicates(ctx context.Context, b batch, dir string, parts map[int32]*typev1.StagedPart, hit []compile.Range) error {
	if len(hit) == 0 {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(rejectJobs)
	written := make([]int32, len(hit))
	for i, r := range hit {
		written[i] = r.Part
	}
	for rest := hit; len(rest) > 0; {
		n, bytes := 0, int64(0)
		for n < len(rest) && (n == 0 || bytes+parts[rest[n].Part].GetData().GetSize() <= atOnce) {
			bytes += parts[rest[n].Part].GetData().GetSize()
			n++
		}
		share := rest[:n]
		g.Go(func() error { return m.rejectParts(gctx, b, dir, parts, share) })
		rest = rest[n:]
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(written) == 1 {
		return os.Rename(filepath.Join(dir, compile.PartRejectsFile(written[0])), filepath.Join(dir, compile.RejectsFile))
	}
	_, err := m.job(ctx, b, dir, []engine.Step{compile.JoinRejects(written)})
	return err
}

// rejectParts writes the reject files of some parts by one job in a folder of its own.
func (m *Mapper) rejectParts(ctx context.Context, b batch, dir string, parts map[int32]*typev1.StagedPart, hit []compile.Range) error {
	own := filepath.Join(dir, fmt.Sprintf("parts-%05d", hit[0].Part))
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	if err := os.Link(filepath.Join(dir, compile.HitsFile), filepath.Join(own, compile.HitsFile)); err != nil {
		return err
	}
	var steps []engine.Step
	for _, r := range hit {
		step, err := m.rejectPart(ctx, b, own, parts[r.Part], r)
		if err != nil {
			return err
		}
		steps = append(steps, step)
	}
	if _, err := m.job(ctx, b, own, steps); err != nil {
		return err
	}
	for _, r := range hit {
		name := compile.PartRejectsFile(r.Part)
		if err := os.Rename(filepath.Join(own, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return os.RemoveAll(own) // The disk is needed for other parts.
}

// rejectPart brings a part's files and returns the step that rejects its duplicates.
func (m *Mapper) rejectPart(ctx context.Context, b batch, dir string, part *typev1.StagedPart, r compile.Range) (engine.Step, error) {
	p := compile.Part{FirstRow: part.GetFirstRow(), File: b.ingest.GetSourceFile(), Data: fmt.Sprintf("part-%05d.parquet", r.Part), Run: b.properties()}
	objects := map[string]*typev1.StagedObject{p.Data: part.GetData()}
	if part.GetLocations() != nil {
		p.Locations = fmt.Sprintf("locations-%05d.parquet", r.Part)
		objects[p.Locations] = part.GetLocations()
	}
	if err := fetch(ctx, m.store, dir, objects); err != nil {
		return engine.Step{}, err
	}
	_, layout, err := footer(filepath.Join(dir, p.Data))
	if err != nil {
		return engine.Step{}, err
	}
	plan, err := m.plans.plan(ctx, b.spec, compile.IngestSource(b.ingest).WithLayout(layout))
	if err != nil {
		return engine.Step{}, err
	}
	return plan.RejectDuplicates(p, r), nil
}

// checkClosing holds the engine's counts against the files that were written.
func (m *Mapper) checkClosing(c *closing, dir string) error {
	drops, _, err := footer(filepath.Join(dir, compile.DropsFile))
	if err != nil {
		return err
	}
	if drops != c.dropped {
		return imbalance("%d rows are dropped as duplicates, but the file has %d", c.dropped, drops)
	}
	var rejects int64
	if c.rejected > 0 {
		if rejects, _, err = footer(filepath.Join(dir, compile.RejectsFile)); err != nil {
			return err
		}
	}
	if rejects != c.rejected {
		return imbalance("%d records are rejected as duplicates, but the file has %d", c.rejected, rejects)
	}
	return nil
}

// duplicateFault is the error of a unique rule that fails the run.
func (m *Mapper) duplicateFault(plan *compile.Plan, row []*string, file string) error {
	r := engineRow(row)
	at := &typev1.Coordinate{File: file}
	if n, err := numbers(r, 0); err == nil {
		at.Row = &n[0]
	}
	index, _ := r.Text(0, 1)
	i, _ := strconv.Atoi(index)
	name, columns := plan.Unique(i)
	return fault.New(codes.FailedPrecondition, ReasonRuleFailed, "rule %s fails the run: another row of the batch has the same %s", name, columns).
		WithMeta("rule", name).WithColumn(columns).WithCoordinate(at).WithStage(typev1.Stage_STAGE_TRANSFORM).
		WithNext("correct the batch, or give the rule on_error: reject")
}
