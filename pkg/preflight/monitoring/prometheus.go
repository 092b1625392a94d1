// Package monitoring looks at the configuration of Prometheus, Alertmanager and
// Grafana as their containers see it.
package monitoring

import (
	"errors"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// findings are those about monitoring, the alerts that were read so far, and what
// the metrics that the present Prometheus records are made of.
type findings struct {
	*finding.Findings
	rules    []alert
	recorded map[string]string
}

// Look looks at everything in a stack that watches it.
func Look(all *finding.Findings) {
	f := &findings{Findings: all}
	f.prometheus()
	f.alertmanager()
	f.dashboards()
}

// promConfig is the part of a Prometheus configuration that speaks of the stack.
// What else may be wrong with it promtool says, from the image, after the pull: its
// configuration's own library would bring the clients of every cloud along.
type promConfig struct {
	Alerting struct {
		Alertmanagers []scrapeJob `yaml:"alertmanagers"`
	} `yaml:"alerting"`
	RuleFiles     []string    `yaml:"rule_files"`
	ScrapeConfigs []scrapeJob `yaml:"scrape_configs"`
	// These bring jobs and metrics that are not looked at here.
	ScrapeConfigFiles []string `yaml:"scrape_config_files"`
	RemoteRead        []any    `yaml:"remote_read"`
}

type scrapeJob struct {
	JobName       string `yaml:"job_name"`
	StaticConfigs []struct {
		Targets []string `yaml:"targets"`
	} `yaml:"static_configs"`
	RelabelConfigs []struct {
		TargetLabel string `yaml:"target_label"`
		Replacement string `yaml:"replacement"`
	} `yaml:"relabel_configs"`
	// Rest is what else the job says: service discoveries are among it.
	Rest map[string]any `yaml:",inline"`
}

// targets are what the job scrapes as it is written, and whether relabelling puts
// other addresses in their place.
func (j scrapeJob) targets() (list []string, rewritten bool) {
	for _, r := range j.RelabelConfigs {
		if r.TargetLabel != model.AddressLabel {
			continue
		}
		rewritten = true
		if r.Replacement != "" && !strings.Contains(r.Replacement, "$") {
			list = append(list, r.Replacement)
		}
	}
	for _, s := range j.StaticConfigs {
		if !rewritten {
			list = append(list, s.Targets...)
		}
	}
	return list, rewritten
}

// promql reads expressions as Prometheus does without feature flags.
var promql = parser.NewParser(parser.Options{})

// prometheus reads the configuration of every Prometheus with its own library,
// with the files where they are mounted.
func (f *findings) prometheus() {
	for _, svc := range f.With(func(c finding.Class) bool { return c.Prometheus }) {
		target := finding.ConfigPath(f.Stack.Project.Services[svc.Name].Command, "--config.file", "/etc/prometheus/prometheus.yml")
		tree := f.Tree(svc)
		main, ok := tree[target]
		if !ok {
			f.Warn("P07.config", finding.At(svc.Name, "volumes"), "mount prometheus.yml at "+target, "no file of the repository is mounted at %s: it runs with its image's own configuration", target)
			continue
		}
		before := len(f.Results)
		var cfg promConfig
		if err := yaml.Unmarshal(main.Content, &cfg); err != nil {
			f.Fail("P07.config", finding.In(svc.Name, main.Source, finding.LineIn(err)), "correct it: Prometheus does not start with it", "%s", oneLine(err))
			continue
		}
		f.targets(svc, main, cfg)
		others := len(f.rules)
		f.recorded = map[string]string{}
		f.ruleFiles(svc, main, tree, cfg)
		f.metrics(svc, main, cfg, f.rules[others:])
		if len(f.Results) == before {
			f.Pass("P07.prometheus", "%s: %d scrape jobs, %d alerts, every target is in the stack", svc.Name, len(cfg.ScrapeConfigs), len(f.rules)-others)
		}
	}
}

// targets finds those that no service of the stack has: their alerts fire forever.
func (f *findings) targets(svc *stack.Service, main finding.Mounted, cfg promConfig) {
	for _, am := range cfg.Alerting.Alertmanagers {
		am.JobName = "alertmanagers"
		cfg.ScrapeConfigs = append(cfg.ScrapeConfigs, am)
	}
	for _, job := range cfg.ScrapeConfigs {
		list, _ := job.targets()
		for _, target := range list {
			host, port := finding.Address(target)
			reached, wrong, hint := f.Reach(svc, host)
			if inside := f.Inside(host, port); wrong == "" && inside != 0 {
				wrong, hint = port+" is the host's port", "write "+host+":"+strconv.Itoa(int(inside))
			}
			where := finding.In(svc.Name, main.Source, finding.LineOf(main.Content, target))
			switch {
			case reached == check.Skip:
				f.Skip("P07.targets", where, hint, "%s: target %s: %s", job.JobName, target, wrong)
			case reached == check.Warn:
				f.Warn("P07.targets", where, hint, "%s: target %s: %s", job.JobName, target, wrong)
			case wrong != "":
				f.Warn("P07.targets", where, hint, "%s: target %s: %s, so it is down for good", job.JobName, target, wrong)
			}
		}
	}
}

// oneLine is an error without its line ends and without what the library puts
// around it.
func oneLine(err error) string {
	var inner *rulefmt.Error
	if errors.As(err, &inner) && inner.RuleName != "" {
		return inner.RuleName + ": " + finding.OneLine(inner.Err.Error())
	}
	return finding.OneLine(err.Error())
}
