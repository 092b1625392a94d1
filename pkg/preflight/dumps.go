package preflight

import (
	"regexp"
	"strings"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

var piped = regexp.MustCompile(`\b(pg_dump|pg_dumpall|mysqldump|mariadb-dump)\b[^\n;&|]*\|[^|]`)

// dumps finds backups that cannot be made, and those that count as done when only the last
// command of a pipe is: a failed dump is then an empty file, and the good ones before it are deleted.
func dumps(f *findings) {
	tell := f.Warn // no release dumps where nothing migrates
	for _, svc := range f.Stack.Services {
		if svc.Ext.Migrate != nil {
			tell = f.Fail
		}
	}
	f.Each("P12.postgres", "every database that is to be dumped may be one of PostgreSQL", func(svc *stack.Service) {
		if svc.Ext.Backups != nil && stack.DatabaseImage(svc.Image) && !stack.PostgresImage(svc.Image) {
			tell("P12.postgres", finding.At(svc.Name, "x-shiksha.backups"),
				"take it out and dump it by other means; what migrates it says so: x-shiksha: {migrate: {backed-up-elsewhere: true}}",
				"only PostgreSQL is dumped, and its image is of %s", stack.ImageName(svc.Image))
		}
	})
	f.Each("P12.pipefail", "no backup takes the compressor's success for the dump's", func(svc *stack.Service) {
		c := f.Stack.Project.Services[svc.Name]
		if text := strings.Join(append(append([]string{}, c.Entrypoint...), c.Command...), " "); careless(text) >= 0 {
			f.pipefail(finding.At(svc.Name, "command"))
		}
		tree := f.Tree(svc)
		for _, target := range finding.SortedKeys(tree) {
			text := string(tree[target].Content)
			if i := careless(text); i >= 0 {
				f.pipefail(finding.In(svc.Name, tree[target].Source, strings.Count(text[:i], "\n")+1))
			}
		}
	})
}

func (f *findings) pipefail(where finding.Place) {
	f.Warn("P12.pipefail", where, "let shiksha do it (x-shiksha.backups): a dump counts when it was read back whole; or begin with `set -o pipefail`",
		"a dump that fails is taken for a good one: the pipe ends as its last command does")
}

// careless gives where a dump is piped on with nothing that would notice its failure;
// -1 for nowhere.
func careless(text string) int {
	if strings.Contains(text, "pipefail") || strings.Contains(text, "PIPESTATUS") {
		return -1
	}
	m := piped.FindStringIndex(text)
	if m == nil {
		return -1
	}
	return m[0]
}
