package flow

import (
	"fmt"
	"strings"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/receipt"
)

func (c *checker) targets() {
	single, list := c.spec.GetTarget(), c.spec.GetTargets()
	switch {
	case single != nil && len(list) > 0:
		c.add("targets", reasonConflict, "set target or targets, not both")
		return
	case single == nil && len(list) == 0:
		c.add("target", reasonRequired, "is required")
		return
	}
	if single != nil {
		c.target("target", single)
	}
	names := make(map[string]bool)
	for i, t := range list {
		at := fmt.Sprintf("targets[%d]", i)
		c.target(at, t)
		switch name := targetName(t); {
		case names[name] && t.GetName() == "":
			c.add(at+".name", reasonRequired, "is required: without a name it is %s, as another target is", name)
		case names[name]:
			c.add(at+".name", reasonDuplicate, "%s is there twice", name)
		}
		names[targetName(t)] = true
		for j, other := range list[:i] {
			c.apart(at, t, fmt.Sprintf("targets[%d]", j), other)
		}
	}
}

// apart checks that two targets do not write to one place: what the one has committed would then be part of what the other
// replaces, merges into or shows. That two connectors lead to the same place cannot be told here.
func (c *checker) apart(at string, t *flowv1.Target, otherAt string, other *flowv1.Target) {
	if t.GetConnector() != other.GetConnector() || t.GetConnector() == "" {
		return
	}
	if t.GetPrefix() != "" || other.GetPrefix() != "" {
		if strings.Trim(t.GetPrefix(), "/") == strings.Trim(other.GetPrefix(), "/") {
			c.add(at+".prefix", reasonConflict, "is the prefix of %s: choose another one", otherAt)
		}
		return
	}
	type place struct{ field, table string }
	places := func(t *flowv1.Target) []place {
		return []place{{".table", t.GetTable()}, {".rejects", receipt.RejectsTable(t.GetTable(), t.GetRejects())}}
	}
	for _, mine := range places(t) {
		for _, theirs := range places(other) {
			if sameTable(mine.table, theirs.table) {
				c.add(at+mine.field, reasonConflict, "%s is, or may be, %s of %s (%s): choose another table, or name both with their schemas",
					mine.table, strings.TrimPrefix(theirs.field, "."), otherAt, theirs.table)
				return
			}
		}
	}
}

// sameTable tells whether two names may mean one table. Case and quotes are taken for no difference, as in some systems, and a
// name without a schema may be of any.
func sameTable(a, b string) bool {
	a, b = plainName(a), plainName(b)
	return a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a)
}

func plainName(table string) string { return strings.ToLower(strings.ReplaceAll(table, `"`, "")) }

func (c *checker) target(at string, t *flowv1.Target) {
	kind, ok := c.connector(at+".connector", t.GetConnector())
	if t.GetMode() == "upsert" && !c.hasKey() {
		c.add(at+".mode", reasonConflict, "upsert needs key columns: set key on at least one column")
	}
	if !ok {
		return
	}
	if !kind.Target {
		c.add(at+".connector", reasonRole, "connector %s is of type %s, which cannot be a target", t.GetConnector(), kind.Type)
		return
	}
	switch {
	case kind.ObjectStore && t.GetTable() != "":
		c.add(at+".table", reasonRole, "connector %s is an object store: set prefix instead of table", t.GetConnector())
	case !kind.ObjectStore && t.GetPrefix() != "":
		c.add(at+".prefix", reasonRole, "connector %s is a database: set table instead of prefix", t.GetConnector())
	}
	if kind.ObjectStore {
		if t.GetMode() == "upsert" {
			c.add(at+".mode", reasonNotSupported, "upsert is not possible in an object store: use append or replace")
		}
		if t.GetRejects() != "" {
			c.add(at+".rejects", reasonConflict, "has no meaning for an object store: rejects go under rejected/")
		}
		if t.GetCreate() {
			c.add(at+".create", reasonConflict, "has no meaning for an object store")
		}
		return
	}
	if t.GetFormat() != "" {
		c.add(at+".format", reasonConflict, "has no meaning for a database")
	}
	if t.GetRejects() != "" && t.GetRejects() == t.GetTable() {
		c.add(at+".rejects", reasonConflict, "must be another table than the rows go to")
	}
}

// targetName is a target's name, its default filled in.
func targetName(t *flowv1.Target) string {
	if t.GetName() == "" {
		return receipt.DefaultTarget
	}
	return t.GetName()
}
