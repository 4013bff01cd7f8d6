package task

import (
	"context"
	"math/big"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// runner runs jobs of the engine; see engine.Pool.
type runner interface {
	Run(ctx context.Context, job engine.Job) (*engine.Result, error)
}

// Mapper maps parts and closes batches in folders that its callers give it.
type Mapper struct {
	run   runner
	store store
	plans *plans
}

// NewMapper returns a mapper.
func NewMapper(run runner, store store, compiler compiler) *Mapper {
	return &Mapper{run: run, store: store, plans: newPlans(compiler)}
}

// batch is what parts and closings are done for.
type batch struct {
	spec   *flowv1.Flow
	ingest *typev1.IngestManifest
	run    *controlv1.TaskRun
	// timeout of jobs; 0 for the engine's own.
	timeout time.Duration
	// rows that a job reads at most; 0 if that is not known.
	rows int64
}

// oneThread is the number of rows up to which a job has nothing to share out: files of more have several row groups.
const oneThread = 61_440

func (b batch) threads() int {
	if b.rows > 0 && b.rows <= oneThread {
		return 1
	}
	return 0
}

func (b batch) properties() compile.Run {
	return compile.Run{ID: b.run.GetRunId(), SourcePath: b.run.GetSourcePath(), FlowVersion: b.run.GetFlowVersion(), CreatedAt: b.run.GetCreateTime().AsTime()}
}

// outcome is what mapping a part came to. The files are in the folder.
type outcome struct {
	plan     *compile.Plan
	counts   *typev1.RecordCountsPart
	warnings map[string]int64
	digest   *typev1.RowsDigest
	// rejects is the number of rows of the reject file.
	rejects int64
}

// mapPart maps the part in the folder dir.
func (m *Mapper) mapPart(ctx context.Context, b batch, part *typev1.StagedPart, dir string) (*outcome, error) {
	objects := map[string]*typev1.StagedObject{compile.PartFile: part.GetData()}
	places := ""
	if part.GetLocations() != nil {
		places = compile.LocationsFile
		objects[places] = part.GetLocations()
	}
	source := compile.IngestSource(b.ingest)
	for i, r := range b.spec.GetReferences() {
		for _, staged := range b.ingest.GetReferences() {
			if strings.EqualFold(staged.GetName(), r.GetName()) {
				objects[compile.LookupFile(i)] = staged.GetData()
			}
		}
	}
	if err := fetch(ctx, m.store, dir, objects); err != nil {
		return nil, err
	}
	rows, layout, err := footer(filepath.Join(dir, compile.PartFile))
	if err != nil {
		return nil, err
	}
	b.rows = max(rows, 1)
	if rows != part.GetData().GetRows() {
		return nil, imbalance("the staged part has %d rows, but ingest counted %d", rows, part.GetData().GetRows())
	}
	plan, err := m.plans.plan(ctx, b.spec, source.WithLayout(layout))
	if err != nil {
		return nil, err
	}
	if len(plan.Lookups) > 0 {
		b.rows = 0 // References can be larger.
	}
	if err := m.checkLookups(ctx, b, plan, dir); err != nil {
		return nil, err
	}
	p := compile.Part{FirstRow: part.GetFirstRow(), Rows: rows, File: b.ingest.GetSourceFile(), Data: compile.PartFile, Locations: places, Run: b.properties()}
	steps := plan.MapPart(p)
	result, err := m.job(ctx, b, dir, steps)
	if err != nil {
		return nil, err
	}
	if r, ok := result[compile.StepFatal]; ok && len(r.Rows) > 0 {
		return nil, fatalFault(r, b.ingest.GetSourceFile())
	}
	o := &outcome{plan: plan, counts: &typev1.RecordCountsPart{Read: rows, Mapped: rows, RowsToWrite: rows}}
	if err := o.digested(result[compile.StepDigest], dir); err != nil {
		return nil, err
	}
	if summary, ok := result[compile.StepSummary]; ok {
		err = o.summed(summary, dir)
	} else if o.digest.GetRows() != rows || b.ingest.GetUnnested() {
		err = imbalance("%d of %d rows are mapped, and the others are not accounted for", o.digest.GetRows(), rows)
	}
	if err != nil {
		return nil, err
	}
	if !b.ingest.GetUnnested() && o.counts.GetRead() != part.GetData().GetRows() {
		return nil, imbalance("the engine read %d rows of the part, but ingest counted %d", o.counts.GetRead(), part.GetData().GetRows())
	}
	return o, nil
}

// job runs steps and returns their results by name.
func (m *Mapper) job(ctx context.Context, b batch, dir string, steps []engine.Step) (map[string]engine.StepResult, error) {
	result, err := m.run.Run(ctx, engine.Job{Dir: dir, Steps: steps, Timeout: b.timeout, Threads: b.threads(), DisabledOptimizers: compile.DisabledOptimizers})
	if err != nil {
		return nil, coded(err)
	}
	byName := make(map[string]engine.StepResult, len(steps))
	for i, r := range result.Steps {
		byName[steps[i].Name] = r
	}
	return byName, nil
}

// checkLookups fails the run if a reference has a key twice.
func (m *Mapper) checkLookups(ctx context.Context, b batch, plan *compile.Plan, dir string) error {
	steps := plan.CheckLookups()
	if len(steps) == 0 {
		return nil
	}
	results, err := m.job(ctx, b, dir, steps)
	if err != nil {
		return err
	}
	for i, name := range plan.Lookups {
		if r := results[steps[i].Name]; len(r.Rows) > 0 {
			times, _ := r.Text(0, 1)
			key := b.spec.GetReferences()[i].GetKey()
			return fault.New(codes.FailedPrecondition, ReasonDuplicateKey, "reference %s has %s rows with the same %s", name, times, key).
				WithMeta("reference", name).WithMeta("key", key).WithStage(typev1.Stage_STAGE_TRANSFORM).
				WithNext("make column %s of the reference unique", key)
		}
	}
	return nil
}

// fatalFault is the error of a row that fails the run.
func fatalFault(r engine.StepResult, file string) error {
	text := func(i int) string {
		s, _ := r.Text(0, i)
		return s
	}
	at := coordinate(r, file)
	column, rule, message := text(3), text(4), text(6)
	if rule != "" {
		return fault.New(codes.FailedPrecondition, ReasonRuleFailed, "rule %s fails the run: %s", rule, message).
			WithMeta("rule", rule).WithColumn(column).WithCoordinate(at).WithStage(typev1.Stage_STAGE_TRANSFORM).
			WithNext("correct the record, or give the rule on_error: reject")
	}
	return fault.New(codes.FailedPrecondition, ReasonColumnFailed, "column %s fails the run: the value %s", column, message).
		WithMeta("type", text(5)).WithColumn(column).WithCoordinate(at).WithStage(typev1.Stage_STAGE_TRANSFORM).
		WithNext("correct the record, or give the column on_error: reject")
}

// coordinate reads a row number, line and byte from the first columns of a result's first row.
func coordinate(r engine.StepResult, file string) *typev1.Coordinate {
	at := &typev1.Coordinate{File: file}
	number := func(i int) *int64 {
		s, ok := r.Text(0, i)
		n, err := strconv.ParseInt(s, 10, 64)
		if !ok || err != nil {
			return nil
		}
		return &n
	}
	at.Row, at.Line, at.ByteOffset = number(0), number(1), number(2)
	return at
}

// digested reads what the engine counted of the mapped rows, and holds it against the files that were written.
func (o *outcome) digested(r engine.StepResult, dir string) error {
	n, err := numbers(r, 0)
	if err != nil {
		return err
	}
	files := []string{compile.MappedFile}
	if o.plan.Batch() {
		files = append(files, compile.KeysFile)
	}
	for _, name := range files {
		rows, _, err := footer(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if rows != n[0] {
			return imbalance("%d rows are mapped, but %s has %d", n[0], name, rows)
		}
	}
	if o.digest, err = digest(r, 1, n[0]); err != nil {
		return err
	}
	for i, name := range o.plan.Warnings() {
		count, err := numbers(r, 2+i)
		if err != nil {
			return err
		}
		if o.warnings == nil {
			o.warnings = map[string]int64{}
		}
		o.warnings[name] = count[0]
	}
	return nil
}

// summed reads the engine's counts of records, and holds them against each other and the reject file.
func (o *outcome) summed(r engine.StepResult, dir string) error {
	n, err := numbers(r, 0, 1, 2, 3, 4)
	if err != nil {
		return err
	}
	o.counts = &typev1.RecordCountsPart{Read: n[0], Filtered: n[1], Rejected: n[2], Mapped: n[3], RowsToWrite: o.digest.GetRows()}
	if o.rejects, _, err = footer(filepath.Join(dir, compile.RejectsFile)); err != nil {
		return err
	}
	c := o.counts
	switch {
	case n[4] != 0:
		return imbalance("%d rows are rejected without a reason", n[4])
	case c.Read != c.Filtered+c.Rejected+c.Mapped:
		return imbalance("of %d records %d are filtered, %d rejected and %d mapped", c.Read, c.Filtered, c.Rejected, c.Mapped)
	case o.rejects != c.Rejected:
		return imbalance("%d records are rejected, but the file has %d", c.Rejected, o.rejects)
	}
	return nil
}

// numbers reads columns of a result's one row.
func numbers(r engine.StepResult, columns ...int) ([]int64, error) {
	out := make([]int64, len(columns))
	for i, column := range columns {
		text, _ := r.Text(0, column)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, imbalance("the engine did not count column %d", column)
		}
		out[i] = n
	}
	return out, nil
}

// digest reads the sum of row hashes.
func digest(r engine.StepResult, column int, rows int64) (*typev1.RowsDigest, error) {
	text, _ := r.Text(0, column)
	sum, ok := new(big.Int).SetString(text, 10)
	if !ok || sum.Sign() < 0 || sum.BitLen() > 128 {
		return nil, imbalance("the engine did not digest the rows")
	}
	low := new(big.Int).And(sum, new(big.Int).SetUint64(^uint64(0)))
	return &typev1.RowsDigest{High: new(big.Int).Rsh(sum, 64).Uint64(), Low: low.Uint64(), Rows: rows}, nil
}
