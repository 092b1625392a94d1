package plan

import (
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/stack"
)

// migrations lists what changes databases in this release, in the order of the
// steps: the services whose code is new there.
func migrations(in Input, p *Plan) []Migration {
	var out []Migration
	for _, step := range p.Steps {
		svc := in.Desired.Services[step.Service]
		replaced := step.Replaces() && (step.Action == Create || len(step.Old) > 0)
		if svc != nil && svc.Ext.Migrate != nil && (replaced || in.SchemaBack) {
			out = append(out, Migration{step.Service, svc.Ext.Migrate.Command})
		}
	}
	return out
}

// backups lists the databases that are dumped before a migration: those that may hold
// something. One of which nothing runs is dumped once the release has brought it up; one
// that it does not bring up is named all the same, for it must not be migrated undumped.
func backups(in Input, p *Plan) []string {
	var out []string
	if len(p.Migrations) == 0 {
		return nil
	}
	for _, name := range in.Desired.Order {
		if svc := in.Desired.Services[name]; svc.Ext.Backups != nil && holds(in, svc) {
			out = append(out, name)
		}
	}
	return out
}

// holds tells whether a database may hold something, also one of which nothing runs: its
// data outlives its units. Only where its volumes are not there yet is it empty for certain.
func holds(in Input, svc *stack.Service) bool {
	_, served := in.Past[svc.Name]
	if served && in.Observed.Scheduled {
		return true // the nodes of a Swarm have volumes that its manager does not know of
	}
	if slices.ContainsFunc(in.Observed.Units[svc.Name], func(u stack.Unit) bool { return !u.OneOff }) {
		return true
	}
	// Also of what this release does not make: services may name others.
	absent := missing(in, slices.Clone(svc.Volumes), in.Observed.Volumes, func(key string) string { return in.Desired.Project.Volumes[key].Name })
	for _, key := range svc.Volumes {
		v := in.Desired.Project.Volumes[key]
		if !beginsEmpty(v) || bool(v.External) || !slices.Contains(absent, key) {
			return true
		}
	}
	c := in.Desired.Project.Services[svc.Name]
	return len(c.VolumesFrom) > 0 || slices.ContainsFunc(c.Volumes, func(m types.ServiceVolumeConfig) bool {
		ours := slices.ContainsFunc(svc.Files, func(f stack.File) bool { return f.Target == m.Target })
		return m.Type == types.VolumeTypeBind && !m.ReadOnly && !ours
	})
}

// beginsEmpty tells whether a volume that is made has nothing in it: those of some drivers
// are made of what is there, a folder or a share.
func beginsEmpty(v types.VolumeConfig) bool {
	return len(v.DriverOpts) == 0 && (v.Driver == "" || v.Driver == "local")
}

// Restore is a database that goes back to a backup.
type Restore struct {
	Service string `json:"service"`
	Backup  string `json:"backup"`
}

// Restoring gives the plan as it is carried out where a database goes back before its steps:
// what writes to it is stopped, and what of that the stack has is then brought up like what
// did not run. stopped are the services that are. The plan itself stays as it was: what
// is recorded as created no release before had.
func (p *Plan) Restoring(r Restore, stopped []string, to *stack.Stack) *Plan {
	told := *p
	told.Restores, told.Steps = &r, slices.Clone(p.Steps)
	for i := range told.Steps {
		s := &told.Steps[i]
		if !slices.Contains(stopped, s.Service) {
			continue
		}
		why := "it writes to the database that goes back to backup " + r.Backup
		s.Stopped, s.InterruptionSeconds, s.Memory = true, 0, 0 // how long that takes nobody knows
		if svc := to.Services[s.Service]; svc == nil || svc.Job || s.Replicas == 0 {
			s.Interruption = "it is stopped, and nothing starts it again: " + why
			continue
		}
		s.Interruption = "until the release is up: " + why
		s.Action, s.Batch, s.Starting = Create, s.Replicas, false
		s.Leftovers, s.Good, s.Old = slices.Concat(s.Leftovers, s.Old, s.Good), nil, nil
	}
	return &told
}

// text says what goes back, and who stops for it.
func (r Restore) text(steps []Step) string {
	var names []string
	for _, s := range steps {
		if s.Stopped {
			names = append(names, s.Service)
		}
	}
	if len(names) == 0 {
		return "backup " + r.Backup
	}
	return "backup " + r.Backup + "; stopped before: " + strings.Join(names, ", ")
}
