package preflight

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

func (f *findings) redisPassword(service string) bool {
	c := f.Stack.Project.Services[service]
	_, inEnv := f.Stack.Services[service].Environment["REDIS_PASSWORD"]
	inFile, _ := f.redisSetting(f.Stack.Services[service], "requirepass")
	return strings.Contains(strings.Join(c.Command, " "), "requirepass") || inEnv || inFile != ""
}

// redisSetting is what a Redis is told by its command, which wins, or by the file that
// its command names, and where; "" for nothing.
func (f *findings) redisSetting(svc *stack.Service, name string) (string, finding.Place) {
	c := f.Stack.Project.Services[svc.Name]
	command := strings.Join(append(slices.Clone([]string(c.Entrypoint)), c.Command...), " ")
	const value = `["']?([^\s"']+)`
	given := regexp.MustCompile(name+`[= ]+`+value).FindAllStringSubmatch(command, -1)
	if len(given) > 0 {
		return given[len(given)-1][1], finding.At(svc.Name, "command")
	}
	tree := f.Tree(svc)
	for _, word := range strings.Fields(command) {
		if set, where := told(svc, tree, strings.Trim(word, `"'`), name, 0); set != "" {
			return set, where
		}
	}
	return "", finding.Place{}
}

// atMostDeep is how deep includes are followed: a file that includes itself has no end.
const atMostDeep = 8

// told is what a file tells a Redis, and where; "" for nothing. Redis reads an
// included file where it is included, and what it is told last counts.
func told(svc *stack.Service, tree map[string]finding.Mounted, file, name string, depth int) (set string, where finding.Place) {
	if depth > atMostDeep {
		return "", finding.Place{}
	}
	content, source := tree[file].Content, tree[file].Source
	for _, at := range regexp.MustCompile(`(?im)^[ \t]*(`+name+`|include)[ \t]+["']?([^\s"']+)`).FindAllSubmatchIndex(content, -1) {
		value := string(content[at[4]:at[5]])
		if !strings.EqualFold(string(content[at[2]:at[3]]), "include") {
			set, where = value, finding.In(svc.Name, source, bytes.Count(content[:at[2]], []byte("\n"))+1)
			continue
		}
		for _, included := range finding.Match(tree, value) {
			if inner, there := told(svc, tree, included.Target, name, depth+1); inner != "" {
				set, where = inner, there
			}
		}
	}
	return set, where
}

// eviction finds a Redis that throws away keys and is a task queue as well.
func (f *findings) eviction(svc *stack.Service) {
	if !f.Classes[svc.Name].Redis {
		return
	}
	evicts, where := f.redisSetting(svc, "maxmemory-policy")
	if !strings.HasPrefix(evicts, "allkeys-") {
		return
	}
	names := append([]string{svc.Name, f.Stack.Project.Services[svc.Name].Hostname}, f.Stack.Aliases(svc.Name)...)
	for _, other := range f.With(func(c finding.Class) bool { return c.Worker || c.Celery }) {
		if slices.ContainsFunc(f.brokers(other), func(host string) bool { return slices.Contains(names, host) }) {
			f.Warn("P02.eviction", where, "use noeviction or a volatile- policy, or a Redis of its own for the queue",
				"%s may throw away queued tasks of %s when memory is full", evicts, other.Name)
			return
		}
	}
}

var (
	saysBroker = regexp.MustCompile(`(BROKER|HOST)$`)
	// urlHost takes a password as people write it, with whatever signs are in it.
	urlHost = regexp.MustCompile(`^(?:[\w+.-]+://)?(?:.*@)?([^:/?,]+)`)
)

// brokers are the hosts that a worker has its tasks from, as far as its environment
// tells: its broker's, and where it names none, any Redis of a Celery worker may be it.
func (f *findings) brokers(worker *stack.Service) []string {
	var named, guessed []string
	for name, value := range worker.Environment {
		var hosts []string
		for _, one := range strings.Split(value, ";") {
			if m := urlHost.FindStringSubmatch(strings.TrimSpace(one)); m != nil {
				hosts = append(hosts, m[1])
			}
		}
		switch {
		case strings.Contains(name, "BROKER") && (strings.Contains(value, "://") || saysBroker.MatchString(name)):
			named = append(named, hosts...)
		case f.Classes[worker.Name].Celery && strings.HasPrefix(value, "redis"):
			guessed = append(guessed, hosts...)
		}
	}
	if len(named) > 0 {
		return named
	}
	return guessed
}
