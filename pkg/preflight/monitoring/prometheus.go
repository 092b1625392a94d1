// Package monitoring looks at the configuration of Prometheus, Alertmanager and
// Grafana as their containers see it.
package monitoring

import (
	"errors"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// findings are those about monitoring, and the alerts that were read so far.
type findings struct {
	*finding.Findings
	rules []alert
}

// Look looks at everything in a stack that watches it.
func Look(all *finding.Findings) {
	f := &findings{Findings: all}
	f.prometheus()
	f.alertmanager()
	f.dashboards()
}

// alert is an alerting rule that the configuration loads.
type alert struct {
	name   string
	labels map[string]string
	expr   string
	file   string
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
		f.ruleFiles(svc, main, tree, cfg)
		f.metrics(svc, cfg)
		if len(f.Results) == before {
			f.Pass("P07.prometheus", "%s: %d scrape jobs, %d alerts, every target is in the stack", svc.Name, len(cfg.ScrapeConfigs), len(f.rules))
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
			wrong, hint := f.Unreachable(svc, host)
			if inside := f.Inside(host, port); wrong == "" && inside != 0 {
				wrong, hint = port+" is the host's port", "write "+host+":"+strconv.Itoa(int(inside))
			}
			if wrong != "" {
				f.Warn("P07.targets", finding.In(svc.Name, main.Source, finding.LineOf(main.Content, target)), hint,
					"%s: target %s: %s, so it is down for good", job.JobName, target, wrong)
			}
		}
	}
}

// ruleFiles reads the rules where they are mounted. A pattern that finds nothing is
// no error to Prometheus: it starts with no alerts.
func (f *findings) ruleFiles(svc *stack.Service, main finding.Mounted, tree map[string]finding.Mounted, cfg promConfig) {
	for _, pattern := range cfg.RuleFiles {
		full := pattern
		if !path.IsAbs(full) {
			full = path.Join(path.Dir(main.Target), full)
		}
		files := finding.Match(tree, full)
		if len(files) == 0 {
			f.Fail("P07.rules", finding.In(svc.Name, main.Source, finding.LineOf(main.Content, pattern)), "mount the rules there, or name where they are mounted",
				"nothing is mounted at %s: Prometheus starts without these alerts and says nothing", full)
		}
		for _, file := range files {
			f.ruleFile(svc, file)
		}
	}
}

func (f *findings) ruleFile(svc *stack.Service, file finding.Mounted) {
	groups, errs := rulefmt.Parse(file.Content, false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		f.Fail("P07.rules", finding.In(svc.Name, file.Source, finding.LineIn(err)), "correct it: Prometheus does not start with it", "%s", oneLine(err))
	}
	if groups == nil {
		return
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			f.rules = append(f.rules, alert{name: r.Alert, labels: r.Labels, expr: r.Expr, file: file.Source})
		}
	}
}

// exporters are the metrics that only a program of its own exports, and how its
// image or service is called.
var exporters = []struct{ prefix, word string }{
	{"redis_", "redis"}, {"pg_", "postgres"}, {"node_", "node"}, {"celery_", "celery"}, {"nginx_", "nginx"}, {"DCGM_", "dcgm"},
	{"probe_", "blackbox"}, {"container_", "cadvisor"}, {"mysql_", "mysql"},
}

// metrics finds alerts over metrics that nothing in the scrape configuration can
// give. Those of the team's own programs cannot be known before they run.
func (f *findings) metrics(svc *stack.Service, cfg promConfig) {
	scraped := ""
	for _, job := range cfg.ScrapeConfigs {
		scraped += " " + job.JobName
		list, _ := job.targets()
		for _, target := range list {
			host, _ := finding.Address(target)
			if s := f.Stack.Services[host]; s != nil {
				scraped += " " + host + " " + s.Image
			}
		}
	}
	for _, rule := range f.rules {
		for _, metric := range metricNames(rule.expr) {
			for _, e := range exporters {
				if strings.HasPrefix(metric, e.prefix) && !strings.Contains(scraped, e.word) {
					f.Warn("P07.metrics", finding.In(svc.Name, rule.file, 0), "add the "+e.word+" exporter to the stack and its scrape job, or take the alert out",
						"alert %s can never fire: nothing that is scraped exports %s", rule.name, metric)
				}
			}
		}
	}
}

// metricNames lists the metrics of an expression; none when it cannot be read.
func metricNames(expr string) []string {
	tree, err := promql.ParseExpr(expr)
	if err != nil {
		return nil
	}
	var out []string
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok && v.Name != "" && !slices.Contains(out, v.Name) {
			out = append(out, v.Name)
		}
		return nil
	})
	return out
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
