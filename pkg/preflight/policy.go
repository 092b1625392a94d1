package preflight

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// interpolation tells that the stack loaded: every variable was set, every name
// known. What did not load never comes here.
func interpolation(f *findings) {
	units := 0
	for _, svc := range f.Stack.Services {
		units += svc.Replicas
	}
	f.Pass("P01.interpolation", "every variable is set: %d services, %d units", len(f.Stack.Order), units)
}

// policy is what a team agrees on once and forgets in the next service.
func policy(f *findings) {
	f.Each("P02.health", "every service says when it is well", f.health)
	f.Each("P02.health-lies", "no health check is well whatever happens", f.lies)
	f.Each("P02.restart", "every service comes back after a reboot", f.restart)
	f.Each("P02.memory", "every service has a memory limit", f.memory)
	f.Each("P02.logs", "no log grows without end", f.logs)
	f.Each("P02.latest", "every image has a version", f.latest)
	f.Each("P02.ports", "no port is open to everybody but a gateway's 80 and 443", f.ports)
	f.Each("P02.stop-grace", "workers have the time to finish", f.grace)
	if f.Options.WaitTimeout > 0 {
		f.Each("P02.wait-timeout", f.patient(), f.patience)
	}
	f.Each("P02.host-file", "no single file of the host is mounted", f.hostFiles)
	f.Each("P02.eviction", "no broker throws its queue away", f.eviction)
	f.Each("P02.twice", "nothing that must not run twice at once starts beside itself", f.twice)
}

func (f *findings) health(svc *stack.Service) {
	c := f.Stack.Project.Services[svc.Name]
	switch {
	case svc.Job, svc.Health != nil:
	case c.HealthCheck != nil && c.HealthCheck.Disable:
		f.Warn("P02.health", finding.At(svc.Name, "healthcheck"), exemptHint("P02.health"), "its health check is switched off, so a release cannot tell whether it works")
	default:
		f.Warn("P02.health", finding.At(svc.Name, ""), "add `healthcheck:` to it; "+exemptHint("P02.health"), "it has no health check, so a release takes it for well when it has started")
	}
}

func exemptHint(name string) string {
	return fmt.Sprintf("or write why it needs none: x-shiksha: {exempt: {%s: \"...\"}}", name)
}

var (
	redisPing  = regexp.MustCompile(`(redis|valkey)-cli\b`)
	redisProof = regexp.MustCompile(`grep|REDISCLI_AUTH|\s-e\b|\s-a\b|--pass|--user`)
	looseGrep  = regexp.MustCompile(`grep(?:\s+-[a-zA-Z]+)*\s+['"]?healthy['"]?`)
	wholeWord  = regexp.MustCompile(`grep\s+(-\w+\s+)*-\w*[wx]`)
)

// lies finds health checks that answer well to anything.
func (f *findings) lies(svc *stack.Service) {
	test := f.HealthTest(svc.Name)
	if f.Classes[svc.Name].Redis && redisPing.MatchString(test) && !redisProof.MatchString(test) && f.redisPassword(svc.Name) {
		f.Warn("P02.health-lies", finding.At(svc.Name, "healthcheck.test"), "set REDISCLI_AUTH in its environment and add `| grep -q PONG` to the test",
			"redis-cli without the password is told NOAUTH and still ends with 0, so this check always passes")
	}
	if looseGrep.MatchString(test) && !wholeWord.MatchString(test) {
		f.Warn("P02.health-lies", finding.At(svc.Name, "healthcheck.test"), "compare the whole word: grep -qw healthy, or better the JSON value",
			"grep healthy finds it in unhealthy too")
	}
	if strings.HasSuffix(test, "|| true") || strings.HasSuffix(test, "|| exit 0") || strings.TrimSpace(test) == "true" {
		f.Warn("P02.health-lies", finding.At(svc.Name, "healthcheck.test"), "let the test end with 1 when the service does not answer", "this check passes whatever happens")
	}
}

func (f *findings) restart(svc *stack.Service) {
	c := f.Stack.Project.Services[svc.Name]
	written, never := c.Restart != "", c.Restart == types.RestartPolicyNo
	where := finding.At(svc.Name, "restart")
	if c.Deploy != nil && c.Deploy.RestartPolicy != nil {
		written, never, where = true, c.Deploy.RestartPolicy.Condition == "none", finding.At(svc.Name, "deploy.restart_policy")
	}
	switch {
	case svc.Job:
	case never:
		f.Warn("P02.restart", where, fmt.Sprintf("write `restart: unless-stopped`; if it is to end, let a service wait for it: `depends_on: {%s: {condition: service_completed_successfully}}`", svc.Name),
			"it is never started again: after a crash or a reboot of the host it stays down, and when it ends by itself the release fails, since no service waits for that")
	case !written:
		f.Warn("P02.restart", where, "add `restart: unless-stopped`", "it has no restart policy: after a crash or a reboot of the host it stays down")
	}
}

func (f *findings) memory(svc *stack.Service) {
	if f.Stack.MemoryLimit(svc.Name) == 0 {
		f.Warn("P02.memory", finding.At(svc.Name, "deploy.resources.limits"), "add `deploy: {resources: {limits: {memory: 512M}}}`",
			"it has no memory limit: one leak takes the whole host down")
	}
}

func (f *findings) logs(svc *stack.Service) {
	l := f.Stack.Project.Services[svc.Name].Logging
	switch {
	case svc.Job:
	case l == nil:
		f.Warn("P02.logs", finding.At(svc.Name, "logging"), "add `logging: {driver: local}`, or json-file with max-size and max-file",
			"its log is not rotated unless the engine's own default says so, and fills the disk")
	case (l.Driver == "" || l.Driver == "json-file") && l.Options["max-size"] == "":
		f.Warn("P02.logs", finding.At(svc.Name, "logging"), "add `options: {max-size: 10m, max-file: \"3\"}`", "its log grows without end")
	}
}

func (f *findings) latest(svc *stack.Service) {
	image := svc.Image
	if given := f.Options.Images[svc.Name]; given != "" {
		image = given
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return // the registry says so
	}
	_, digested := named.(reference.Digested)
	tagged, isTagged := named.(reference.Tagged)
	if !digested && (!isTagged || tagged.Tag() == "latest") {
		f.Warn("P02.latest", finding.At(svc.Name, "image"), "name the version, or give the image by digest in the images input",
			"%s has no version: what it is changes without a commit, and going back by the file goes forward", image)
	}
}

// ports finds what is open to everybody. A database never may be.
func (f *findings) ports(svc *stack.Service) {
	c := f.Classes[svc.Name]
	for i, p := range f.Stack.Project.Services[svc.Name].Ports {
		open := p.HostIP == "" || p.HostIP == "0.0.0.0" || p.HostIP == "::"
		if !open || p.Published == "" {
			continue
		}
		where := finding.At(svc.Name, "ports."+strconv.Itoa(i))
		mend := fmt.Sprintf("write \"127.0.0.1:%s:%d\", or take it out: services reach each other by name without it", p.Published, p.Target)
		switch {
		case c.Database:
			f.Fail("P02.database-ports", where, mend, "port %s of a database is open to everybody who reaches the host", p.Published)
		case c.Gateway && (p.Published == "80" || p.Published == "443"):
		default:
			f.Warn("P02.ports", where, mend, "port %s is open to everybody who reaches the host; Docker's ports pass by the host's firewall", p.Published)
		}
	}
}

var (
	timeLimit = regexp.MustCompile(`--time-limit[= ](\d+)`)
	limitVars = []string{"CELERY_TASK_TIME_LIMIT", "CELERYD_TASK_TIME_LIMIT", "TASK_TIME_LIMIT"}
)

// grace compares what a worker may take to stop with its longest task.
func (f *findings) grace(svc *stack.Service) {
	if !f.Classes[svc.Name].Worker || svc.Job {
		return
	}
	c := f.Stack.Project.Services[svc.Name]
	longest := 0
	if m := timeLimit.FindStringSubmatch(strings.Join(c.Command, " ")); m != nil {
		longest, _ = strconv.Atoi(m[1])
	}
	for _, name := range limitVars {
		if n, err := strconv.Atoi(svc.Environment[name]); err == nil {
			longest = max(longest, n)
		}
	}
	limit := time.Duration(longest) * time.Second
	switch {
	case limit > svc.StopGrace:
		f.Warn("P02.stop-grace", finding.At(svc.Name, "stop_grace_period"), "set stop_grace_period to the longest task, or make tasks shorter",
			"a task may take %s, but a stop kills it after %s", limit, svc.StopGrace)
	case c.StopGracePeriod == nil:
		f.Warn("P02.stop-grace", finding.At(svc.Name, "stop_grace_period"), "set stop_grace_period to how long its longest task takes",
			"a worker without stop_grace_period is killed after %s, in the middle of its task", stack.DefaultGrace)
	}
}

// patient is what a release waits for, as far as nothing speaks against it. How long a
// job takes is mostly known to nobody before: the time that it has is told.
func (f *findings) patient() string {
	text := "a release waits as long as every health check may take"
	var jobs []string
	for _, name := range f.Stack.Order {
		if f.Stack.Services[name].Job {
			jobs = append(jobs, name)
		}
	}
	if len(jobs) > 0 {
		text += fmt.Sprintf("; a service that others wait for has %s to end: %s", f.Options.WaitTimeout, strings.Join(jobs, ", "))
	}
	return text
}

// patience compares the time that a service may take by what the file says of it with
// the time that the release gives it: the shorter ends it, and a good version is taken
// back, or a job is killed in the middle of its work.
func (f *findings) patience(svc *stack.Service) {
	var longest time.Duration
	key, says := "healthcheck", "it may take %s to become healthy by its healthcheck, and the release gives it %s (wait-timeout)"
	switch {
	case svc.Job: // nobody waits for its health
		c := f.Stack.Project.Services[svc.Name]
		longest = ownTimeout(strings.Join(slices.Concat(c.Entrypoint, c.Command), " "))
		key, says = "command", "its command may take %s (timeout), and the release gives it %s to end (wait-timeout)"
	case svc.Health != nil:
		longest = svc.Health.Budget()
	}
	if longest > f.Options.WaitTimeout {
		f.Warn("P02.wait-timeout", finding.At(svc.Name, key), fmt.Sprintf("give the release the input `wait-timeout: %dm`", (longest+time.Minute-1)/time.Minute),
			says, longest, f.Options.WaitTimeout)
	}
}

// timeoutCommand is coreutils' timeout with its options and its duration.
var timeoutCommand = regexp.MustCompile(`(?:^|[\s;&|('"/])timeout(?:\s+(?:-[ks]\s+\S+|-\S+))*\s+(\d+(?:\.\d+)?)([smhd]?)(?:\s|$)`)

// ownTimeout is how long the command of a job lets it take, where it says so.
func ownTimeout(command string) time.Duration {
	m := timeoutCommand.FindStringSubmatch(command)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	unit := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	return time.Duration(n * float64(unit))
}

// hostFiles finds single files of the host: a checkout there replaces the file,
// and the container keeps the old one.
func (f *findings) hostFiles(svc *stack.Service) {
	ours := map[string]bool{}
	for _, file := range svc.Files {
		ours[file.Target] = true
	}
	for i, v := range f.Stack.Project.Services[svc.Name].Volumes {
		if v.Type == types.VolumeTypeBind && !ours[v.Target] && isFileName(v.Source) {
			f.Warn("P02.host-file", finding.At(svc.Name, "volumes."+strconv.Itoa(i)), "keep it in the repository and mount it by its relative path, or mount its folder",
				"%s is one file of the host: when it is replaced there, the container keeps the old one", v.Source)
		}
	}
}

// isFileName tells by its ending whether a path of the host is a configuration file.
func isFileName(p string) bool {
	switch path.Ext(p) {
	case ".conf", ".cfg", ".ini", ".yml", ".yaml", ".json", ".toml", ".env", ".sql", ".sh", ".xml", ".crt", ".pem", ".key":
		return !strings.HasPrefix(p, "/etc/localtime")
	}
	return false
}

// twice finds what is to start beside itself and is right only when it runs once: a scheduler,
// or a store that is no database by its image. Who writes one `x-deploy` for all services asks
// for that without meaning it. It is told and not changed: a scheduler may have a lock of its own.
func (f *findings) twice(svc *stack.Service) {
	c := f.Classes[svc.Name]
	order := "deploy.update_config.order"
	if svc.Update.Order != stack.StartFirst {
		order = "deploy.rollback_config.order"
	}
	if svc.Job || svc.Update.Order != stack.StartFirst && svc.Rollback.Order != stack.StartFirst || !f.Options.Swarm && f.stopsFirst(svc) {
		return
	}
	const hint = "write order: stop-first in its update_config, and in its rollback_config; or write why two of it do no harm: x-shiksha: {exempt: {P02.twice: \"...\"}}"
	if c.Scheduler {
		f.Warn("P02.twice", finding.At(svc.Name, order), hint, "it is a scheduler, and with order: start-first the old one and the new one run at once: what is due while both run is started twice")
	}
	if places := f.Stack.Writes(svc.Name); (c.Prometheus || c.Loki) && len(places) > 0 {
		f.Warn("P02.twice", finding.At(svc.Name, order), hint,
			"with order: start-first two at once write to %s: the new one finds it locked, and a good release is taken back, or the data is damaged", strings.Join(places, ", "))
	}
}

// stopsFirst tells of what one host stops before it starts, whatever the order, as far as no
// host is needed to know.
func (f *findings) stopsFirst(svc *stack.Service) bool {
	c := f.Stack.Project.Services[svc.Name]
	_, shares := stack.OfAnother(svc.NetworkMode)
	alone := c.MacAddress != "" || svc.ContainerName != "" || len(svc.HostPorts) > 0 || svc.NetworkMode == "host" || shares
	for _, n := range c.Networks {
		alone = alone || n != nil && n.Ipv4Address+n.Ipv6Address+n.MacAddress != ""
	}
	return alone || f.Stack.UsesGPU(svc.Name) || f.Stack.IsDatabase(svc.Name) && len(f.Stack.Writes(svc.Name)) > 0
}
