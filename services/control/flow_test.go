package control_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	"github.com/lume-data/lume/internal/fault"
)

func TestAFlowIsKeptChangedAndPublishedOncePerContent(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	spec := newSpec("cleaner")
	f, err := b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	require.NoError(t, err)
	require.Equal(t, "flows/cleaner", f.GetName())
	require.Zero(t, f.GetLatestVersion())
	_, err = b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	requireFault(t, err, "ALREADY_EXISTS", "FLOW_EXISTS")

	publish := func(etag string) (*controlv1.Version, error) {
		return b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/cleaner", Etag: etag, Comment: "c"})
	}
	v1, err := publish(f.GetEtag())
	require.NoError(t, err)
	require.Equal(t, "cleaner:v1", v1.GetFlowVersion())
	require.Equal(t, "main", v1.GetSpec().GetTarget().GetName(), "a version says its target's name")
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, v1.GetDigest())
	require.Equal(t, []string{"amt", "id"}, v1.GetSourceColumns())

	again, err := publish("")
	require.NoError(t, err)
	require.Equal(t, v1.String(), again.String(), "the same content is the same version")

	// The same meaning in another shape is the same content.
	shaped := proto.CloneOf(spec)
	shaped.Targets, shaped.Target = []*flowv1.Target{shaped.GetTarget()}, nil
	f, err = b.flows().UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{Flow: &controlv1.Flow{Name: "flows/cleaner", Spec: shaped, Etag: f.GetEtag()}})
	require.NoError(t, err)
	again, err = publish("")
	require.NoError(t, err)
	require.Equal(t, v1.GetNumber(), again.GetNumber())

	spec.Filter = "amt <> ''"
	_, err = b.flows().UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{Flow: &controlv1.Flow{Spec: spec, Etag: "stale"}})
	requireFault(t, err, "ABORTED", "ETAG_MISMATCH")
	_, err = b.flows().UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{Flow: &controlv1.Flow{Spec: spec, Etag: f.GetEtag()}})
	require.NoError(t, err)
	_, err = publish(f.GetEtag())
	requireFault(t, err, "ABORTED", "ETAG_MISMATCH")
	v2, err := publish("")
	require.NoError(t, err)
	require.Equal(t, int32(2), v2.GetNumber())

	// Another engine is another content.
	b.stages.set(func(s *stageServices) { s.engine = "duckdb 1.6.0, compiler 2" })
	v3, err := publish("")
	require.NoError(t, err)
	require.Equal(t, int32(3), v3.GetNumber())

	got, err := b.flows().GetVersion(t.Context(), &controlv1.GetVersionRequest{Name: "flows/cleaner/versions/1"})
	require.NoError(t, err)
	require.Equal(t, v1.String(), got.String(), "a version never changes")
	list, err := b.flows().ListVersions(t.Context(), &controlv1.ListVersionsRequest{Parent: "flows/cleaner", PageSize: 2})
	require.NoError(t, err)
	require.Equal(t, int32(3), list.GetVersions()[0].GetNumber())
	require.NotEmpty(t, list.GetNextPageToken())
	_, err = b.flows().DeleteFlow(t.Context(), &controlv1.DeleteFlowRequest{Name: "flows/cleaner"})
	requireFault(t, err, "FAILED_PRECONDITION", "FLOW_HAS_VERSIONS")
}

func TestEveryWrongPlaceOfAFlowIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.createConnector(t, "reader", "lake", `{}`, nil)
	b.stages.set(func(s *stageServices) {
		s.problems = []*transformv1.CompileProblem{
			{Field: "columns[1].from", Reason: "UNKNOWN_FUNCTION", Message: "no function foo", NextAction: "use another"},
			{Field: "columns[1].type", Reason: "BAD_TYPE", Message: "told already"},
		}
	})
	spec := newSpec("wrong")
	spec.Source.Connector = "warehouse"
	spec.Columns[1].Type = "money"
	spec.Columns = append(spec.Columns, &flowv1.Column{Name: "ID", Type: "string"}, &flowv1.Column{Name: "_lume_x", Type: "string"})
	spec.Rules = []*flowv1.Rule{{Name: "u", Unique: []string{"id", "nope"}}, {Name: "u", Check: "true"}}
	spec.References = []*flowv1.Reference{{Name: "run", Connector: "inbox", Key: "k", On: "id"}}
	spec.Target.Connector = "reader"
	_, err := b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	e := requireFault(t, err, "INVALID_ARGUMENT", "FLOW_INVALID")
	require.ElementsMatch(t, []string{
		"flow.spec.source.query REQUIRED", "flow.spec.references[0].name RESERVED_NAME", "flow.spec.references[0].path REQUIRED",
		"flow.spec.columns[1].type INVALID_VALUE", "flow.spec.columns[2].name DUPLICATE_NAME", "flow.spec.columns[3].name RESERVED_NAME",
		"flow.spec.rules[0].unique[1] UNKNOWN_NAME", "flow.spec.rules[1].name DUPLICATE_NAME",
		"flow.spec.target.connector CONNECTOR_ROLE", "flow.spec.columns[1].from UNKNOWN_FUNCTION",
	}, fields(e))
}

func TestAliasesMoveAndCannotLookLikeVersions(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.publish(t, newSpec("cleaner"))
	set := func(name string, version int32, etag string) (*controlv1.Alias, error) {
		return b.flows().SetAlias(t.Context(), &controlv1.SetAliasRequest{Alias: &controlv1.Alias{Name: "flows/cleaner/aliases/" + name, Version: version, Etag: etag}})
	}
	a, err := set("production", 1, "")
	require.NoError(t, err)
	_, err = set("production", 2, "")
	requireFault(t, err, "NOT_FOUND", "VERSION_NOT_FOUND")
	_, err = set("v7", 1, "")
	require.Equal(t, []string{"alias.name RESERVED_NAME"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))
	_, err = set("production", 1, "stale")
	requireFault(t, err, "ABORTED", "ETAG_MISMATCH")
	_, err = set("production", 1, a.GetEtag())
	require.NoError(t, err)
	list, err := b.flows().ListAliases(t.Context(), &controlv1.ListAliasesRequest{Parent: "flows/cleaner"})
	require.NoError(t, err)
	require.Len(t, list.GetAliases(), 1)
	_, err = b.flows().DeleteAlias(t.Context(), &controlv1.DeleteAliasRequest{Name: "flows/cleaner/aliases/production", Etag: "stale"})
	requireFault(t, err, "ABORTED", "ETAG_MISMATCH")
	_, err = b.flows().DeleteAlias(t.Context(), &controlv1.DeleteAliasRequest{Name: "flows/cleaner/aliases/production"})
	require.NoError(t, err)
	_, err = b.flows().DeleteAlias(t.Context(), &controlv1.DeleteAliasRequest{Name: "flows/cleaner/aliases/production"})
	requireFault(t, err, "NOT_FOUND", "ALIAS_NOT_FOUND")
}

func TestWhatDoesNotExistIsSaidSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.flows().GetFlow(t.Context(), &controlv1.GetFlowRequest{Name: "flows/x"})
	requireFault(t, err, "NOT_FOUND", "FLOW_NOT_FOUND")
	_, err = b.flows().DeleteFlow(t.Context(), &controlv1.DeleteFlowRequest{Name: "flows/x"})
	requireFault(t, err, "NOT_FOUND", "FLOW_NOT_FOUND")
	_, err = b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/x"})
	requireFault(t, err, "NOT_FOUND", "FLOW_NOT_FOUND")
	_, err = b.flows().GetVersion(t.Context(), &controlv1.GetVersionRequest{Name: "flows/x/versions/1"})
	requireFault(t, err, "NOT_FOUND", "VERSION_NOT_FOUND")
	_, err = b.flows().ListVersions(t.Context(), &controlv1.ListVersionsRequest{Parent: "flows/x"})
	requireFault(t, err, "NOT_FOUND", "FLOW_NOT_FOUND")
	_, err = b.flows().PreviewFlow(t.Context(), &controlv1.PreviewFlowRequest{Name: "flows/x", SourcePath: "s"})
	requireFault(t, err, "NOT_FOUND", "FLOW_NOT_FOUND")
	_, err = b.flows().UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{Flow: &controlv1.Flow{Spec: newSpec("x")}})
	requireFault(t, err, "NOT_FOUND", "FLOW_NOT_FOUND")
	_, err = b.flows().UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{Flow: &controlv1.Flow{Name: "flows/y", Spec: newSpec("x")}})
	require.Equal(t, []string{"flow.spec.name MISMATCH"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))
}

func TestADraftIsPreviewedWithItsSourcesAloneAndLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	spec := newSpec("draft")
	resp, err := b.flows().PreviewFlow(t.Context(), &controlv1.PreviewFlowRequest{Name: "flows/draft", Spec: spec, SourcePath: "s3://in/a.csv"})
	require.NoError(t, err)
	require.Equal(t, []string{"id", "amount"}, resp.GetColumns())
	require.Equal(t, int64(2), resp.GetCounts().GetMapped())
	require.Equal(t, int32(100), b.stages.sample.GetMaxRecords())
	require.Equal(t, []string{"amt", "id"}, b.stages.sample.GetSourceColumns())
	require.Contains(t, b.stages.sample.GetConnectors(), "inbox")
	require.NotContains(t, b.stages.sample.GetConnectors(), "warehouse", "a preview has no business with the target")
	require.Equal(t, "draft:draft", b.stages.preview.GetRun().GetFlowVersion())
}

func TestAStageThatIsAwayIsNamedAndRetryable(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	b.stages.set(func(s *stageServices) { s.failure = fault.New(codes.Unavailable, fault.ReasonUnavailable, "x") })
	_, err := b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: newSpec("cleaner")}})
	e := requireFault(t, err, "UNAVAILABLE", "STAGE_UNAVAILABLE")
	require.Equal(t, "transform", e.GetMetadata()["service"])
	require.True(t, e.GetRetryable())
	_, err = b.connectors().TestConnector(t.Context(), &controlv1.TestConnectorRequest{Name: "connectors/inbox"})
	require.Equal(t, "ingest", requireFault(t, err, "UNAVAILABLE", "STAGE_UNAVAILABLE").GetMetadata()["service"])
}

func TestADryPublicationAlsoLooksAtTheTarget(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	spec := newSpec("cleaner")
	spec.Target.Table = "public.missing"
	_, err := b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	require.NoError(t, err)
	_, err = b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/cleaner", ValidateOnly: true})
	requireFault(t, err, "FAILED_PRECONDITION", "TABLE_NOT_FOUND")
	v, err := b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/cleaner"})
	require.NoError(t, err)
	require.Equal(t, int32(1), v.GetNumber())
}

func TestEachOfSeveralTargetsIsLookedAt(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	spec := newSpec("cleaner")
	second, third := proto.CloneOf(spec.GetTarget()), proto.CloneOf(spec.GetTarget())
	second.Name, second.Table, third.Name, third.Table = "copy", "public.missing", "archive", "old.missing"
	spec.Targets, spec.Target = []*flowv1.Target{spec.GetTarget(), second, third}, nil
	_, err := b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	require.NoError(t, err)
	_, err = b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/cleaner", ValidateOnly: true})
	e := requireFault(t, err, "FAILED_PRECONDITION", "TABLE_NOT_FOUND")
	require.Equal(t, "copy", e.GetMetadata()["target"])
	require.Equal(t, []string{"spec.targets[1] TABLE_NOT_FOUND", "spec.targets[2] TABLE_NOT_FOUND"}, fields(e))
	v, err := b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/cleaner"})
	require.NoError(t, err)
	require.Len(t, v.GetSpec().GetTargets(), 3)
	third.Table = "public.invoices"
	_, err = b.flows().UpdateFlow(t.Context(), &controlv1.UpdateFlowRequest{Flow: &controlv1.Flow{Name: "flows/cleaner", Spec: spec}})
	require.Equal(t, []string{"flow.spec.targets[2].table CONFLICTING_FIELDS"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "FLOW_INVALID")))
}
