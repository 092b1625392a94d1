package monitoring

import (
	"fmt"
	"log/slog"
	"net"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// alert is an alerting rule that the configuration loads.
type alert struct {
	name   string
	labels map[string]string
	expr   string
	file   string
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
		where := finding.In(svc.Name, main.Source, finding.LineOf(main.Content, pattern))
		switch {
		case len(files) == 0 && f.unread(svc, full):
			f.Skip("P07.rules", where, "keep the rules in the repository, where they are read before a release", "what is mounted at %s is not in the workspace", full)
		case len(files) == 0:
			f.Fail("P07.rules", where, "mount the rules there, or name where they are mounted",
				"nothing is mounted at %s: Prometheus starts without these alerts and says nothing", full)
		}
		for _, file := range files {
			f.ruleFile(svc, file)
		}
	}
}

// unread tells whether what a pattern names may come from a mount that is not in the
// workspace: a volume, or a path of the host. Of two mounts above it the inner one
// counts, as it does in the container.
func (f *findings) unread(svc *stack.Service, pattern string) bool {
	named := func(target string) bool {
		return len(finding.Match(map[string]finding.Mounted{target: {}}, pattern)) > 0
	}
	folder, inner, unread := path.Dir(pattern), 0, false
	for _, v := range f.Stack.Project.Services[svc.Name].Volumes {
		target := path.Clean(v.Target)
		ours := slices.ContainsFunc(svc.Files, func(file stack.File) bool { return path.Clean(file.Target) == target })
		if v.Type == types.VolumeTypeBind && named(target) && !ours {
			return true
		}
		above := target == folder || strings.HasPrefix(folder, strings.TrimSuffix(target, "/")+"/")
		if above && len(target) > inner {
			inner, unread = len(target), !ours
		}
	}
	return unread
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
				// Several rules may record one metric, each with labels of its own.
				if other, ok := f.recorded[r.Record]; ok {
					r.Expr = "(" + other + "\n) or (" + r.Expr + "\n)"
				}
				f.recorded[r.Record] = r.Expr
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

// metrics finds alerts over metrics that nothing in the scrape configuration of their
// Prometheus can give. Those of the team's own programs cannot be known before they run.
func (f *findings) metrics(svc *stack.Service, main finding.Mounted, cfg promConfig, rules []alert) {
	words, outside := f.scraped(svc, cfg)
	var open []string
	for _, rule := range rules {
		for _, metric := range f.madeOf(metricNames(rule.expr)) {
			word := lacking(metric, words)
			switch {
			case word == "":
			case outside == "":
				does := map[series]string{never: "can never fire", always: "fires all the time", perhaps: "does not see all that it asks for"}
				f.Warn("P07.metrics", finding.In(svc.Name, rule.file, 0), "add the "+word+" exporter to the stack and its scrape job, or take the alert out", "alert %s %s: nothing that is scraped exports %s",
					rule.name, does[f.result(rule.expr, func(m string) bool { return lacking(m, words) != "" })], metric)
			case !slices.Contains(open, rule.name):
				open = append(open, rule.name)
			}
		}
	}
	if len(open) > 0 {
		f.Skip("P07.metrics", finding.In(svc.Name, main.Source, 0), "", "whether %s can fire is not known here: %s may export anything", strings.Join(open, ", "), outside)
	}
}

// lacking is the word of the exporter that a metric needs and that is not among words,
// "" for none.
func lacking(metric, words string) string {
	for _, e := range exporters {
		if strings.HasPrefix(metric, e.prefix) && !strings.Contains(words, e.word) {
			return e.word
		}
	}
	return ""
}

// scraped gives the words by which the exporters that are scraped are known, and
// what is scraped outside of the stack, "" for nothing.
func (f *findings) scraped(svc *stack.Service, cfg promConfig) (words, outside string) {
	if len(cfg.ScrapeConfigFiles)+len(cfg.RemoteRead) > 0 {
		outside = "what scrape_config_files or remote_read bring"
	}
	for _, job := range cfg.ScrapeConfigs {
		words += " " + job.JobName
		list, rewritten := job.targets()
		if rewritten && len(list) == 0 || job.discovers() {
			outside = "what the job " + job.JobName + " discovers"
		}
		for _, target := range list {
			host, _ := finding.Address(target)
			if s := f.called(host); s != nil {
				words += fmt.Sprintf(" %s %s %s", host, s.Name, s.Image)
			} else if reached, _, _ := f.Reach(svc, host); reached != check.Fail && (svc.NetworkMode != "" || !itself(host)) {
				outside = target
			}
		}
	}
	return words, outside
}

// discovers tells whether the job has targets that are known only when it runs.
func (j scrapeJob) discovers() bool {
	return slices.ContainsFunc(finding.SortedKeys(j.Rest), func(key string) bool { return strings.HasSuffix(key, "_sd_configs") })
}

// called gives the service that has a name on the stack's networks, nil for none. A
// Swarm gives all tasks of a service one more.
func (f *findings) called(host string) *stack.Service {
	host = strings.TrimPrefix(host, "tasks.")
	for _, name := range f.Stack.Order {
		if host != "" && (host == name || host == f.Stack.Project.Services[name].Hostname || slices.Contains(f.Stack.Aliases(name), host)) {
			return f.Stack.Services[name]
		}
	}
	return nil
}

// itself tells whether a host is the container that asks, where it has a network of
// its own.
func itself(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// madeOf lists metrics, and in the place of each that a rule records those that it is
// made of.
func (f *findings) madeOf(metrics []string) []string {
	var out []string
	seen := map[string]bool{}
	for len(metrics) > 0 {
		metric := metrics[0]
		metrics = metrics[1:]
		if seen[metric] {
			continue
		}
		seen[metric] = true
		if expr, ok := f.recorded[metric]; ok {
			metrics = append(slices.Clone(metrics), metricNames(expr)...)
		} else {
			out = append(out, metric)
		}
	}
	return out
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
