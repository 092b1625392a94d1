package plan

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

// backups lists the databases that are dumped before a migration: those that hold
// something already.
func backups(in Input, p *Plan) []string {
	var out []string
	if len(p.Migrations) == 0 {
		return nil
	}
	for _, name := range in.Desired.Order {
		step := p.Step(name)
		if in.Desired.Services[name].Ext.Backups != nil && len(in.Observed.Units[name]) > 0 && (step == nil || step.Action != Create) {
			out = append(out, name)
		}
	}
	return out
}
