package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// cellWidth bounds a cell of a table of rows.
const cellWidth = 40

func (a *app) flowsPreview() *cobra.Command {
	var (
		file    string
		records int32
	)
	cmd := &cobra.Command{
		Use:   "preview NAME SOURCE_PATH | preview -f FILE SOURCE_PATH",
		Short: "Run the first records of a batch through a flow, without touching the target",
		Long:  `Run the first records of a batch through a flow, without touching the target. SOURCE_PATH is as for 'lume run'.`,
		Example: `  lume flows preview invoice_cleaner ./batch-001.csv
  lume flows preview invoice_cleaner file:///data/batch-001.csv
  lume flows preview -f invoice_cleaner.yaml s3://invoices/batch-001.csv --records 1000`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.online(func(ctx context.Context, c *client, args []string) error {
			req := &controlv1.PreviewFlowRequest{SourcePath: sourcePath(args[len(args)-1]), MaxRecords: records}
			var doc *document
			switch {
			case file != "" && len(args) == 1:
				var err error
				if doc, err = a.document(file); err != nil {
					return err
				}
				req.Spec = &flowv1.Flow{}
				if err := doc.decodeValid(req.GetSpec()); err != nil {
					return err
				}
				req.Name = flowName(req.GetSpec().GetName())
			case file == "" && len(args) == 2:
				req.Name = flowName(args[0])
			default:
				return problemf("see 'lume flows preview --help'", "give the batch, and either a flow's name or a file")
			}
			got, err := c.flows.PreviewFlow(ctx, req)
			if err != nil && doc != nil {
				return doc.locate(err)
			}
			if err != nil {
				return err
			}
			return a.print(got, formatTable, func(t *table) { previewTable(t, got) })
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "flow `file` to run instead of a stored flow")
	cmd.Flags().Int32Var(&records, "records", 0, "`number` of records to read, at most 10,000 (default 100)")
	return cmd
}

func previewTable(t *table, p *controlv1.PreviewFlowResponse) {
	header := make([]any, len(p.GetColumns()))
	for i, c := range p.GetColumns() {
		header[i] = c
	}
	t.row(header...)
	for _, r := range p.GetRows() {
		cells := make([]any, len(r.GetValues()))
		for i, v := range r.GetValues() {
			cells[i] = previewCell(v)
		}
		t.row(cells...)
	}
	if len(p.GetRejects()) > 0 {
		t.line("\nRejected:")
		rejectTable(t, p.GetRejects())
	}
	t.line("")
	countTable(t, p.GetCounts())
	for rule, n := range p.GetWarnings() {
		t.line(fmt.Sprintf("Rule %s warns about %s rows", rule, count(n)))
	}
}

func previewCell(v *structpb.Value) string {
	if _, null := v.GetKind().(*structpb.Value_NullValue); null {
		return "NULL"
	}
	return short(v.GetStringValue(), cellWidth)
}
