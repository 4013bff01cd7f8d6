package flow

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"google.golang.org/grpc/codes"

	contract "github.com/lume-data/lume/connector"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/storefault"
)

// PublishOptions say how a flow is published.
type PublishOptions struct {
	// ETag must be the flow's unless it is empty.
	ETag         string
	Comment      string
	ValidateOnly bool
}

// Publish snapshots a flow as its next version, or returns the version that has the same content. With ValidateOnly it
// stores nothing, and also looks at the targets as they are now; a publication does not, since the target of a version may
// be made later.
func (s *Service) Publish(ctx context.Context, name string, opts PublishOptions) (store.Version, error) {
	f, err := s.Get(ctx, name)
	if err != nil {
		return store.Version{}, err
	}
	if opts.ETag != "" && opts.ETag != f.ETag {
		return store.Version{}, storefault.Conflict(kind, name)
	}
	compiled, err := s.compile(ctx, "spec.", f.Spec)
	if err != nil {
		return store.Version{}, err
	}
	spec := normalise(f.Spec)
	sum, err := digest(spec, compiled.GetEngine())
	if err != nil {
		return store.Version{}, err
	}
	v := store.Version{
		Flow: name, Spec: spec, Digest: sum, Engine: compiled.GetEngine(), Comment: opts.Comment,
		SourceColumns: compiled.GetSourceColumns(), Connectors: connectorsOf(spec),
	}
	existing, err := s.Store.VersionByDigest(ctx, name, sum)
	switch {
	case err == nil:
		return existing, nil
	case !errors.Is(err, store.ErrNotFound):
		return store.Version{}, storefault.Code(err, kind, name)
	case opts.ValidateOnly:
		v.Number = f.LatestVersion + 1
		return v, s.checkTargets(ctx, spec)
	}
	var stored store.Version
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.RequireConnectors(ctx, v.Connectors); err != nil {
			return err
		}
		var err error
		// What was compiled is what is published: a flow that changed in between is a conflict.
		stored, err = tx.CreateVersion(ctx, v, f.ETag)
		return err
	})
	if errors.Is(err, store.ErrExists) { // Published by another caller in between.
		stored, err = s.Store.VersionByDigest(ctx, name, sum)
	}
	return stored, storefault.Code(err, kind, name)
}

// checkTargets asks egress whether the targets fit the flow. The error is that of the first check that failed, and names
// those of the other targets as violations.
func (s *Service) checkTargets(ctx context.Context, spec *flowv1.Flow) error {
	var failed *fault.Error
	for i, t := range receipt.Targets(spec) {
		at, name := "spec.target", t.GetConnector()
		if len(spec.GetTargets()) > 0 {
			at = fmt.Sprintf("spec.targets[%d]", i)
		}
		configs, err := s.Connectors.Configs(ctx, s.Store, []string{name})
		if err != nil {
			return err
		}
		checks, err := s.Targets.CheckTarget(ctx, &egressv1.CheckTargetRequest{Config: configs[name], Spec: spec, Target: t.GetName()})
		if err != nil {
			return err
		}
		for _, c := range checks {
			if c.GetStatus() != contract.CheckFailed {
				continue
			}
			if failed == nil {
				failed = fault.New(codes.FailedPrecondition, c.GetReason(), "%s", c.GetMessage()).WithMeta("check", c.GetName()).
					WithMeta("connector", name).WithMeta("target", t.GetName()).WithNext("%s", c.GetNextAction())
			}
			failed = failed.WithViolation(at, c.GetReason(), c.GetMessage())
		}
	}
	if failed == nil {
		return nil
	}
	return failed
}

// Version returns a version.
func (s *Service) Version(ctx context.Context, flow string, number int32) (store.Version, error) {
	v, err := s.Store.Version(ctx, flow, number)
	return v, storefault.Code(err, "version", fmt.Sprintf("%s:v%d", flow, number))
}

// Versions lists the versions of a flow, newest first.
func (s *Service) Versions(ctx context.Context, flow string, size int32, token string) ([]store.Version, string, error) {
	if _, err := s.Get(ctx, flow); err != nil {
		return nil, "", err
	}
	return list(s.PageKey, "versions", flow, size, token, func(p store.Page) ([]store.Version, string, error) {
		return s.Store.ListVersions(ctx, flow, p)
	})
}

// versionLike is what an alias may not look like.
var versionLike = regexp.MustCompile(`^v[0-9]+$`)

// SetAlias points an alias at a version, creating it if needed.
func (s *Service) SetAlias(ctx context.Context, a store.Alias, etag string) (store.Alias, error) {
	if versionLike.MatchString(a.Name) {
		return store.Alias{}, fault.Invalid(fault.Violation{
			Field: "alias.name", Reason: reasonReserved, Message: a.Name + " looks like a version's number: choose another name",
		})
	}
	var stored store.Alias
	err := s.Store.Update(ctx, func(tx store.Tx) (err error) {
		stored, err = tx.SetAlias(ctx, a, etag)
		return err
	})
	switch name := a.Flow + ":" + a.Name; {
	case errors.Is(err, store.ErrNotFound):
		return stored, fault.New(codes.NotFound, "VERSION_NOT_FOUND", "there is no version %s:v%d", a.Flow, a.Version).
			WithMeta("version", fmt.Sprintf("%s:v%d", a.Flow, a.Version)).
			WithNext("list the versions with `lume versions list %s`", a.Flow)
	default:
		return stored, storefault.Code(err, "alias", name)
	}
}

// Aliases lists the aliases of a flow by name.
func (s *Service) Aliases(ctx context.Context, flow string, size int32, token string) ([]store.Alias, string, error) {
	if _, err := s.Get(ctx, flow); err != nil {
		return nil, "", err
	}
	return list(s.PageKey, "aliases", flow, size, token, func(p store.Page) ([]store.Alias, string, error) {
		return s.Store.ListAliases(ctx, flow, p)
	})
}

// DeleteAlias deletes an alias. Runs that it started keep their version.
func (s *Service) DeleteAlias(ctx context.Context, flow, name, etag string) error {
	err := s.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteAlias(ctx, flow, name, etag) })
	return storefault.Code(err, "alias", flow+":"+name)
}
