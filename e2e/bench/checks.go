package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/shiksha/actions/pkg/check"
)

// stability is the window that the checks have to pass through. It is waited out, so
// it is no part of what is measured.
const stability = 5 * time.Second

// thirteen are checks of all that the quickstart has, of every kind that fits it.
const thirteen = `checks:
  - {name: 01 units, containers: {}}
  - {name: 02 page, http: {path: /, expect: {body: {contains: "{{version}}"}}}}
  - {name: 03 every replica, http: {service: api, port: 8000, path: /healthz}}
  - {name: 04 through the gateway, http: {path: /, repeat: 12, expect: {p95: 1s, distinct: {header: X-Instance, count: 3}}}}
  - {name: 05 orders, http: {path: /orders/count}}
  - {name: 06 no such page, http: {path: /nowhere, expect: {status: 404}}}
  - {name: 07 database, postgres: {service: postgres, password: {env: POSTGRES_PASSWORD}}}
  - {name: 08 tables, postgres: {service: postgres, queries: [{sql: "SELECT count(*) FROM pg_tables", expect: {gt: 0}}]}}
  - {name: 09 database port, tcp: {service: postgres, port: 5432}}
  - {name: 10 gateway takes its file, exec: {service: nginx, command: [nginx, -t]}}
  - {name: 11 logs, logs: {services: [api, worker, nginx], forbid: ['^panic:']}}
  - {name: 12 room, disk: {warn: 99.9, fail: 100}}
  - {name: 13 clock, exec: {on: host, command: [date, +%s.%N], stdout: {age_below: 5s}}}
`

// checks measures a verification of the quickstart by thirteen checks.
func checks(ctx context.Context, b *bench) ([]row, error) {
	if err := b.quickstarts(ctx); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(b.ours.dir, "verify.yml"), []byte(thirteen), 0o644); err != nil {
		return nil, err
	}
	runs, err := b.rounds(ctx, "thirteen checks", func(ctx context.Context) (measured, error) { return b.verify(ctx, b.ours) })
	if err != nil {
		return nil, err
	}
	beyond := func(m measured) float64 { return m.took - millis(stability) }
	return []row{
		{Name: "13 checks, beyond their window of " + stability.String(), Unit: "ms", Ours: column(runs[0], beyond), Target: target{Of: "value", Limit: 5000, Below: true}},
		{Name: "  TCP connections to sshd", Ours: column(runs[0], connections), Target: target{Of: "value", Limit: 1, Exactly: true}},
	}, nil
}

// verify runs `shiksha verify` to its end and measures it. Thirteen checks that pass
// are what is to be measured; anything else is an error.
func (b *bench) verify(ctx context.Context, p *project) (measured, error) {
	args := append([]string{"verify"}, b.host.Flags()...)
	args = append(args, "--project", p.name, "--checks", "verify.yml", "--url", p.url(), "--stability-window", stability.String(), "--json")
	cmd, err := b.lab.Command(ctx, p.dir, nil, args...)
	if err != nil {
		return measured{}, err
	}
	result, m, err := b.measure(ctx, cmd)
	if err != nil {
		return m, err
	}
	var report struct{ Checks check.Report }
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		return m, fmt.Errorf("reading the report of shiksha verify: %w", err)
	}
	if n := report.Checks.Count(check.Pass); n != 13 || len(report.Checks.Results) != 13 {
		return m, fmt.Errorf("%d of %d checks passed, to be measured are thirteen that pass", n, len(report.Checks.Results))
	}
	return m, nil
}
